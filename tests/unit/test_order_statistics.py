"""Exact order statistics in pieces against sorting everything."""

import math

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import backends
from blackholes.kernels.order_statistics import order_statistics


def every(n):
    return range(n)


def some(n):
    return [0, (n - 1) // 2, n - 1]


def numbers(kind, shape=(40, 7)):
    random = np.random.default_rng(0)
    values = {
        "any float32": random.integers(0, 0x7F80_0001, shape).astype(np.uint32).view(np.float32),  # up to infinity
        "ties": random.integers(0, 3, shape).astype(np.float32),
        "close": 1 + random.integers(0, 9, shape).astype(np.float32) * 2.0**-23,  # that share their upper bits
        "zeros": np.zeros(shape, np.float32),
    }[kind]
    return torch.from_numpy(values)


@pytest.mark.parametrize("backend", ["loops", "formula"])
@pytest.mark.parametrize("kind", ["any float32", "ties", "close", "zeros"])
@pytest.mark.parametrize("classes", [[0] * 7, [0, 1, 1, 0, 2, 1, 2]])
@pytest.mark.parametrize("ranks", [every, some])
def test_against_sorting(kind, classes, ranks, backend):
    values, classes = numbers(kind), torch.tensor(classes)
    groups = [values[:, classes == c] for c in range(int(classes.max()) + 1)] + [values]
    wanted = [group.flatten().sort().values for group in groups]
    wanted = [ascending[list(ranks(len(ascending)))].tolist() for ascending in wanted]
    for length in (1, 13, 40):
        for turned in (values, values.T.contiguous().T):  # strides do not matter
            pieces = lambda turned=turned, length=length: turned.split(length)  # noqa: E731
            if backend == "formula":
                with backends.torch_only():
                    found = order_statistics(pieces, classes, ranks)
            else:
                found = order_statistics(pieces, classes, ranks)
            assert found == wanted


def test_minus_zero_is_zero():
    values = torch.tensor([[-0.0, 1.0, 0.0]])
    [[low, high], _] = order_statistics(lambda: [values], torch.tensor([0, 0, 0]), lambda n: [0, n - 1])
    assert (math.copysign(1, low), high) == (1, 1)


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_bad_numbers_are_refused(value):
    with pytest.raises(UserError, match="a number is negative or NaN, where a number ≥ 0 is expected"):
        order_statistics(lambda: [torch.tensor([[1.0, value]])], torch.tensor([0, 0]), every)


def test_other_pieces_are_refused(bad_input):
    for piece in (torch.ones(2, 3), torch.ones(2, 2).double(), torch.ones(2)):
        with pytest.raises(UserError, match=r"where float32 \(s, 2\) is expected"):
            order_statistics(lambda piece=piece: [piece], torch.tensor([0, 0]), every)
