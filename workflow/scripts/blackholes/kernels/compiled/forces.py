"""Compiled loops of forces.py: the forces on each row of a matrix, in one pass.

Sums may be reordered, in an order that is fixed for one processor; a row's numbers do not depend on other rows.
"""

import numpy as np
from numba import njit

from blackholes.kernels.compiled import compiled

F = np.float32


@njit(fastmath={"reassoc", "contract", "nsz"}, nogil=True, error_model="numpy", cache=True)
def row_forces(before, after, gradient, own, intended, factor, out):
    """before, after, gradient, own, intended float32 (N, D); decay is factor · weights; out float32 (10, N): `ROWS`."""
    rows, width = before.shape
    weights, bits = before.view(np.int32), np.empty(width, np.int32)
    ulp = bits.view(np.float32)
    for i in range(rows):
        pull, step, shrink, wanted, moved, lost, still = F(0), F(0), F(0), F(0), F(0), F(0), F(0)
        for d in range(width):
            w, u, a, g = before[i, d], intended[i, d], own[i, d], gradient[i, d]
            r, s = after[i, d] - w, factor * w
            pull += g * g
            step += a * a
            shrink += s * s
            wanted += u * u
            moved += r * r
            lost += (r - u) * (r - u)
            still += F(1) if (u != F(0)) & (after[i, d] == w) else F(0)
        out[0, i], out[1, i], out[2, i] = np.sqrt(pull), np.sqrt(step), np.sqrt(shrink)
        out[3, i], out[4, i], out[5, i] = np.sqrt(wanted), np.sqrt(moved), np.sqrt(lost)
        out[9, i] = still / F(width)
        _spacing(before[i], weights[i], bits)
        out[6, i] = _cells(intended[i], F(1), ulp)
        out[7, i] = _cells(own[i], F(1), ulp)
        out[8, i] = _cells(before[i], factor, ulp)


@compiled
def _spacing(values, patterns, bits):
    """bits int32 (D,): the patterns of bfloat16's ULP at each value (see `bf16.ulp`)."""
    for d in range(len(values)):
        exponent = (patterns[d] >> 23) & 255
        tiny = 1 << ((exponent if exponent > 0 else 1) + 15 if exponent < 8 else 0)
        usual = tiny if exponent < 8 else (exponent - 7) << 23
        bits[d] = (1 << 23) if values[d] == F(0) else usual


@compiled
def _cells(values, factor, ulp):
    """The largest |factor · value| / ULP."""
    most = F(0)
    for d in range(len(values)):
        most = max(most, abs(factor * values[d]) / ulp[d])
    return most
