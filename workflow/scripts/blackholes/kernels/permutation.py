"""The null hypothesis of snowballs: each dimension's values dealt out anew among tokens (docs/definitions.md, row D).

If tokens are one point plus independent noise in every dimension, rounded, then any token could have had any of the
values that occur in a dimension, independently of its other values. So clouds in which each dimension is permuted among
the tokens are as likely as the cloud itself, whatever the point, the noise and the lattice are; none has to be
estimated. Tokens that are pulled together share values in many dimensions at once, and a permutation undoes that.
"""

import hashlib
import struct

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from blackholes.kernels import cells
from blackholes.kernels.checks import require

_DRAWN = 1 << 20  # values dealt out from one stream


def varying(vectors: Float[Tensor, "N D"]) -> Bool[Tensor, "D"]:
    """Dimensions in which not all tokens have the same value; −0 is 0. Raises UserError for NaN or infinity."""
    found = torch.zeros(vectors.shape[1], dtype=torch.bool)
    width = max(1, _DRAWN // max(1, len(vectors)))
    for start in range(0, vectors.shape[1], width):
        places = cells.ordinals(vectors[:, start : start + width])
        found[start : start + width] = (places != places[:1]).any(0).cpu()
    return found


def permuted(vectors: Float[Tensor, "N M"], seed: int, trial: int, attracted: int = 0) -> Float[Tensor, "N M"]:
    """Every dimension's values in a random order of their own, on the CPU.

    With `attracted`, so many tokens, chosen at random, then take the vector of another one, chosen at random: a cloud
    in which tokens do attract each other, which shows what a test of so many tokens can notice.

    Numbers come from Philox streams, one for each block of dimensions, keyed by SHA-256 of seed, trial and `attracted`:
    for given vectors they depend on nothing else. Raises UserError for more attracted tokens than there are.
    """
    N, M = vectors.shape
    require(0 <= attracted <= N, f"attracted is {attracted}, where 0 to {N} tokens are expected")
    key = int.from_bytes(hashlib.sha256(struct.pack("<4sqqq", b"perm", seed, trial, attracted)).digest()[:16], "little")
    columns = vectors.detach().cpu().T.contiguous()  # (M, N)
    values = columns.view(cells.BITS[vectors.dtype]).numpy()
    width = max(1, _DRAWN // N)
    for block, start in enumerate(range(0, M, width)):
        random = np.random.Generator(np.random.Philox(key=key, counter=block << 192))
        part = values[start : start + width]
        random.permuted(part, axis=1, out=part)
    result = columns.T.contiguous()
    if attracted:
        random = np.random.Generator(np.random.Philox(key=key, counter=-(-M // width) << 192))
        moved, onto = random.choice(N, attracted, replace=False), random.integers(0, N - 1, attracted)
        onto += onto >= moved  # another token
        result[moved] = result[onto]
    return result


def p_values(own: Float64[np.ndarray, "K"], null: Float64[np.ndarray, "n K"]) -> Float64[np.ndarray, "K"]:
    """Two-sided permutation p-value of each of K statistics: twice the smaller of (1 + #{≥}) / (1 + n), (1 + #{≤}) / …

    At most 1. Under the null hypothesis P(p ≤ x) ≤ x: statistics with few values reject too rarely, never too often.
    """
    more, less = 1 + (null >= own).sum(0), 1 + (null <= own).sum(0)
    return np.minimum(1.0, 2 * np.minimum(more, less) / (1 + len(null)))


def joint_p_value(own: Float64[np.ndarray, "K"], null: Float64[np.ndarray, "n K"]) -> float:
    """One p-value for all statistics together: the share of clouds whose most unusual one is as unusual as here.

    Unusual is what lies many standard deviations from the mean. Both are those of all n + 1 clouds, itself included, so
    that all are treated alike and the test is exact (max-T: Westfall and Young, Resampling-Based Multiple Testing,
    1993). Statistics that have one value in all clouds do not count.
    """
    every = np.concatenate([own[None], null])
    varies = (every != every[0]).any(0)
    if not varies.any():
        return 1.0
    away = np.abs(every[:, varies] - every[:, varies].mean(0)) / every[:, varies].std(0)
    largest = away.max(1)
    return float((largest >= largest[0]).mean())
