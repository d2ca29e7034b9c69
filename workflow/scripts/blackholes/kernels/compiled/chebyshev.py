"""Compiled loops of chebyshev.py: Chebyshev distances and distances in cells, for histories on the CPU."""

import numpy as np

from blackholes.kernels.compiled import compiled

ROWS = 16  # computed before they are mirrored: 16 float32 are one cache line of the mirrored half
DIMENSIONS = 4  # taken at once
EXPONENT = np.int16(0x7F80)  # all bits set in NaN and infinity


@compiled
def chebyshev_bf16(history, out):
    """history int16 (S, V, D), the bits of bfloat16; out float32 (S, V, V). True if a value is not finite."""
    tile, rows = _scratch(history.shape[1], history.shape[2])
    words = tile.view(np.uint32)
    bad = False
    for s in range(history.shape[0]):
        for i in range(history.shape[1]):
            for k in range(history.shape[2]):
                bits = history[s, i, k]
                bad |= (bits & EXPONENT) == EXPONENT
                words[k, i] = np.uint32(np.uint16(bits)) << np.uint32(16)
        _matrix(tile, rows, out[s])
    return bad


@compiled
def chebyshev_float(history, out):
    """history float32 (S, V, D), out float32 (S, V, V). True if a value is not finite."""
    tile, rows = _scratch(history.shape[1], history.shape[2])
    bad = False
    for s in range(history.shape[0]):
        for i in range(history.shape[1]):
            for k in range(history.shape[2]):
                bad |= not np.isfinite(history[s, i, k])
                tile[k, i] = history[s, i, k]
        _matrix(tile, rows, out[s])
    return bad


@compiled
def cell_matrices(history, out):
    """history int16 (S, V, D), the bits of bfloat16; out int32 (S, V, V). True if a value is not finite."""
    tile, rows = _scratch(history.shape[1], history.shape[2])
    bad = False
    for s in range(history.shape[0]):
        for i in range(history.shape[1]):
            for k in range(history.shape[2]):
                bits = history[s, i, k]
                bad |= (bits & EXPONENT) == EXPONENT
                magnitude = np.float32(bits & np.int16(0x7FFF))  # ordinals and their differences are exact in float32
                tile[k, i] = -magnitude if bits < 0 else magnitude
        _matrix(tile, rows, out[s])
    return bad


@compiled
def _scratch(V, D):
    """Room for one step's values, (D, V), and the distances of ROWS tokens, (ROWS, V): zeros, D and V rounded up."""
    depth, width = -(-D // DIMENSIONS) * DIMENSIONS, -(-V // ROWS) * ROWS
    return np.zeros((depth, width), np.float32), np.empty((ROWS, width), np.float32)


@compiled
def _matrix(tile, rows, out):
    """out[i, j] = max_k |tile[k, i] - tile[k, j]|: the half j >= i, ROWS rows at a time, mirrored while in cache."""
    V = out.shape[0]
    for top in range(0, V, ROWS):
        height = min(ROWS, V - top)
        for i in range(0, height, 2):
            _two_rows(tile, top, i, rows[i, top:], rows[i + 1, top:])
        for i in range(height):
            for j in range(top, V):
                out[top + i, j] = rows[i, j]
        for j in range(top + height, V):
            for i in range(height):
                out[j, top + i] = rows[i, j]


@compiled
def _two_rows(tile, top, i, first, second):
    """first[j] = max_k |tile[k, top + i] - tile[k, top + j]|, and second[j] the same of row i + 1.

    LLVM vectorises the loop over j. Two rows and four dimensions at once, so that eight differences share the loads
    and stores: one row and one dimension takes twice as long.
    """
    first[:] = np.float32(0)
    second[:] = np.float32(0)
    for k in range(0, tile.shape[0], DIMENSIONS):
        a, b, c, d = tile[k, top:], tile[k + 1, top:], tile[k + 2, top:], tile[k + 3, top:]
        a0, b0, c0, d0 = a[i], b[i], c[i], d[i]
        a1, b1, c1, d1 = a[i + 1], b[i + 1], c[i + 1], d[i + 1]
        for j in range(first.shape[0]):
            u, v, w, x = a[j], b[j], c[j], d[j]
            first[j] = _larger(first[j], _larger(_larger(abs(a0 - u), abs(b0 - v)), _larger(abs(c0 - w), abs(d0 - x))))
            second[j] = _larger(
                second[j], _larger(_larger(abs(a1 - u), abs(b1 - v)), _larger(abs(c1 - w), abs(d1 - x)))
            )


@compiled
def _larger(x, y):
    return x if x > y else y  # one instruction; max() would look for NaN
