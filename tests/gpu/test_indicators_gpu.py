"""Indicators of under-training on a GPU, beside the CPU's."""

import pytest
import torch
from blackholes.kernels import indicators

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_same_but_for_the_order_of_sums(dtype):
    random = torch.Generator().manual_seed(0)
    W = (0.3 + torch.randn(20_000, 300, generator=random)).to(dtype)
    W[:50] = W[0]
    centroid, component = W[0].float(), torch.randn(300, generator=random)
    reference = torch.arange(60)
    there = indicators.under_training(W, reference, centroid, component)
    here = indicators.under_training(W.cuda(), reference, centroid, component)
    for name, values in here.items():
        assert values.device.type == "cuda"
        assert torch.allclose(values.cpu(), there[name], rtol=1e-6, atol=1e-6), name
        assert len(values[:50].unique()) == 1
    rank = indicators.suspicion(here["centroid_distance"], here["cosine_unused"]).cpu()
    assert set(rank[:50].tolist()) == set(range(1, 51))
