"""Compiled loops of order_statistics.py, for pieces on the CPU. Numbers ≥ 0 are read as bits, which order them."""

import numpy as np

from blackholes.kernels.compiled import compiled

SHIFT, LOWER = np.uint32(16), np.uint32(0xFFFF)


@compiled
def count(bits, owner, counts):
    """bits uint32 (s, V), owner int64 (V,): counts int64 (C, 2**16) of the upper halves in each class of columns."""
    for s in range(bits.shape[0]):
        row = bits[s]
        for i in range(row.shape[0]):
            counts[owner[i], row[i] >> SHIFT] += 1


@compiled
def count_within(bits, owner, slots, counts):
    """counts int64 (C, K, 2**16) of the lower halves of the numbers whose upper half h has a slot slots[h] ≥ 0."""
    for s in range(bits.shape[0]):
        row = bits[s]
        for i in range(row.shape[0]):
            slot = slots[row[i] >> SHIFT]
            if slot >= 0:
                counts[owner[i], slot, row[i] & LOWER] += 1
