"""Statistics over pairs against sorting them all; blocks, threads and backends against each other."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import backends, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

KINDS = ("ties", "any", "huge", "tiny", "equal")


def symmetric(N, kind, seed=0):
    draw = torch.Generator().manual_seed(seed)
    matrix = {
        "ties": lambda: torch.randint(0, 4, (N, N), generator=draw).float(),
        "any": lambda: torch.randint(0, 0x7F80_0001, (N, N), generator=draw).int().view(torch.float32),
        "huge": lambda: torch.where(torch.rand(N, N, generator=draw) < 0.3, math.inf, 3e38),
        "tiny": lambda: torch.randint(0, 3, (N, N), generator=draw).int().view(torch.float32),
        "equal": lambda: torch.zeros(N, N),
    }[kind]()
    matrix = matrix.triu(1)
    return torch.maximum(matrix, matrix.T)


def in_blocks(matrix, height):
    return lambda: ((start, matrix[start : start + height]) for start in range(0, len(matrix), height))


def oracle(matrix):
    """Every pair in a list, sorted."""
    N = len(matrix)
    rows = matrix.tolist()
    values = sorted(rows[i][j] for i in range(N) for j in range(i + 1, N))
    others = [[rows[i][j] for j in range(N) if j != i] for i in range(N)]
    away = [[d for d in row if d > 0] for row in others]
    first = lambda row, i: next(j for j in range(N) if j != i and rows[i][j] == min(row))  # noqa: E731
    return {
        "pairs": len(values),
        "zeros": values.count(0.0),
        "min": min(values, default=math.nan),
        "smallest": min((d for d in values if d > 0), default=math.nan),
        "median": values[(len(values) - 1) // 2] if values else math.nan,
        "mean": math.fsum(values) / len(values) if values else math.nan,
        "max": max(values, default=math.nan),
        "nearest": [min(row, default=math.nan) for row in others],
        "nearest_token": [first(row, i) if row else -1 for i, row in enumerate(others)],
        "nearest_different": [min(row, default=math.nan) for row in away],
    }, [d for d in values if d > 0]


def same(a, b, key=""):
    a, b = (np.asarray(each, np.float64) for each in (a, b))
    assert a.shape == b.shape, key
    exact = key != "mean"
    assert np.array_equal(a, b, equal_nan=True) or (not exact and math.isclose(a, b, rel_tol=1e-14)), key


@settings(max_examples=60)
@given(st.integers(1, 40), st.sampled_from(KINDS), st.integers(1, 45), st.booleans(), st.integers(0, 2**31))
def test_against_sorting(N, kind, height, torch_only, seed):
    matrix = symmetric(N, kind, seed)
    with backends.torch_only() if torch_only else nullcontext():
        found = pairs.pair_statistics(in_blocks(matrix, height))
    expected, above_zero = oracle(matrix)
    for key, value in expected.items():
        same(found[key], value, key)
    edges, histogram = found["edges"].double().numpy(), found["histogram"].tolist()
    assert len(edges) == len(histogram) + 1
    assert sum(histogram) == len(above_zero)
    place = np.searchsorted(edges, above_zero, side="right") - 1
    assert np.bincount(place, minlength=len(histogram)).tolist() == histogram
    if above_zero:
        assert histogram[0] > 0
        assert histogram[-1] > 0


def test_the_bins_are_128_to_a_power_of_two():
    found = pairs.pair_statistics(in_blocks(torch.tensor([[0, 1.0, 2.0], [1.0, 0, 1.5], [2.0, 1.5, 0]]), 3))
    assert found["edges"].tolist() == [*(1 + i / 128 for i in range(128)), 2, 2 + 2 / 128]


def test_the_lower_median_is_torchs():
    for N in (2, 3, 4, 5, 8, 9):
        matrix = torch.rand(N, N, generator=torch.Generator().manual_seed(N))
        matrix = torch.maximum(matrix, matrix.T).fill_diagonal_(0)
        upper = matrix[torch.ones(N, N).triu(1).bool()]
        assert pairs.pair_statistics(in_blocks(matrix, 2))["median"] == upper.median().item()


@pytest.mark.parametrize("torch_only", [False, True])
def test_blocks_and_threads_change_no_bit(torch_only):
    matrix = symmetric(300, "any", 3).clamp(max=1e30)
    before, found = torch.get_num_threads(), []
    with backends.torch_only() if torch_only else nullcontext():
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found += [pairs.pair_statistics(in_blocks(matrix, height)) for height in (7, 128, 300)]
    torch.set_num_threads(before)
    for other in found[1:]:
        for key, value in found[0].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[key])), key


@pytest.mark.parametrize("torch_only", [False, True])
@pytest.mark.parametrize("wrong", [math.nan, -1.0, -0.0, -math.inf])
def test_what_is_no_distance(wrong, torch_only):
    matrix = symmetric(20, "ties")
    matrix[4, 11] = matrix[11, 4] = wrong
    with backends.torch_only() if torch_only else nullcontext():
        with pytest.raises(UserError, match=rf"^distance {wrong} between tokens 4 and 11, where a number ≥ 0"):
            pairs.pair_statistics(in_blocks(matrix, 3))


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [(0, torch.zeros(2, 3))],
        [(1, torch.zeros(2, 3))],
        [(0, torch.zeros(2, 3)), (1, torch.zeros(2, 3))],
        [(0, torch.zeros(2, 4)), (2, torch.zeros(2, 3))],
        [(0, torch.zeros(4, 3))],
        [(0, torch.zeros(1, 3)), (0, torch.zeros(1, 3)), (2, torch.zeros(1, 3))],
    ],
)
def test_blocks_of_no_matrix(blocks):
    with pytest.raises(UserError, match=r"of a matrix|none of a matrix"):
        pairs.pair_statistics(lambda: iter(blocks))


def test_backends_agree():
    """To the bit, except for the order in which a row is summed."""
    N = 300
    matrix = symmetric(N, "any", 5).clamp(max=1e30)
    compiled = pairs.pair_statistics(in_blocks(matrix, 77))
    with backends.torch_only():
        formula = pairs.pair_statistics(in_blocks(matrix, 77))
    assert math.isclose(compiled.pop("mean"), formula.pop("mean"), rel_tol=N * 2.0**-53)
    for key, value in compiled.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(formula[key])), key
