"""One graph of many tokens, stored as one bit a pair: components and diameters (row C).

A graph of N tokens takes N²/8 bytes, however many edges it has. On the CPU, in numpy: a search ORs whole rows.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from blackholes.kernels.checks import require

WORD = 64
ROWS_AT_ONCE = 64  # rows that a search ORs before it checks whether the whole component is reached
EFFORT = 20_000_000  # rows that the searches for one diameter may read


def adjacency(blocks: Iterable[tuple[int, Float32[Tensor, "n N"]]], threshold: float | int) -> Int64[Tensor, "N words"]:
    """Bit j % 64 of word j // 64 of row i: whether tokens i and j, i ≠ j, are at most `threshold` apart.

    `blocks` yields (first row, rows) of a symmetric distance matrix, in order, on any device. The threshold is in the
    distances' unit and is rounded to float32, as they are.
    Raises UserError for a threshold that is NaN or negative.
    """
    require(threshold >= 0, f"threshold is {threshold}, where a number ≥ 0 is expected")
    limit, rows = float(np.float32(threshold)), []
    for start, block in blocks:
        n, N = block.shape
        near = (block <= limit).cpu().numpy()
        near[np.arange(n), np.arange(start, start + n)] = False
        padded = np.zeros((n, -(-N // WORD) * WORD // 8), np.uint8)
        packed = np.packbits(near, axis=1, bitorder="little")
        padded[:, : packed.shape[1]] = packed
        rows.append(torch.from_numpy(padded.view(np.int64)))
    return torch.cat(rows)


def degrees(graph: Int64[Tensor, "N words"]) -> Int64[Tensor, "N"]:
    """Number of neighbours of every token."""
    return torch.from_numpy(np.bitwise_count(graph.numpy().view(np.uint64)).sum(1, dtype=np.int64))


def components(graph: Int64[Tensor, "N words"]) -> Int64[Tensor, "N"]:
    """Smallest token of every token's component."""
    bits, N = graph.numpy(), len(graph)
    label = np.arange(N)
    done = np.logical_not(bits.any(1))
    for i in range(N):
        if not done[i]:
            members = np.flatnonzero(_distances(bits, i)[0] >= 0)
            label[members], done[members] = i, True
    return torch.from_numpy(label)


def diameter(graph: Int64[Tensor, "N words"], members: Int64[Tensor, "m"], effort: int = EFFORT) -> tuple[int, int]:
    """Diameter of one component, in hops, as bounds (at least, at most): equal unless `effort` ran out.

    `members` are all tokens of the component. Breadth-first searches tighten bounds on every token's eccentricity, its
    hops to the farthest token (Takes and Kosters, "Determining the diameter of small world networks", 2011): from a
    token of eccentricity e, another one d hops away has at least max(d, e − d) and at most e + d. Tokens with the same
    neighbours count as one; a complete graph needs no search. A search reads a row of the graph for every token it
    visits until all are reached; no search starts once `effort` rows are read.
    """
    bits, tokens = graph.numpy(), members.numpy()
    m = len(tokens)
    if (np.bitwise_count(bits[tokens].view(np.uint64)).sum(1) == m - 1).all():
        return min(m - 1, 1), min(m - 1, 1)
    tokens = tokens[_distinct(bits, tokens)]
    low, high = np.ones(len(tokens), np.int64), np.full(len(tokens), m - 1)  # bounds of eccentricity
    unsure, read, widest = np.arange(len(tokens)), 0, True
    while len(unsure) and read < effort:
        chosen = unsure[high[unsure].argmax() if widest else low[unsure].argmin()]
        hops, rows = _distances(bits, int(tokens[chosen]), m)
        hops, read, widest = hops[tokens], read + rows, not widest
        farthest = hops.max()
        low, high = np.maximum(low, np.maximum(hops, farthest - hops)), np.minimum(high, farthest + hops)
        high[chosen] = farthest
        unsure = np.flatnonzero(high > low.max())
    least = int(low.max())
    return least, max(least, int(high.max()))


def _distinct(bits: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Indices into `members`: the first of each group of neighbours that have the same other neighbours."""
    own = bits[members]
    own[np.arange(len(members)), members // WORD] |= np.left_shift(np.int64(1), members % WORD)
    rows = own.view(np.dtype((np.void, own.itemsize * own.shape[1])))[:, 0]
    return np.sort(np.unique(rows, return_index=True)[1])


def _distances(bits: np.ndarray, start: int, size: int | None = None) -> tuple[np.ndarray, int]:
    """(Hops from `start` to every token, −1 if unreachable; rows read). `size`: of the component, if known."""
    hops = np.full(len(bits), -1, np.int64)
    hops[start] = 0
    unseen = np.full(bits.shape[1], -1, np.int64)
    unseen[start // WORD] &= ~np.left_shift(np.int64(1), start % WORD)
    front, n_reached, level, read = np.array([start]), 1, 0, 0
    while len(front) and n_reached != size:
        level += 1
        reached = np.zeros_like(unseen)
        for piece in np.array_split(front, -(-len(front) // ROWS_AT_ONCE)):
            reached |= np.bitwise_or.reduce(bits[piece], axis=0) & unseen
            read += len(piece)
            if size is not None and n_reached + np.bitwise_count(reached.view(np.uint64)).sum() == size:
                break
        unseen &= ~reached
        front = np.flatnonzero(np.unpackbits(reached.view(np.uint8), bitorder="little", count=len(bits)))
        hops[front] = level
        n_reached += len(front)
    return hops, read
