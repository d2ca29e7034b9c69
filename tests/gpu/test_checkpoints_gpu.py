"""Principal axes, places on the sphere and indicators of under-training on a GPU, beside the CPU's."""

import pytest
import torch
from blackholes.kernels import indicators, sphere


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


@pytest.mark.parametrize("dtype", sphere.FLOATS)
def test_axes_and_places(dtype):
    random = torch.Generator().manual_seed(1)
    spread = 2.0 ** -torch.arange(40)
    W = (torch.randn(sphere._ROWS + 900, 40, generator=random) * spread + 0.1).to(dtype)
    vectors, values = sphere.principal_axes(W)
    there, largest = sphere.principal_axes(W.cuda())
    assert there.device.type == "cuda"
    assert torch.allclose(largest.cpu(), values, rtol=1e-10)
    assert torch.allclose(there.cpu(), vectors, atol=1e-8)  # signs too
    for here, place in zip(sphere.coordinates(W, -2, 1, 3), sphere.coordinates(W.cuda(), -2, 1, 3), strict=True):
        assert torch.allclose(place.cpu(), here, rtol=1e-7, atol=1e-7)
