"""Compiled loops of pairs.py: statistics over pairs, for blocks on the CPU.

Distances are read as bits: float32 numbers ≥ 0 are ordered as their bits.
"""

import numpy as np

from blackholes.kernels.compiled import compiled

INFINITE = np.uint32(0x7F80_0000)
SHIFT = np.uint32(16)
ONE, NONE = np.uint32(1), np.uint32(0xFFFF_FFFF)


@compiled
def survey(bits, first, counts, sums, zeros, nearest, token, different, largest):
    """Statistics of the rows `first`, … of a matrix, float32 as uint32 (n, N). True if a distance is negative or NaN.

    Of the distances right of the diagonal: counts (2**15,) by their upper 16 bits; for every row their sum in float64
    and the number of zeros (n,). Of all others in a row, as bits (n,): the nearest and the first token that is so near,
    the nearest above 0 (NONE if there is none), and the largest.
    """
    bad = False
    for r in range(bits.shape[0]):
        i, row, total = first + r, bits[r], 0.0
        none = 0
        numbers = row.view(np.float32)
        low, above, high = NONE, NONE, np.uint32(0)
        for j in range(i + 1, row.shape[0]):
            bad |= row[j] > INFINITE
        if bad:
            return True
        for j in range(i + 1, row.shape[0]):
            counts[row[j] >> SHIFT] += 1
            total += numbers[j]
            none += row[j] == 0
        for side in (row[:i], row[i + 1 :]):
            for j in range(side.shape[0]):
                low = min(low, side[j])
                above = min(above, np.uint32(side[j] - ONE))  # of a 0: NONE
                high = max(high, side[j])
        sums[r], zeros[r], nearest[r], largest[r] = total, none, low, high
        different[r] = above if above == NONE else np.uint32(above + ONE)
        for j in range(row.shape[0]):
            if row[j] == low and j != i:
                token[r] = j
                break
    return False


@compiled
def count_within(bits, first, upper, counts):
    """counts (2**16,) by the lower 16 bits of the distances right of the diagonal whose upper 16 bits are `upper`."""
    for r in range(bits.shape[0]):
        row = bits[r]
        for j in range(first + r + 1, row.shape[0]):
            if row[j] >> SHIFT == upper:
                counts[row[j] & np.uint32(0xFFFF)] += 1
