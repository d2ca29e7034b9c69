"""Compiled loops of lattice.py: all that `transitions` returns, in one pass, for snapshots on the CPU.

Every operation on floats and every sum of them has the order of the torch formula, so results are equal to the bit.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from blackholes.kernels.compiled import compiled

LANES = 8  # partial sums of a token's dimensions, as in lattice.py
_BLOCK = 4096  # coordinates at a time: what is computed of them stays in a core's caches
F, I, L = np.float32, np.int32, np.int64
_ULP = F(2.0**-7)
_ALMOST, _HALF, _BEYOND_FLOAT, _BEYOND_INT = F(1e-6), F(0.5), F(2.0**24), F(2.0**63)
_INT8, _INT16, _INT32 = F(2.0**7), F(2.0**15), F(2.0**31)  # the first integers that these types do not hold


@compiled
def transitions(bits, displacements, ordinals, crossings, ulps, start, stop, norms, crossed, moved, counts, extremes):
    """All results for the steps between snapshots, for the tokens start … stop − 1.

    bits int16 (s + 1, V, D). Of each output wanted the bytes, uint8 (s, V, D · bytes a value), or none: displacements
    and ordinals, signed integers of any width; crossings, bool; ulps, bfloat16. norms float32 (9, s, V), crossed and
    moved int32 (s, V); counts int64 (s, 18), extremes float32 (s, 8), as in lattice.py. True if a value of a snapshot
    after the first is not finite.
    """
    S, D = bits.shape[0] - 1, bits.shape[2]
    rows = max(1, _BLOCK // D)
    delta, change = np.empty(rows * D, np.float32), np.empty(rows * D, np.float32)
    cells, least = np.empty(rows * D, np.int32), np.empty(rows * D, np.int32)
    crosses, sums = np.empty(rows * D, np.bool_), np.empty((3, LANES))
    bad = False
    for top in range(start, stop, rows):
        end = min(top + rows, stop)
        n = (end - top) * D
        for s in range(S):
            before, after = bits[s, top:end].reshape(n), bits[s + 1, top:end].reshape(n)
            bad |= _displace(before, after, delta, change, crosses, counts[s], extremes[s])
            _order(before, after, cells, least, counts[s], extremes[s])
            _check(before, after, delta, cells, counts[s])
            _classify(delta[:n], counts[s], extremes[s])
            _norms(delta, change, D, sums, norms[5:, s, top:end])
            _whole_norms(
                before, cells, least, crosses, D, norms[:5, s, top:end], moved[s, top:end], crossed[s, top:end]
            )
            if displacements.size:
                _store(delta[:n], _flat(displacements[s, top:end]))
            if ordinals.size:
                _store_cells(cells[:n], _flat(ordinals[s, top:end]))
            if crossings.size:
                _flat(crossings[s, top:end])[:] = crosses[:n].view(np.uint8)
            if ulps.size:
                _store_ulps(before, _flat(ulps[s, top:end]).view(np.int16))
    return bad


@compiled
def _flat(rows):
    return rows.reshape(rows.size)


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
def _displace(before, after, delta, change, crosses, counts, extremes):
    """Displacements of a block. True if a value of `after` is not finite."""
    bad = zeros = hits = I(0)
    low, high = I(255), I(0)
    for k in range(len(before)):
        b, a = I(before[k]), I(after[k])
        bad = max(bad, I(a & I(0x7F80)))
        exponent = _ulp_exponent(b)
        difference = I(a << I(16)).view(np.float32) - I(b << I(16)).view(np.float32)
        delta[k], change[k] = _displaced(difference, exponent), difference
        cross = I((a ^ b) & I(0x7F80)) != 0
        crosses[k] = cross
        hits = I(hits + cross)
        zeros = I(zeros + (I(b & I(0x7FFF)) == 0))
        low, high = min(low, exponent), max(high, exponent)
    counts[0] += hits
    counts[3] += zeros
    extremes[4], extremes[5] = min(extremes[4], _ulp(low)), max(extremes[5], _ulp(high))
    return bad == I(0x7F80)


@compiled
def _ordinal(bits):
    magnitude = I(bits & I(0x7FFF))
    return I(-magnitude) if bits < 0 else magnitude


@compiled
def _order(before, after, cells, least, counts, extremes):
    """Motion of a block in cells, and the smaller magnitude of each coordinate's two, as its bits."""
    signs = moved = fit_int8 = fit_int16 = low = high = I(0)
    for k in range(len(before)):
        b, a = I(before[k]), I(after[k])
        smaller = min(I(b & I(0x7FFF)), I(a & I(0x7FFF)))
        o = I(_ordinal(a) - _ordinal(b))
        cells[k], least[k] = o, smaller
        signs = I(signs + ((I(a ^ b) < 0) & (smaller != 0)))
        moved = I(moved + (o != 0))
        fit_int8 = I(fit_int8 + ((o >= -128) & (o < 128)))
        fit_int16 = I(fit_int16 + ((o >= -32768) & (o < 32768)))
    low = high = cells[0]
    for k in range(len(before)):
        low, high = min(low, cells[k]), max(high, cells[k])
    counts[1] += signs
    counts[2] += moved
    counts[13] += fit_int8
    counts[14] += fit_int16
    extremes[6], extremes[7] = min(extremes[6], F(low)), max(extremes[7], F(high))


@compiled
def _check(before, after, delta, cells, counts):
    """Count what is impossible in bfloat16."""
    unmoved_crossing = unmoved_change = moved_equal = I(0)
    for k in range(len(before)):
        b, a = I(before[k]), I(after[k])
        still, rests = delta[k] == 0, cells[k] == 0
        cross = I((a ^ b) & I(0x7F80)) != 0
        unmoved_crossing = I(unmoved_crossing + (cross & (still | rests)))
        unmoved_change = I(unmoved_change + ((a != b) & (I((a | b) & I(0x7FFF)) != 0) & (still | rests)))
        moved_equal = I(moved_equal + ((a == b) & ((not still) | (not rests))))
    counts[15] += unmoved_crossing
    counts[16] += unmoved_change
    counts[17] += moved_equal


@compiled
def _classify(delta, counts, extremes):
    broken = almost = half = to_0 = beyond_float = beyond_int = fit_int8 = fit_int16 = fit_int32 = I(0)
    low, high, low_held, high_held = I(0x7FFFFFFF), I(-0x7FFFFFFF), I(0x7FFFFFFF), I(-0x7FFFFFFF)
    for k in range(len(delta)):
        d = delta[k]
        whole = np.rint(d)
        fraction, size = abs(d - whole), abs(d)
        broken = I(broken + (fraction > 0))
        almost = I(almost + ((fraction > 0) & (fraction < _ALMOST)))
        half = I(half + (fraction == _HALF))
        to_0 = I(to_0 + ((whole == 0) & (d != 0)))
        beyond_float = I(beyond_float + (size > _BEYOND_FLOAT))
        beyond_int = I(beyond_int + (size >= _BEYOND_INT))
        fit_int8 = I(fit_int8 + ((whole >= -_INT8) & (whole < _INT8)))
        fit_int16 = I(fit_int16 + ((whole >= -_INT16) & (whole < _INT16)))
        fit_int32 = I(fit_int32 + ((whole >= -_INT32) & (whole < _INT32)))
        key = _key(d)
        low, high = min(low, key), max(high, key)
        held = _key(whole if size < _BEYOND_INT else F(0))
        low_held, high_held = min(low_held, held), max(high_held, held)
    counts[4] += broken
    counts[5] += almost
    counts[6] += half
    counts[7] += to_0
    counts[8] += beyond_float
    counts[9] += beyond_int
    counts[10] += fit_int8
    counts[11] += fit_int16
    counts[12] += fit_int32
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
def _norms(delta, change, D, sums, norms):
    """Norms (4, rows) of the tokens in a block: L1, L2, L∞ of ΔW′, L2 of ΔW."""
    for i in range(norms.shape[1]):
        at, end = i * D, (i + 1) * D
        _add_in_lanes(delta, change, at, end - D % LANES, sums)
        rest, changes = delta[end - D % LANES : end], change[end - D % LANES : end]
        for lane in range(len(rest)):
            d, m = np.float64(rest[lane]), np.float64(changes[lane])
            sums[0, lane] += abs(d)
            sums[1, lane] += d * d
            sums[2, lane] += m * m
        row, largest = delta[at:end], I(0)
        for k in range(len(row)):
            largest = max(largest, I(F(row[k]).view(np.int32) & I(0x7FFFFFFF)))
        norms[0, i], norms[1, i] = _tree(sums, 0), np.sqrt(_tree(sums, 1))
        norms[2, i], norms[3, i] = I(largest).view(np.float32), np.sqrt(_tree(sums, 2))


@compiled
def _whole_norms(before, cells, least, crosses, D, norms, moved, crossed):
    """Norms (5, rows) of the tokens of a block, in cells; their dimensions that moved, and crossed."""
    for i in range(len(moved)):
        at, end = i * D, (i + 1) * D
        row, steps, smaller, cross = before[at:end], cells[at:end], least[at:end], crosses[at:end]
        top = crossings = I(0)
        for k in range(len(row)):
            top = max(top, I(row[k] & I(0x7FFF)))
        for k in range(len(cross)):
            crossings = I(crossings + cross[k])
        limit = _tiny_below(top)
        total, squares, squares_large = L(0), L(0), L(0)
        largest = largest_large = hits = I(0)
        for k in range(len(steps)):
            size = abs(steps[k])
            large = size if smaller[k] >= limit else I(0)
            total += L(size)
            squares += L(size) * L(size)
            squares_large += L(large) * L(large)
            largest, largest_large = max(largest, size), max(largest_large, large)
            hits = I(hits + (size != 0))
        norms[0, i], norms[1, i], norms[2, i] = np.float64(total), np.sqrt(np.float64(squares)), F(largest)
        norms[3, i], norms[4, i] = np.sqrt(np.float64(squares_large)), F(largest_large)
        moved[i], crossed[i] = hits, crossings


@compiled
def _tiny_below(bits):
    """The bits of the smallest magnitude that is not below 2⁻⁸ of the magnitude with these bits."""
    if bits >> 7 > 8:
        return I(bits - (8 << 7))
    exponent = bits >> 7  # that part is subnormal, or next to it: counted in units of 2⁻¹³³
    units = (bits & 0x7F) if exponent == 0 else ((bits & 0x7F) | 0x80) << (exponent - 1)
    return I((units + 255) >> 8)


@compiled
def _tree(sums, i):
    x = sums
    return ((x[i, 0] + x[i, 4]) + (x[i, 2] + x[i, 6])) + ((x[i, 1] + x[i, 5]) + (x[i, 3] + x[i, 7]))


@intrinsic
def _add_in_lanes(typing_context, delta, change, start, stop, sums):
    """sums[:, lane] = Σ |delta[k]|, Σ delta[k]², Σ change[k]² in float64, over k = start + lane, + LANES, … below stop.

    Written in LLVM's vectors, so that the sums stay in registers: a plain loop over the lanes loads and stores them at
    every step and takes four times as long.
    """

    def generate(context, builder, signature, arguments):
        delta, change, sums = (
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
                for x in (delta, change)
            )
            d, m = builder.fpext(d, double), builder.fpext(m, double)
            terms = builder.call(absolute, [d]), builder.fmul(d, d), builder.fmul(m, m)
            for total, term in zip(totals, terms, strict=True):
                builder.store(builder.fadd(builder.load(total), term), total)
        for row, total in enumerate(totals):
            place = builder.gep(sums.data, [ir.Constant(start.type, row * LANES)])
            builder.store(builder.load(total), builder.bitcast(place, double.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(delta, change, start, stop, sums), generate


@compiled
def _store(delta, out):
    """Rounded half to even into integers of the width that the bytes `out` leave for each."""
    width = len(out) // len(delta)
    if width == 1:
        _round(delta, -(2.0**7), 2.0**7 - 1, out.view(np.int8))
    elif width == 2:
        _round(delta, -(2.0**15), 2.0**15 - 1, out.view(np.int16))
    elif width == 4:
        _round(delta, -(2.0**31), 2.0**31 - 1, out.view(np.int32))
    else:
        _round(delta, -(2.0**63), 2.0**63, out.view(np.int64))


@compiled
def _round(delta, low, high, out):
    """What no integer type holds becomes `low`."""
    for k in range(len(delta)):
        d = delta[k]
        whole = np.float64(np.rint(d)) if abs(d) < _BEYOND_INT else low
        out[k] = min(max(whole, low), high)


@compiled
def _store_cells(cells, out):
    width = len(out) // len(cells)
    if width == 1:
        _clamp(cells, I(-(2**7)), I(2**7 - 1), out.view(np.int8))
    elif width == 2:
        _clamp(cells, I(-(2**15)), I(2**15 - 1), out.view(np.int16))
    elif width == 4:
        out.view(np.int32)[:] = cells
    else:
        out.view(np.int64)[:] = cells


@compiled
def _clamp(cells, low, high, out):
    for k in range(len(cells)):
        out[k] = min(max(cells[k], low), high)


@compiled
def _store_ulps(before, out):
    """ULP as bfloat16's bits: a power of two has one set bit, or an exponent alone."""
    for k in range(len(before)):
        exponent = _ulp_exponent(I(before[k]))
        out[k] = (exponent - I(7)) << I(7) if exponent > 7 else I(1) << (exponent - I(1))
