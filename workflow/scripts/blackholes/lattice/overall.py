"""Statistics of a history's motion over all its steps and tokens (row E), from the stored norms."""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from blackholes.artifacts.tensors import open_tensors
from blackholes.kernels.lattice import NORMS
from blackholes.kernels.order_statistics import order_statistics

PERCENTILES = ("50", "90", "95", "99", "99.9")
STATISTICS = ("min", "mean", "max", *(f"percentile_{p}" for p in PERCENTILES))
COLUMNS = ("norm", "unit", "tokens", "number", *STATISTICS, *(f"interpolated_{p}" for p in PERCENTILES))
_PIECE = 1 << 24  # bytes of a norm that are read at once


def rank(percentile: str, n: int) -> int:
    """Index of a percentile in n ascending values: of the smallest value with at least p % of all at or below it.

    The 50th percentile is thus the lower median. NumPy calls this method `inverted_cdf`.
    """
    return -(-n * Fraction(percentile) // 100) - 1


def between(percentile: str, n: int) -> tuple[int, int, float]:
    """(index, next index, share of the way): where NumPy's default method, `linear`, interpolates between values."""
    place = (n - 1) * Fraction(percentile) / 100
    low = int(place)
    return low, min(low + 1, n - 1), float(place - low)


def of_step(values: Float32[np.ndarray, "s n"]) -> list[list[float]]:
    """STATISTICS of each row."""
    ascending = np.sort(values, axis=1)
    means = [row.astype(np.float64).mean() for row in ascending]
    columns = ascending[:, [0, -1, *(rank(p, values.shape[1]) for p in PERCENTILES)]].tolist()
    return [[low, mean, *rest] for (low, *rest), mean in zip(columns, means, strict=True)]


def rows(norms: str, groups: Mapping[str, Bool[Tensor, "V"]]) -> Iterator[tuple]:
    """Rows of COLUMNS, of every norm in displacement_norms.safetensors: each group's, then all tokens'.

    Percentiles are exact: values that are there (see `rank`). Where NumPy's default, which interpolates, gives another
    number, the row has that too. The file is read a piece at a time.
    """
    classes = torch.zeros(len(next(iter(groups.values()))), dtype=torch.int64)
    for number, mask in enumerate(groups.values()):
        classes[mask] = number
    names = [*groups, "all"] if len(groups) > 1 else list(groups)
    with open_tensors(norms) as file:
        for norm in NORMS:
            S, V = file.shape(norm)
            length = max(1, _PIECE // (4 * V))

            def pieces(norm=norm, S=S, length=length):
                return (file.rows(norm, start, start + length) for start in range(0, S, length))

            sums = [
                [float(row[mask].double().sum()) for piece in pieces() for row in piece] for mask in groups.values()
            ]
            sums.append([one for each in sums for one in each])
            for name, own, values in zip(names, sums, order_statistics(pieces, classes, _ranks), strict=False):
                n = S * (V if name == "all" else int(groups[name].sum()))
                yield norm, unit(norm), name, n, *_statistics(values, math.fsum(own) / n, n)


def unit(norm: str) -> str:
    if norm.endswith("_delta_W"):
        return "embedding units"
    return "ULP" if norm.endswith("_delta_W_prime") else "cells"


def _ranks(n: int) -> Sequence[int]:
    places = [0, n - 1, *(rank(p, n) for p in PERCENTILES)]
    return places + [index for p in PERCENTILES for index in between(p, n)[:2]]


def _statistics(values: list[float], mean: float, n: int) -> Iterator[float | str]:
    low, high, *percentiles = values[: 2 + len(PERCENTILES)]
    yield from (low, mean, high, *percentiles)
    ends = values[2 + len(PERCENTILES) :]
    for p, exact, below, above in zip(PERCENTILES, percentiles, ends[::2], ends[1::2], strict=True):
        share = between(p, n)[2]
        interpolated = below if below == above or share == 0 else below + (above - below) * share
        yield "" if interpolated == exact else interpolated
