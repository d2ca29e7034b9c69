"""The optimizers against torch's classes, on every dtype, to the bit; and against their formulas."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from blackholes.config.experiments import Experiment
from blackholes.kernels import bf16
from blackholes.training.optimizer import Optimizer

ADAMW = Experiment(optimizer="adamw", betas=(0.8, 0.95), epsilon=1e-6).run_settings(1)
SGD = Experiment(optimizer="sgd", momentum=0.9).run_settings(1)
PLAIN = replace(SGD, momentum=0.0)
DECAYS = (0.1, 0.0)


def flats(dtype, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=random).to(dtype) for size in (1000, 64)]


def torchs(settings, parameters):
    groups = [{"params": [p], "weight_decay": decay} for p, decay in zip(parameters, DECAYS, strict=True)]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=settings.betas, eps=settings.epsilon, fused=True)
    return torch.optim.SGD(groups, lr=1e-3, momentum=settings.momentum, fused=True)


@pytest.mark.parametrize(
    ("settings", "dtype"),  # torch's own SGD in bfloat16 is wrong on a CPU
    [(ADAMW, torch.bfloat16), (ADAMW, torch.float32), (SGD, torch.float32), (PLAIN, torch.float32)],
)
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_the_optimizer_equals_torchs_to_the_bit(settings, dtype, kind):
    ours, theirs = flats(dtype), flats(dtype)
    optimizer, reference = Optimizer(settings, ours, DECAYS), torchs(settings, theirs)
    for step in range(20):
        rate = 1e-2 * (1 - step / 20)
        for one, other, gradient in zip(ours, theirs, flats(dtype, seed=step), strict=True):
            one.grad, other.grad = gradient.clone(), gradient.clone()
        for group in reference.param_groups:
            group["lr"] = rate if kind is float else torch.tensor(rate)
        optimizer.update(kind(rate))
        reference.step()
        for one, other in zip(ours, theirs, strict=True):
            assert one.equal(other), step
    assert not ours[0].equal(flats(dtype)[0])


@pytest.mark.parametrize("settings", [SGD, PLAIN], ids=["momentum", "sgd"])
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_sgd_in_bfloat16_equals_float32_with_each_state_rounded_once(settings, kind):
    """Step by step from the same state: to the bit, but where float32's own rounding decides (never two cells)."""
    ours, equal, moved = flats(torch.bfloat16), [], []
    optimizer = Optimizer(settings, ours, DECAYS)
    for step in range(20):
        gradients = flats(torch.bfloat16, seed=step)
        before = [flat.clone() for flat in ours]
        momenta = [optimizer.state.get(f"momentum.{i}", torch.zeros(1)).double() for i in range(2)]
        for flat, gradient in zip(ours, gradients, strict=True):
            flat.grad = gradient.clone()
        optimizer.update(kind(1e-2))
        for flat, old, gradient, momentum, decay in zip(ours, before, gradients, momenta, DECAYS, strict=True):
            exact = old.double() - 1e-2 * (gradient.double() + decay * old.double() + settings.momentum * momentum)
            cells = (bf16.ordinal(flat) - bf16.ordinal(exact.bfloat16())).abs()
            assert cells.max() <= 1
            equal.append((cells == 0).double().mean())
            moved.append((flat != old).double().mean())
    assert min(equal) > 0.98
    assert min(moved) > 0.5


@pytest.mark.parametrize("settings", [ADAMW, SGD, PLAIN], ids=["adamw", "momentum", "sgd"])
def test_first_step_by_the_formula(settings):
    (p, q), (before, _) = flats(torch.float32), flats(torch.float32)
    gradient = flats(torch.float32, seed=1)
    p.grad, q.grad = gradient
    Optimizer(settings, [p, q], DECAYS).update(0.1)
    if settings is ADAMW:
        expected = before * (1 - 0.1 * 0.1) - 0.1 * gradient[0] / (gradient[0].abs() + 1e-6)
    else:
        expected = before - 0.1 * (gradient[0] + 0.1 * before)
    torch.testing.assert_close(p, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", [ADAMW, SGD, PLAIN], ids=["adamw", "momentum", "sgd"])
def test_its_state_has_the_buffers_dtype_and_goes_on_where_it_was(settings):
    dtype = torch.bfloat16
    ours, others = flats(dtype), flats(dtype)
    one, other = Optimizer(settings, ours, DECAYS), Optimizer(settings, others, DECAYS)
    expected = {"first", "second", "count"} if settings is ADAMW else {"momentum"} if settings is SGD else set()
    assert {name.split(".")[0] for name in one.state} == expected
    assert {v.dtype for name, v in one.state.items() if "count" not in name} <= {dtype}
    for step in range(6):
        for parameters in (ours, others):
            for parameter, gradient in zip(parameters, flats(dtype, seed=step), strict=True):
                parameter.grad = gradient
        one.update(1e-2)
        if step == 2:  # the other takes over what the first has become
            for parameter, value in zip(others, ours, strict=True):
                parameter.copy_(value)
            for name, value in other.state.items():
                value.copy_(one.state[name])
        elif step > 2:
            other.update(1e-2)
    assert all(a.equal(b) for a, b in zip(ours, others, strict=True))


def test_a_job_does_not_load_the_compiler():
    code = (
        "import sys, torch; from blackholes.training.optimizer import Optimizer\n"
        "from blackholes.training.settings import Init, Model, Rounding, RunSettings\n"
        f"flat = torch.ones(8); flat.grad = torch.ones(8); Optimizer({ADAMW}, [flat], [0.0]).update(0.1)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
