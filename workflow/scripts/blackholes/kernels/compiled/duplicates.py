"""Compiled loops of duplicates.py: equal rows, for vectors on the CPU."""

import numpy as np

from blackholes.kernels.compiled import compiled


@compiled
def hash_rows(bits, minus_zero, exponent, infinite, keys, hashes):
    """bits (n, D) unsigned, keys and hashes uint64 (D,), (n,). True if a value is not finite.

    A row's hash is the sum of value times key modulo 2**64, then mixed as in splitmix64. `minus_zero` counts as 0.
    """
    bad = False
    for i in range(bits.shape[0]):
        row, total = bits[i], np.uint64(0)
        for k in range(row.shape[0]):
            value = row[k]
            bad |= (value & exponent) == infinite
            total += (np.uint64(0) if value == minus_zero else np.uint64(value)) * keys[k]
        total = (total ^ (total >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        total = (total ^ (total >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes[i] = total ^ (total >> np.uint64(31))
    return bad


@compiled
def first_equal_rows(bits, minus_zero, hashes, labels):
    """bits (S, N, D) unsigned, hashes uint64 (S, N), labels int64 (S, N): the smallest index of an equal row.

    One open-addressing table a step. A row is compared, exactly, with every earlier row of the same hash, so a
    collision costs time and never merges rows; equal rows walk the same way, so they are never split.
    """
    N = labels.shape[1]
    size = 2
    while size < 2 * N:
        size *= 2
    last = np.uint64(size - 1)
    slots = np.empty(size, np.int64)
    for s in range(labels.shape[0]):
        slots[:] = -1
        for i in range(N):
            slot = np.int64(hashes[s, i] & last)
            while True:
                j = slots[slot]
                if j < 0:
                    slots[slot] = labels[s, i] = i
                    break
                if hashes[s, i] == hashes[s, j] and _equal(bits[s, i], bits[s, j], minus_zero):
                    labels[s, i] = j
                    break
                slot = (slot + 1) % size
    return labels


@compiled
def _equal(a, b, minus_zero):
    differ = False
    for k in range(a.shape[0]):
        u, v = a[k], b[k]
        differ |= (u != v) & (not ((u == 0 or u == minus_zero) and (v == 0 or v == minus_zero)))
    return not differ
