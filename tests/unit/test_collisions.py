"""Expected holes around a point, against drawn ones."""

import math

import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import collisions, snowball

TRIALS = 200


def centre(D, norm, seed):
    direction = torch.randn(D, generator=torch.Generator().manual_seed(seed))
    return direction * (norm / direction.norm())


def drawn(around, sigma, n_tokens):
    """Means over trials: tokens outside the centroid's own cell, equal pairs."""
    outside = pairs = 0
    for trial in range(TRIALS):
        tokens = snowball.sample(around, sigma, n_tokens, 1, trial, every=True)
        outside += int((tokens != around.bfloat16()).any(1).sum())
        counts = tokens.unique(dim=0, return_counts=True)[1]
        pairs += int((counts * (counts - 1) // 2).sum())
    return outside / TRIALS, pairs / TRIALS


@pytest.mark.parametrize(("D", "norm", "n_tokens", "seed"), [(160, 0.038, 24, 1), (64, 8.0, 60, 0), (8, 1.0, 6, 0)])
def test_expectations_against_trials(D, norm, n_tokens, seed):
    around = centre(D, norm, seed)
    first, last = collisions.range_of_holes(around, n_tokens)
    for sigma in (first, (first * last) ** 0.5, last / 3):
        outside, pairs = collisions.expected(around, sigma, n_tokens)
        seen = drawn(around, sigma, n_tokens)
        assert seen[0] == pytest.approx(outside, rel=0.1, abs=4 * math.sqrt((outside + 0.05) / TRIALS))
        assert seen[1] == pytest.approx(pairs, rel=0.15, abs=0.3)


@pytest.mark.parametrize("seed", range(3))
def test_the_range_of_holes(seed):
    """At its start nearly all tokens are one hole, at its end nearly all are single."""
    around = centre(64, 6.5, seed)
    first, last = collisions.range_of_holes(around, 34)
    assert first < last / 2
    assert drawn(around, first, 34)[0] < 2
    assert drawn(around, last, 34)[1] < 0.3
    assert drawn(around, last / 1.6, 34)[1] > 0.05


def test_more_tokens_have_a_wider_range():
    around = centre(64, 6.5, 0)
    few, many = collisions.range_of_holes(around, 5), collisions.range_of_holes(around, 5000)
    assert many[0] <= few[0]
    assert few[1] < many[1]


def test_where_nothing_moves():
    assert collisions.expected(torch.tensor([0.75, 0.5]), 1e-9, 5) == (0.0, 10.0)


def test_one_token_and_zeros_have_a_range_too():
    assert collisions.range_of_holes(torch.ones(3), 1) == collisions.range_of_holes(torch.ones(3), 2)
    first, last = collisions.range_of_holes(torch.zeros(3), 9)
    assert 0 < first < last < 1e-35


def test_bad_input():
    with pytest.raises(UserError, match="centroid: finite numbers are expected"):
        collisions.range_of_holes(torch.tensor([1.0, math.inf]), 3)
