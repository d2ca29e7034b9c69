"""AdamW: equal to torch.optim.AdamW(fused=True), bit for bit."""

import subprocess
import sys

import pytest
import torch
from blackholes.training.optimizer import adamw


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_equal_to_torchs_own_class(dtype):
    draw = torch.Generator().manual_seed(0)
    ours = [torch.randn(n, generator=draw).to(dtype) for n in (1003, 77)]
    theirs = [flat.clone() for flat in ours]
    update = adamw(ours, (0.01, 0.0), (0.9, 0.999), 1e-8)
    groups = [{"params": [theirs[0]], "weight_decay": 0.01}, {"params": [theirs[1]], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
    for step in range(200):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = (torch.randn(mine.shape, generator=draw) * 10.0 ** (-step % 7)).to(dtype)
            other.grad = mine.grad.clone()
        rate = 1e-3 * (1 - step / 200)
        update(rate)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.equal(mine, other)


def test_a_job_does_not_load_the_compiler():
    code = (
        "import sys, torch; from blackholes.training.optimizer import adamw\n"
        "flat = torch.ones(8); flat.grad = torch.ones(8); adamw([flat], [0.0], (0.9, 0.999), 1e-8)(0.1)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
