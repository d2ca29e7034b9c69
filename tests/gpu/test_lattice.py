"""Motion on the lattice on a CUDA device: the CPU's results to the bit."""

import pytest
import torch
from blackholes.kernels import lattice


@pytest.fixture(scope="module", params=["walk", "any bits"])
def snapshots(request):
    draw = torch.Generator().manual_seed(0)
    if request.param == "walk":
        return (0.02 + 1e-3 * torch.randn(30, 300, 65, generator=draw).cumsum(0)).bfloat16()
    bits = torch.randint(-(2**15), 2**15, (20, 300, 65), generator=draw, dtype=torch.int32).to(torch.int16)
    values = bits.view(torch.bfloat16)  # subnormals, both zeros, the largest values
    return torch.where(values.isfinite(), values, torch.zeros((), dtype=torch.bfloat16))


def outputs(snapshots, dtype):
    shape = (len(snapshots) - 1, *snapshots.shape[1:])
    return [torch.empty(shape, dtype=t, device=snapshots.device) for t in (dtype, torch.bool, torch.bfloat16, dtype)]


def test_displacement(snapshots):
    wanted = lattice.displacement(snapshots[:-1], snapshots[1:])
    found = lattice.displacement(snapshots[:-1].cuda(), snapshots[1:].cuda()).cpu()
    assert torch.equal(found.view(torch.int32), wanted.view(torch.int32))
    wanted = lattice.delta_ordinal(snapshots[:-1], snapshots[1:])
    assert torch.equal(lattice.delta_ordinal(snapshots[:-1].cuda(), snapshots[1:].cuda()).cpu(), wanted)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_transitions(snapshots, dtype):
    there = snapshots.cuda()
    filled, filled_there = outputs(snapshots, dtype), outputs(there, dtype)
    wanted, found = lattice.transitions(snapshots, *filled), lattice.transitions(there, *filled_there)
    for name in ("norms", "crossed", "moved", "counts", "extremes"):
        assert torch.equal(getattr(found, name).cpu(), getattr(wanted, name)), name
    for name, a, b in zip(("displacements", "crossings", "ulps", "ordinals"), filled_there, filled, strict=True):
        assert torch.equal(a.cpu().view(torch.uint8), b.view(torch.uint8)), name
