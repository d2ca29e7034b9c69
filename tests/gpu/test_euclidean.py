"""Euclidean matrices and what is counted of them on a CUDA device against the CPU. Needs no snakemake."""

import pytest
import torch
from blackholes.kernels import bit_graphs, cells, pairs
from blackholes.kernels.distances import FLOATS, euclidean_blocks, euclidean_matrix


def overdensity(dtype=torch.bfloat16, N=1500, D=700, scale=1.0):
    """Holes, near misses one cell apart, and tokens apart."""
    draw = torch.Generator().manual_seed(0)
    vectors = (torch.randn(N, D, generator=draw) * 0.02 * scale).to(dtype)
    vectors[::5] = vectors[0].clone()
    near = vectors[::25].view(torch.int32 if dtype == torch.float32 else torch.int16)
    near[range(len(near)), range(len(near))] ^= 1
    return vectors


def exact(vectors):
    """float64, by differences, a row at a time."""
    wide = vectors.double()
    return torch.stack([(wide - row).square().sum(1).sqrt() for row in wide])


def check(vectors):
    found, expected = euclidean_matrix(vectors.cuda()).cpu(), exact(vectors)
    torch.testing.assert_close(found.double(), expected, rtol=5e-6, atol=0)
    assert torch.equal(found == 0, (vectors[:, None] == vectors[None]).all(-1))
    assert torch.equal(found, found.T)


@pytest.mark.parametrize("dtype", FLOATS)
def test_distances(dtype):
    check(overdensity(dtype, N=600))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e36])
def test_scales(scale):
    check(overdensity(torch.float32, N=300, scale=scale))
    check(overdensity(torch.bfloat16, N=300, scale=scale))


def test_tensor_cores_change_nothing():
    """TF32, where it is allowed, is for products; there is none here."""
    vectors = overdensity(torch.float32, N=300)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        for allowed in (False, True):
            torch.backends.cuda.matmul.allow_tf32 = allowed
            check(vectors)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_a_sum_that_float32_would_lose():
    vectors = torch.zeros(2, 8192)
    vectors[1, :], vectors[1, 0] = 2.0**-12 * 0.7, 1.0
    check(vectors)


def test_blocks_change_no_bit():
    vectors = overdensity().cuda()
    whole = euclidean_matrix(vectors)
    for height in (100, 999):
        for out in (None, torch.empty_like(whole)):
            rows = [block.clone() for _, block in euclidean_blocks(vectors, out, height=height)]
            assert torch.equal(torch.cat(rows), whole)
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(1)).cuda()
    assert torch.equal(euclidean_matrix(vectors[order]), whole[order][:, order])


def test_statistics_and_graph():
    """On one matrix: what is counted is equal, and the mean but for the order of its sum."""
    matrix = euclidean_matrix(overdensity())
    found, expected = (
        pairs.pair_statistics(lambda: ((start, m[start : start + 400]) for start in range(0, len(m), 400)))
        for m in (matrix.cuda(), matrix)
    )
    for name, value in expected.items():
        if name == "mean":
            assert found[name] == pytest.approx(value, rel=1e-14)
        else:
            assert torch.equal(torch.as_tensor(found[name]), torch.as_tensor(value)), name
    threshold = expected["median"]
    graphs = [bit_graphs.adjacency([(0, m)], threshold) for m in (matrix.cuda(), matrix)]
    assert torch.equal(*graphs)


@pytest.mark.parametrize("dtype", FLOATS)
def test_cells(dtype):
    vectors = overdensity(dtype, N=200)
    assert torch.equal(cells.chebyshev(cells.ordinals(vectors.cuda())).cpu(), cells.chebyshev(cells.ordinals(vectors)))
