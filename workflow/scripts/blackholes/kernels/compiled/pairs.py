"""Compiled loops behind `pairs`, for blocks on the CPU. Arrays come in as numpy views, checked.

Distances are read as their bits: those of float32 numbers that are not negative are in the order of the numbers.
"""

import numpy as np

from blackholes.kernels.compiled import compiled

INFINITE = np.uint32(0x7F80_0000)
SHIFT = np.uint32(16)
ONE, NONE = np.uint32(1), np.uint32(0xFFFF_FFFF)


@compiled
def survey(bits, first, counts, sums, zeros, nearest, token, different, largest):
    """Rows `first`, … of a matrix, as uint32 (n, N): into counts (2**15,) and, for these rows, the others (n,).

    counts of the upper half by the upper 16 bits; the upper half's sums, float64, and zeros. Of all others in a row
    the nearest (bits), the first token that is so near, the nearest that is not at 0 (bits; NONE without), and the
    largest (bits).
    True if a distance of the upper half is negative or NaN.
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
    """counts (2**16,) of the lower 16 bits of the upper half's distances whose upper 16 bits are `upper`."""
    for r in range(bits.shape[0]):
        row = bits[r]
        for j in range(first + r + 1, row.shape[0]):
            if row[j] >> SHIFT == upper:
                counts[row[j] & np.uint32(0xFFFF)] += 1
