"""Compiled loops of rounding.py, equal to its formulas to the bit."""

import numpy as np

from blackholes.kernels.compiled import compiled

U = np.uint32
_PARITY = U(0x1BD11BDA)


@compiled
def draw(places, seeds, step, words):
    """places uint32 (2, P), seeds uint32 (K,), words uint32 (2, K, P), written."""
    for run in range(len(seeds)):
        _words(places[0], places[1], seeds[run], U(step), words[0, run], words[1, run])


@compiled
def _words(coordinates, parameters, seed, step, first, second):
    parity = U(seed ^ step ^ _PARITY)
    for i in range(len(coordinates)):
        x, y = U(coordinates[i] + seed), U(parameters[i] + step)
        x, y = _even(x, y)
        x, y = _odd(U(x + step), U(y + parity + U(1)))
        x, y = _even(U(x + parity), U(y + seed + U(2)))
        x, y = _odd(U(x + seed), U(y + step + U(3)))
        x, y = _even(U(x + step), U(y + parity + U(4)))
        first[i] = U(x + parity)
        second[i] = U(y + seed + U(5))


@compiled
def _even(x, y):
    x, y = _round(x, y, U(13))
    x, y = _round(x, y, U(15))
    x, y = _round(x, y, U(26))
    return _round(x, y, U(6))


@compiled
def _odd(x, y):
    x, y = _round(x, y, U(17))
    x, y = _round(x, y, U(29))
    x, y = _round(x, y, U(16))
    return _round(x, y, U(24))


@compiled
def _round(x, y, by):
    x = U(x + y)
    return x, U(x ^ U(U(y << by) | U(y >> U(U(32) - by))))


@compiled
def store_stochastic(patterns, bits, out):
    """patterns uint32, of float32 values; out uint16, of bfloat16, written; all (n,)."""
    for i in range(len(patterns)):
        pattern = patterns[i]
        raised = U(pattern + U(U(0xFFFF) - U(bits[i] & U(0xFFFF)))) >> U(16)
        # not finite: infinity is kept, and a NaN whose highest bits say nothing of it gets one that does
        special = U(pattern >> U(16)) | U(U((pattern & U(0xFFFF)) != U(0)) << U(6))
        out[i] = np.uint16(special if U(pattern & U(0x7F800000)) == U(0x7F800000) else raised)
