"""One graph of many tokens, a bit for each pair: components and diameters (row C).

A graph of N tokens takes N²/8 bytes however many edges it has. numpy alone: a search ors whole rows.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from blackholes.kernels.checks import require

WORD = 64
TOGETHER = 64  # rows that a search ors before it looks whether all is reached
EFFORT = 20_000_000  # rows that the search for one diameter may read


def adjacency(blocks: Iterable[tuple[int, Float32[Tensor, "n N"]]], threshold: float) -> Int64[Tensor, "N words"]:
    """Bit j % 64 of word j // 64 of row i: whether i and j, two different tokens, are at most `threshold` apart.

    `blocks` gives (first row, rows) of a symmetric matrix. The threshold is rounded to float32, as distances are.
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
    """Neighbours of every token."""
    return torch.from_numpy(np.bitwise_count(graph.numpy().view(np.uint64)).sum(1, dtype=np.int64))


def components(graph: Int64[Tensor, "N words"]) -> Int64[Tensor, "N"]:
    """Smallest member of the component of every token."""
    bits, N = graph.numpy(), len(graph)
    label = np.arange(N)
    done = ~bits.any(1)
    for i in range(N):
        if not done[i]:
            members = np.flatnonzero(_distances(bits, i)[0] >= 0)
            label[members], done[members] = i, True
    return torch.from_numpy(label)


def diameter(graph: Int64[Tensor, "N words"], members: Int64[Tensor, "m"], effort: int = EFFORT) -> tuple[int, int]:
    """The largest number of hops between two tokens of one component: (at least, at most), equal where it is known.

    Searches start where they say most (Takes and Kosters, "Determining the diameter of small world networks", 2011):
    from a token with e hops to its farthest one, another in d hops has at least max(d, e − d) and at most e + d to
    its own. Tokens with the same neighbours count as one, and in a complete graph the answer is 1. A search reads a
    row of the graph for every token on its way until all are reached; once `effort` rows are read, no other starts,
    and what is known by then is returned.
    """
    bits, members = graph.numpy(), members.numpy()
    m = len(members)
    degree = degrees(graph[torch.from_numpy(members)]).numpy()
    if m == 1 or (degree == m - 1).all():
        return min(m - 1, 1), min(m - 1, 1)
    own = bits[members]
    own[np.arange(m), members // WORD] |= np.left_shift(np.int64(1), members % WORD)
    rows = np.ascontiguousarray(own).view(np.dtype((np.void, own.itemsize * own.shape[1])))[:, 0]
    members = members[np.sort(np.unique(rows, return_index=True)[1])]
    del own, rows
    low, high = np.ones(len(members), np.int64), np.full(len(members), m - 1)
    least, most, farthest, read = 1, m - 1, True, 0
    open_ = np.arange(len(members))  # whose farthest may be farther than any seen
    while len(open_) and read < effort:
        chosen = open_[high[open_].argmax() if farthest else low[open_].argmin()]
        farthest = not farthest
        hops, rows_read = _distances(bits, members[chosen], all_of=m)
        hops, read = hops[members], read + rows_read
        reach = int(hops.max())
        low, high = np.maximum(low, np.maximum(hops, reach - hops)), np.minimum(high, reach + hops)
        low[chosen] = high[chosen] = reach
        least, most = max(least, reach), min(most, 2 * reach)
        open_ = open_[high[open_] > least]
        if most == least:
            break
    else:
        most = min(most, int(high[open_].max())) if len(open_) else least
    return least, most


def _distances(bits: np.ndarray, start: int, all_of: int | None = None) -> tuple[np.ndarray, int]:
    """(Hops from `start` to every token, −1 where there is no way; rows read). `all_of`: size of the component."""
    N = len(bits)
    hops = np.full(N, -1, np.int64)
    hops[start] = 0
    unseen = np.full(bits.shape[1], -1, np.int64)
    unseen[start // WORD] &= ~np.left_shift(np.int64(1), start % WORD)
    front, level, read, found = np.array([start]), 0, 0, 1
    while len(front) and found != all_of:
        level += 1
        reached = np.zeros_like(unseen)
        for piece in range(0, len(front), TOGETHER):
            reached |= np.bitwise_or.reduce(bits[front[piece : piece + TOGETHER]], axis=0)
            read += len(front[piece : piece + TOGETHER])
            if all_of is not None and not piece % (16 * TOGETHER):
                reached &= unseen
                if found + int(np.bitwise_count(reached.view(np.uint64)).sum()) == all_of:
                    break
        reached &= unseen
        unseen &= ~reached
        front = np.flatnonzero(np.unpackbits(reached.view(np.uint8), bitorder="little", count=N))
        hops[front] = level
        found += len(front)
    return hops, read
