"""Compiled loops of snowball.py, for tensors on the CPU.

Vectors are stored in panels of LANES: float32 (P, D, LANES), so that one dimension of LANES vectors is one load.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from blackholes.kernels.compiled import compiled

LANES = 16
HEIGHT = 8  # rows of maxima that stay in registers
LISTS = 4


@compiled
def round_sums(noise, scale, centroid, out):
    """out uint16 (N, M), bits of bfloat16: centroid + scale · noise in float32, rounded to nearest, ties to even."""
    rounded, bits = np.empty(1, np.float32), np.empty(1, np.uint32)
    for i in range(noise.shape[0]):
        for k in range(noise.shape[1]):
            rounded[0] = centroid[k] + scale * noise[i, k]
            bits[0] = rounded.view(np.uint32)[0]
            out[i, k] = (bits[0] + np.uint32(0x7FFF) + (bits[0] >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)


@compiled
def pack(rows, panels):
    """rows float32 (n, D) → panels. The last panel is padded with the last row."""
    for panel in range(panels.shape[0]):
        for lane in range(LANES):
            row = rows[min(panel * LANES + lane, rows.shape[0] - 1)]
            for k in range(row.shape[0]):
                panels[panel, k, lane] = row[k]


@compiled
def upper_triangle(panels, first, last, out):
    """out[i, j] = max_k |u_ik - u_jk| for j > i, float32 (n, n); entries below the diagonal are undefined.

    Rows of the panels first … last - 1, and of as many from the other end, so that equal ranges are equal work.
    """
    tile = np.empty((HEIGHT, LANES), np.float32)
    end = panels.shape[0] - 1
    for near in range(first, last):
        for far in range(2 if near < end - near else 1):
            left = end - near if far else near
            for right in range(left, panels.shape[0]):
                for half in range(0, LANES, HEIGHT):
                    _largest_differences(panels[left], panels[right], half, tile)
                    top, start = left * LANES + half, right * LANES
                    for i in range(min(HEIGHT, out.shape[0] - top)):
                        for j in range(min(LANES, out.shape[0] - start)):
                            out[top + i, start + j] = tile[i, j]


@compiled
def tally(distances, prefix, shift, counts):
    """counts int64 (LISTS, 2**11) by the 11 bits above the lower `shift`, of the distances j > i of a float32 (n, n)
    whose bits above those are `prefix`. Several lists, since neighbours are often equal, and an addition to a number
    waits for the one before it."""
    for i in range(distances.shape[0]):
        bits = distances[i, i + 1 :].view(np.uint32)
        for j in range(bits.shape[0]):
            upper = bits[j] >> shift
            if upper >> 11 == prefix:
                counts[j % LISTS, upper & 0x7FF] += 1


@compiled
def add_mantissas(distances, sums):
    """sums int64 (LISTS, 256) of the mantissas, hidden bit included, by biased exponent, of the distances j > i, which
    are >= 0. Returns the bits of the largest."""
    largest = np.uint32(0)
    for i in range(distances.shape[0]):
        bits = distances[i, i + 1 :].view(np.uint32)
        for j in range(bits.shape[0]):
            exponent = bits[j] >> 23
            sums[j % LISTS, exponent] += np.int64(bits[j] & 0x7FFFFF) + (0x800000 if exponent else 0)
            largest = max(largest, bits[j])
    return largest


@intrinsic
def _largest_differences(typing_context, left, right, half, tile):
    """tile[q, lane] = max_k |left[k, half + q] - right[k, lane]|.

    Written in LLVM's vectors, so that the maxima stay in registers over all k.
    """

    def generate(context, builder, signature, arguments):
        left, right, tile = (context.make_array(signature.args[a])(context, builder, arguments[a]) for a in (0, 1, 3))
        depth, _ = cgutils.unpack_tuple(builder, left.shape)
        index, lane = arguments[2].type, ir.IntType(32)
        vector = ir.VectorType(ir.FloatType(), LANES)
        spread = ir.Constant(ir.VectorType(lane, LANES), [0] * LANES)
        name = f"llvm.fabs.v{LANES}f32"
        absolute = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)

        def lanes(array, row):
            pointer = builder.gep(array.data, [builder.mul(row, ir.Constant(index, LANES))])
            return builder.bitcast(pointer, vector.as_pointer())

        zeros = ir.Constant(vector, [0.0] * LANES)
        largest = [cgutils.alloca_once_value(builder, zeros) for _ in range(HEIGHT)]
        for maximum in largest:
            builder.store(zeros, maximum)
        with cgutils.for_range(builder, depth, intp=depth.type) as loop:
            v = builder.load(lanes(right, loop.index), align=4)
            start = builder.add(builder.mul(loop.index, ir.Constant(index, LANES)), arguments[2])
            for q, maximum in enumerate(largest):
                u = builder.load(builder.gep(left.data, [builder.add(start, ir.Constant(index, q))]))
                u = builder.insert_element(ir.Constant(vector, ir.Undefined), u, ir.Constant(lane, 0))
                d = builder.call(absolute, [builder.fsub(builder.shuffle_vector(u, u, spread), v)])
                m = builder.load(maximum)
                builder.store(builder.select(builder.fcmp_ordered(">", d, m), d, m), maximum)
        for q, maximum in enumerate(largest):
            builder.store(builder.load(maximum), lanes(tile, ir.Constant(index, q)), align=4)
        return context.get_dummy_value()

    return types.void(left, right, half, tile), generate
