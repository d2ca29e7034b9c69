"""Compiled loops of lattice.py: displacement, crossings, counts and norms in one pass, for snapshots on the CPU.

Every operation and every sum has the order of the torch formula, so results are equal to the bit.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from blackholes.kernels.compiled import compiled

LANES = 8  # partial sums of a token's dimensions, as in lattice.py
_BLOCK = 4096  # coordinates at a time: their displacements stay in a core's first cache
F, I = np.float32, np.int32
_ULP = F(2.0**-7)
_ALMOST, _HALF, _BEYOND_FLOAT, _BEYOND_INT = F(1e-6), F(0.5), F(2.0**24), F(2.0**63)


@compiled
def transitions(bits, stored, low, high, crossings, ulps, start, stop, norms, crossed, counts, extremes):
    """All results for the steps between snapshots, for the tokens start … stop − 1.

    bits int16 (s + 1, V, D); stored integer from `low` to `high`, crossings bool, ulps int16 (s, V, D), or empty
    where not wanted; norms float32 (4, s, V), crossed int32 (s, V); counts int64 (s, 10), extremes float32 (s, 6),
    as in lattice.py. True if a value of the snapshots after the first is not finite.
    """
    S, D = bits.shape[0] - 1, bits.shape[2]
    rows = max(1, _BLOCK // D)
    delta, moved, crosses = np.empty(rows * D, np.float32), np.empty(rows * D, np.float32), np.empty(rows * D, np.bool_)
    sums = np.empty((3, LANES))
    bad = False
    for top in range(start, stop, rows):
        end = min(top + rows, stop)
        n = (end - top) * D
        for s in range(S):
            before, after = bits[s, top:end].reshape(n), bits[s + 1, top:end].reshape(n)
            bad |= _displace(before, after, delta, moved, crosses, counts[s], extremes[s])
            _classify(delta[:n], counts[s], extremes[s])
            _norms(delta, moved, crosses, D, sums, norms[:, s, top:end], crossed[s, top:end])
            if stored.size:
                _store(delta[:n], low, high, stored[s, top:end].reshape(n))
            if crossings.size:
                crossings[s, top:end].reshape(n)[:] = crosses[:n]
            if ulps.size:
                _store_ulps(before, ulps[s, top:end].reshape(n))
    return bad


@compiled
def _ulp_exponent(bits):
    """Biased exponent of 2⁷ ULP: 1 for subnormals, 8 for zeros, by convention."""
    exponent = max(I((bits >> I(7)) & I(0xFF)), I(1))
    return I(8) if I(bits & I(0x7FFF)) == 0 else exponent


@compiled
def _ulp(exponent):
    return I(exponent << I(23)).view(np.float32) * _ULP


@compiled
def _displaced(difference, exponent):
    """A difference in ULP."""
    return difference / _ulp(exponent)


@compiled
def _displace(before, after, delta, moved, crosses, counts, extremes):
    """Displacements of a block, and the counts that need the bits. True if a value of `after` is not finite."""
    bad = zeros = unmoved_crossing = unmoved_change = moved_equal = hits = I(0)
    low, high = I(255), I(0)
    for k in range(len(before)):
        b, a = I(before[k]), I(after[k])
        bad = max(bad, I(a & I(0x7F80)))
        exponent = _ulp_exponent(b)
        difference = I(a << I(16)).view(np.float32) - I(b << I(16)).view(np.float32)
        d = _displaced(difference, exponent)
        delta[k], moved[k] = d, difference
        cross = I((a ^ b) & I(0x7F80)) != 0
        crosses[k] = cross
        hits = I(hits + cross)
        zeros = I(zeros + (I(b & I(0x7FFF)) == 0))
        low, high = min(low, exponent), max(high, exponent)
        unmoved_crossing = I(unmoved_crossing + (cross & (d == 0)))
        unmoved_change = I(unmoved_change + ((a != b) & (I((a | b) & I(0x7FFF)) != 0) & (d == 0)))
        moved_equal = I(moved_equal + ((a == b) & (d != 0)))
    counts[0] += hits
    counts[1] += zeros
    counts[7] += unmoved_crossing
    counts[8] += unmoved_change
    counts[9] += moved_equal
    extremes[4], extremes[5] = min(extremes[4], _ulp(low)), max(extremes[5], _ulp(high))
    return bad == I(0x7F80)


@compiled
def _classify(delta, counts, extremes):
    broken = almost = half = beyond_float = beyond_int = I(0)
    low, high, low_held, high_held = I(0x7FFFFFFF), I(-0x7FFFFFFF), I(0x7FFFFFFF), I(-0x7FFFFFFF)
    for k in range(len(delta)):
        d = delta[k]
        whole = np.rint(d)
        fraction, size = abs(d - whole), abs(d)
        broken = I(broken + (fraction > 0))
        almost = I(almost + ((fraction > 0) & (fraction < _ALMOST)))
        half = I(half + (fraction == _HALF))
        beyond_float = I(beyond_float + (size > _BEYOND_FLOAT))
        beyond_int = I(beyond_int + (size >= _BEYOND_INT))
        key = _key(d)
        low, high = min(low, key), max(high, key)
        held = _key(whole if size < _BEYOND_INT else F(0))
        low_held, high_held = min(low_held, held), max(high_held, held)
    counts[2] += broken
    counts[3] += almost
    counts[4] += half
    counts[5] += beyond_float
    counts[6] += beyond_int
    extremes[0], extremes[1] = min(extremes[0], _value(low)), max(extremes[1], _value(high))
    extremes[2], extremes[3] = min(extremes[2], _value(low_held)), max(extremes[3], _value(high_held))


@compiled
def _key(x):
    """float32 as an integer of the same order: LLVM vectorises minima of integers, not of floats, which may be NaN."""
    bits = F(x).view(np.int32)
    return I(bits ^ I(I(bits >> I(31)) & I(0x7FFFFFFF)))


@compiled
def _value(key):
    return I(key ^ I(I(key >> I(31)) & I(0x7FFFFFFF))).view(np.float32)


@compiled
def _norms(delta, moved, crosses, D, sums, norms, crossed):
    """Norms (4, rows) and crossings (rows) of the tokens in a block."""
    for i in range(len(crossed)):
        at, end = i * D, (i + 1) * D
        _add_in_lanes(delta, moved, at, end - D % LANES, sums)
        rest, changes = delta[end - D % LANES : end], moved[end - D % LANES : end]
        for lane in range(len(rest)):
            d, m = np.float64(rest[lane]), np.float64(changes[lane])
            sums[0, lane] += abs(d)
            sums[1, lane] += d * d
            sums[2, lane] += m * m
        row, cross = delta[at:end], crosses[at:end]
        largest, hits = I(0), I(0)
        for k in range(len(row)):
            largest = max(largest, I(F(row[k]).view(np.int32) & I(0x7FFFFFFF)))
        for k in range(len(cross)):
            hits = I(hits + cross[k])
        norms[0, i], norms[1, i] = _tree(sums, 0), np.sqrt(_tree(sums, 1))
        norms[2, i], norms[3, i] = I(largest).view(np.float32), np.sqrt(_tree(sums, 2))
        crossed[i] = hits


@compiled
def _tree(sums, i):
    x = sums
    return ((x[i, 0] + x[i, 4]) + (x[i, 2] + x[i, 6])) + ((x[i, 1] + x[i, 5]) + (x[i, 3] + x[i, 7]))


@intrinsic
def _add_in_lanes(typing_context, delta, moved, start, stop, sums):
    """sums[:, lane] = Σ |delta[k]|, Σ delta[k]², Σ moved[k]², in float64, over k = start + lane, + LANES, … below stop.

    Written in LLVM's vectors, so that the sums stay in registers: a plain loop over the lanes loads and stores them at
    every step and takes four times as long.
    """

    def generate(context, builder, signature, arguments):
        delta, moved, sums = (
            context.make_array(signature.args[place])(context, builder, arguments[place]) for place in (0, 1, 4)
        )
        start, stop = arguments[2:4]
        single, double = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.DoubleType(), LANES)
        absolute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(double, [double]), f"llvm.fabs.v{LANES}f64"
        )
        zeros = ir.Constant(double, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(builder, zeros) for _ in range(3)]
        for total in totals:
            builder.store(zeros, total)
        step = ir.Constant(start.type, LANES)
        with cgutils.for_range_slice(builder, start, stop, step, intp=start.type) as (k, _):
            d, m = (
                builder.load(builder.bitcast(builder.gep(x.data, [k]), single.as_pointer()), align=4)
                for x in (delta, moved)
            )
            d, m = builder.fpext(d, double), builder.fpext(m, double)
            terms = builder.call(absolute, [d]), builder.fmul(d, d), builder.fmul(m, m)
            for total, term in zip(totals, terms, strict=True):
                builder.store(builder.fadd(builder.load(total), term), total)
        for row, total in enumerate(totals):
            place = builder.gep(sums.data, [ir.Constant(start.type, row * LANES)])
            builder.store(builder.load(total), builder.bitcast(place, double.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(delta, moved, start, stop, sums), generate


@compiled
def _store(delta, low, high, out):
    """Rounded half to even; what no integer type holds becomes `low`."""
    low, high = np.float64(low), np.float64(high)
    for k in range(len(delta)):
        d = delta[k]
        whole = np.float64(np.rint(d)) if abs(d) < _BEYOND_INT else low
        out[k] = min(max(whole, low), high)


@compiled
def _store_ulps(before, out):
    """ULP as bfloat16's bits: a power of two has one set bit, or an exponent alone."""
    for k in range(len(before)):
        exponent = _ulp_exponent(I(before[k]))
        out[k] = (exponent - I(7)) << I(7) if exponent > 7 else I(1) << (exponent - I(1))
