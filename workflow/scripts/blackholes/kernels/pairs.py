"""Exact statistics over the N(N − 1)/2 pairs of a distance matrix that comes in blocks of rows (row C)."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from blackholes.errors import UserError
from blackholes.kernels import backends
from blackholes.kernels.checks import require
from blackholes.kernels.compiled import pairs as loops

Blocks = Iterable[tuple[int, Float32[Tensor, "n N"]]]
BINS, FINE = 1 << 15, 1 << 16  # values of the upper 16 bits of float32 numbers ≥ 0, and of the lower 16


def pair_statistics(blocks: Callable[[], Blocks]) -> dict[str, Any]:
    """Statistics of all pairwise distances, and the nearest neighbour of every token.

    `blocks()` yields (first row, rows) of a symmetric float32 matrix (N, N), from the top, as `euclidean_blocks` does;
    it is called twice. Pairs are read from the upper half. Nothing is sorted: float32 numbers ≥ 0 are ordered as their
    bits, so one pass counts distances by their upper 16 bits, and a second finds the median by the lower 16 bits of
    those that share its upper ones. Memory beside the blocks is 1 MB a thread.

    Returns:
        `pairs`, `zeros`: the numbers of pairs, and of pairs at distance 0. `min`, `median` (the lower one, as
        torch.median), `max`: exact. `mean`: float64, summed row by row, whatever the blocks. `smallest`: the smallest
        distance above 0. Each of these is NaN if there is no such pair.
        `histogram` int64 (B,): pairs with edges[b] ≤ distance < edges[b + 1], distances of 0 left out, for `edges`
        float32 (B + 1,): 128 equal bins to every power of two, from the first bin that is not empty to the last.
        `nearest` float32 (N,): distance to the nearest other token; `nearest_token` int64 (N,): its index, the first
        of equals, −1 if N is 1; `nearest_different` float32 (N,): distance to the nearest token at a distance above 0.
        NaN if there is no such token.

    Raises UserError for a distance that is negative or NaN, naming its tokens, and for blocks that do not make up such
    a matrix.
    """
    counts, rows = _survey(blocks())
    N = len(rows["sums"])
    pairs = N * (N - 1) // 2
    require(int(counts.sum()) == pairs, f"blocks hold {int(counts.sum()):,} pairs, where {pairs:,} are expected")
    zeros = int(rows["zeros"].sum())
    above_zero = counts.clone()
    above_zero[0] -= zeros
    filled = above_zero.nonzero()[:, 0].tolist() or [0]
    first, stop = filled[0], filled[-1] + 1
    return {
        "pairs": pairs,
        "zeros": zeros,
        "min": _least(rows["nearest"]),
        "smallest": _least(rows["nearest_different"]),
        "median": _lower_median(blocks, counts, pairs) if pairs else math.nan,
        "mean": math.fsum(rows["sums"].tolist()) / pairs if pairs else math.nan,
        "max": float(rows["largest"].max()) if pairs else math.nan,
        "histogram": above_zero[first:stop],
        "edges": (torch.arange(first, stop + 1, dtype=torch.int32) << 16).view(torch.float32),
        **{name: rows[name] for name in ("nearest", "nearest_token", "nearest_different")},
    }


ROWS = {  # what is kept of every row
    "sums": torch.float64,
    "zeros": torch.int64,
    "nearest": torch.float32,
    "nearest_token": torch.int64,
    "nearest_different": torch.float32,
    "largest": torch.float32,
}


def _survey(blocks: Blocks) -> tuple[Tensor, dict[str, Tensor]]:
    """Counts of the upper half by the upper 16 bits, int64 (BINS,), and ROWS (N,)."""
    counts, done = torch.zeros(BINS, dtype=torch.int64), 0
    rows: dict[str, Tensor] = {}
    for start, block in blocks:
        n, N = block.shape
        rows = rows or {name: torch.full((N,), -1, dtype=dtype) for name, dtype in ROWS.items()}
        fits = block.dtype == torch.float32 and start == done and start + n <= N == len(rows["sums"])
        require(fits, f"block {str(block.dtype).removeprefix('torch.')} {(n, N)} at row {start} is none of a matrix")
        here = {name: each[start : start + n] for name, each in rows.items()}
        survey = _survey_loops if backends.compiled(block) else _survey_formula
        bad = survey(block, start, counts, here)
        if bad:
            _refuse(block, start)
        done += n
    require(done > 0 and done == len(rows["sums"]), f"blocks end at row {done}, where all of a matrix are expected")
    return counts, rows


def _survey_loops(block: Tensor, start: int, counts: Tensor, rows: dict[str, Tensor]) -> bool:
    bits = block.contiguous().numpy().view(np.uint32)
    columns = [each.numpy() for each in rows.values()]
    columns = [each.view(np.uint32) if each.dtype == np.float32 else each for each in columns]

    def work(a: int, b: int) -> tuple[bool, np.ndarray]:
        own = np.zeros(BINS, np.int64)
        return loops.survey(bits[a:b], start + a, own, *(each[a:b] for each in columns)), own

    pieces = backends.in_threads(work, len(bits))
    counts += torch.from_numpy(sum(own for _, own in pieces))
    return any(bad for bad, _ in pieces)


def _survey_formula(block: Tensor, start: int, counts: Tensor, rows: dict[str, Tensor]) -> bool:
    place, token = _places(block, start)
    upper, self = token > place, token == place
    bits = block.view(torch.int32)
    if ((bits < 0) | block.isnan()).logical_and_(upper).any():
        return True
    counts += torch.bincount(bits[upper] >> 16, minlength=BINS).cpu()
    others = block.masked_fill(self, math.inf)
    different = others.masked_fill(others == 0, math.inf)
    nearest = others.amin(1)
    # NaN without such a token, since inf may be a distance
    alone, none = self.all(1), ((block == 0) | self).all(1)
    columns = {
        "sums": torch.where(upper, block, 0).double().sum(1),
        "zeros": ((block == 0) & upper).sum(1),
        "nearest": nearest.masked_fill(alone, math.nan),
        "nearest_token": ((others == nearest[:, None]) & ~self).int().argmax(1).masked_fill(alone, -1),
        "nearest_different": different.amin(1).masked_fill(none, math.nan),
        "largest": block.masked_fill(self, 0).amax(1),
    }
    for name, each in columns.items():
        rows[name].copy_(each)
    return False


def _lower_median(blocks: Callable[[], Blocks], counts: Tensor, pairs: int) -> float:
    below = counts.cumsum(0)
    rank = (pairs - 1) // 2
    upper = int(torch.searchsorted(below, rank, right=True))
    fine = torch.zeros(FINE, dtype=torch.int64)
    for start, block in blocks():
        if backends.compiled(block):
            fine += _count_loops(block, start, upper)
        else:
            place, token = _places(block, start)
            bits = block.view(torch.int32)
            within = bits[(token > place) & (bits >> 16 == upper)]
            fine += torch.bincount(within & 0xFFFF, minlength=FINE).cpu()
    lower = int(torch.searchsorted(fine.cumsum(0), rank - int(below[upper] - counts[upper]), right=True))
    return float(torch.tensor(upper << 16 | lower, dtype=torch.int32).view(torch.float32))


def _count_loops(block: Tensor, start: int, upper: int) -> Tensor:
    bits = block.contiguous().numpy().view(np.uint32)

    def work(a: int, b: int) -> np.ndarray:
        own = np.zeros(FINE, np.int64)
        loops.count_within(bits[a:b], start + a, np.uint32(upper), own)
        return own

    return torch.from_numpy(sum(backends.in_threads(work, len(bits))))


def _places(block: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Row and column of every entry of a block, to be compared by broadcasting."""
    n, N = block.shape
    return torch.arange(start, start + n, device=block.device)[:, None], torch.arange(N, device=block.device)


def _least(values: Tensor) -> float:
    known = values[~values.isnan()]
    return float(known.min()) if len(known) else math.nan


def _refuse(block: Tensor, start: int) -> None:
    for i, j in (~(block >= 0) | (block.view(torch.int32) < 0)).triu(1 + start).nonzero()[:1].tolist():
        raise UserError(
            f"distance {block[i, j].item()} between tokens {start + i} and {j}, where a number ≥ 0 is expected"
        )
