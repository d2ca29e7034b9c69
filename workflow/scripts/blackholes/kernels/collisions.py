"""How likely tokens around a point are to share vectors, from the cells of bfloat16 alone (row D)."""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from blackholes.kernels import cells
from blackholes.kernels.checks import require

OUTSIDE, PAIRS = 1.0, 0.1  # expected tokens outside the largest hole, and equal pairs, at the ends of the range
_GRID = np.linspace(-6, 6, 121)  # of normal numbers
_SHARES = np.exp(-(_GRID**2) / 2) / np.exp(-(_GRID**2) / 2).sum()
_STEP = 1.25  # between two σ that are tried: the ends are right to so much


def expected(centroid: Float[Tensor, "D"], sigma: float, n_tokens: int) -> tuple[float, float]:
    """Around a centroid with noise σ > 0: the expected number of tokens outside its own cell, and of equal pairs.

    The first is exact. The second is a sum over 121 normal numbers a dimension instead of an integral: to 10 % or so
    where there are more than a hundredth of a pair.
    """
    place = centroid.detach().cpu().double().numpy()
    moves = _rounded(place - 6 * sigma) != _rounded(place + 6 * sigma)
    pairs = n_tokens * (n_tokens - 1) / 2
    if not moves.any():
        return 0.0, pairs
    place = place[moves]
    a, b = _ends(place, place, sigma)
    alone = np.log(np.maximum(special.ndtr(b) - special.ndtr(a), 1e-300)).sum()
    values = place[:, None] + sigma * _GRID
    a, b = _ends(values, place[:, None], sigma)
    same = np.log((special.ndtr(b) - special.ndtr(a)) @ _SHARES).sum()
    return n_tokens * -math.expm1(alone), pairs * math.exp(same)


def range_of_holes(centroid: Float[Tensor, "D"], n_tokens: int) -> tuple[float, float]:
    """The σ between which snowballs have both holes and more than one vector, to a quarter.

    Below the first fewer than OUTSIDE of the tokens are expected outside one hole; beyond the second fewer than PAIRS
    equal pairs. One token counts as two, since alone it has no equal. Next to a centroid of zeros holes end at some
    1e-40. Raises UserError for a centroid that is not finite.
    """
    require(bool(torch.isfinite(centroid).all()), "centroid: finite numbers are expected")
    n_tokens = max(n_tokens, 2)
    sizes = centroid.abs()[centroid != 0].tolist()
    sigma = first = min(sizes, default=2.0**-126) * 2.0**-20  # a thousandth of the smallest cell, or less
    while True:
        outside, pairs = expected(centroid, sigma, n_tokens)
        if outside < OUTSIDE:
            first = sigma
        if pairs < PAIRS:
            return min(first, sigma / _STEP), sigma
        sigma *= _STEP


def _rounded(values: np.ndarray) -> np.ndarray:
    return torch.from_numpy(values).bfloat16().double().numpy()


def _ends(values: np.ndarray, centre: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the cells that hold these values, in σ from the centre."""
    places = cells.ordinals(torch.from_numpy(values.reshape(1, -1)).bfloat16())
    below, at, above = (cells.values(places + k, torch.bfloat16).double().numpy() for k in (-1, 0, 1))
    low, high = ((below + at) / 2).reshape(values.shape), ((at + above) / 2).reshape(values.shape)
    return (low - centre) / sigma, (high - centre) / sigma
