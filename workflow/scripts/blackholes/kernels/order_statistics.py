"""Exact order statistics of many numbers that come in pieces (row E)."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from blackholes.kernels import backends
from blackholes.kernels.checks import require
from blackholes.kernels.compiled import order_statistics as loops

Pieces = Iterable[Float32[Tensor, "s V"]]
BINS = 1 << 16  # values of the upper 16 bits of float32 numbers, and of the lower 16


def order_statistics(
    pieces: Callable[[], Pieces], classes: Int64[Tensor, "V"], ranks: Callable[[int], Sequence[int]]
) -> list[list[float]]:
    """Some of the ascending numbers in each class of columns, and in all columns together.

    `pieces()` yields rows of a float32 matrix (S, V) of numbers ≥ 0; it is called twice. Nothing is sorted: such
    numbers are ordered as their bits, so one pass counts them by their upper 16 bits, and a second finds each by the
    lower 16 bits of those that share its upper ones.

    Args:
        classes: of each column, from 0 on.
        ranks: how many numbers there are → the places, from 0, of those that are wanted.

    Returns:
        The numbers wanted in class 0, in class 1, …, and of all classes together.

    Raises UserError for a number that is negative or NaN, and for another dtype or number of columns.
    """
    owner, C = classes.cpu(), int(classes.max()) + 1
    upper = torch.zeros((C, BINS), dtype=torch.int64)
    for piece in pieces():
        fits = piece.dtype == torch.float32 and piece.ndim == 2 and piece.shape[1] == len(owner)
        require(fits, f"piece is {piece.dtype} {tuple(piece.shape)}, where float32 (s, {len(owner)}) is expected")
        require(bool((piece >= 0).all()), "a number is negative or NaN, where a number ≥ 0 is expected")
        _count(piece + 0.0, owner, upper)  # −0 becomes 0
    whole = torch.cat([upper, upper.sum(0, keepdim=True)])
    below = whole.cumsum(1)
    wanted = [torch.tensor(list(ranks(int(total)))) for total in below[:, -1]]
    bins = [torch.searchsorted(totals, places, right=True) for totals, places in zip(below, wanted, strict=True)]
    shared = torch.cat(bins).unique()  # the upper halves of all numbers wanted
    slots = torch.full((BINS,), -1, dtype=torch.int64)
    slots[shared] = torch.arange(len(shared))
    lower = torch.zeros((C, len(shared), BINS), dtype=torch.int64)
    for piece in pieces():
        _count_within(piece + 0.0, owner, slots, lower)
    found: list[list[float]] = []
    for g, (places, high) in enumerate(zip(wanted, bins, strict=True)):
        found.append([])
        for h, rest in zip(high.tolist(), (places - below[g, high] + whole[g, high]).tolist(), strict=True):
            counts = lower[g, slots[h]] if g < C else lower[:, slots[h]].sum(0)
            low = int(torch.searchsorted(counts.cumsum(0), rest, right=True))
            found[-1].append(float(torch.tensor(h << 16 | low, dtype=torch.int32).view(torch.float32)))
    return found


def _count(piece: Tensor, owner: Tensor, counts: Tensor) -> None:
    """counts (C, BINS) of the upper halves."""
    if backends.compiled(piece):
        loops.count(piece.contiguous().numpy().view(np.uint32), owner.numpy(), counts.numpy())
    else:
        key = owner.to(piece.device) * BINS + (piece.view(torch.int32) >> 16)
        counts += torch.bincount(key.flatten(), minlength=counts.numel()).cpu().view_as(counts)


def _count_within(piece: Tensor, owner: Tensor, slots: Tensor, counts: Tensor) -> None:
    """counts (C, number of slots, BINS) of the lower halves of those whose upper half has a slot."""
    if backends.compiled(piece):
        loops.count_within(piece.contiguous().numpy().view(np.uint32), owner.numpy(), slots.numpy(), counts.numpy())
    else:
        bits = piece.view(torch.int32)
        slot = slots.to(piece.device)[bits >> 16]
        key = (owner.to(piece.device) * counts.shape[1] + slot) * BINS + (bits & 0xFFFF)
        counts += torch.bincount(key[slot >= 0], minlength=counts.numel()).cpu().view_as(counts)
