"""Compiled loops behind `euclidean`, for vectors on the CPU. Arrays come in as numpy views, checked.

A pair's squared differences are added in one fixed order, k by k in float32 for CHUNK dimensions, chunk by chunk in
float64. So its bits depend on nothing else: not on the tile, the block or the thread that it falls to.
"""

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

LANES = 16
# as many vectors of sums as fit the registers: HEIGHT rows of WIDTH columns
HEIGHT, VECTORS = 4, 4 if binding.get_host_cpu_features().get("avx512f") else 1
WIDTH = VECTORS * LANES
CHUNK = 64  # dimensions; the longest sum in float32
TILE = 128  # rows and columns of a tile, a multiple of WIDTH: its sums and a chunk of its vectors fit a core's cache
# A smaller squared distance of scaled vectors may have lost squares to underflow; it is computed again in float64.
SMALL = 2.0**-80

compiled = njit(cache=True, nogil=True, error_model="numpy")


def value(stored):
    """A stored number as float32: bfloat16 comes in as its bits, int16."""


@overload(value, inline="always")
def _value(stored):
    if stored == types.int16:
        return lambda stored: np.uint32(np.uint32(np.uint16(stored)) << np.uint32(16)).view(np.float32)
    return lambda stored: stored


def packed_length(N, D):
    return -(-N // TILE) * TILE * D


@compiled
def pack(vectors, factor, first, last, packed):
    """Tiles first … last − 1 of vectors (N, D), times `factor`, to packed [panel of WIDTH rows, D, WIDTH], flat."""
    N, D = vectors.shape
    for panel in range(first * TILE // WIDTH, last * TILE // WIDTH):
        for start in range(0, D, CHUNK):
            for lane in range(WIDTH):
                i = panel * WIDTH + lane
                for k in range(start, min(start + CHUNK, D)):
                    scaled = np.float64(value(vectors[i, k])) * factor if i < N else 0.0
                    packed[(panel * D + k) * WIDTH + lane] = np.float32(scaled)


@compiled
def distances(vectors, packed, labels, factor, start, stop, first, last, once, base, out):
    """Rows start … stop − 1 of the matrix, columns of the tiles first … last − 1, to out[row − base].

    vectors (N, D) and `packed`, the same times `factor`; labels (N,), equal where vectors are; out (…, N).
    `once`: pairs left of the diagonal are left out where the mirror image, out[column − base], is written instead.
    """
    N, D = vectors.shape
    back = 1 / factor  # exact: a power of two
    sums, tile = np.empty(TILE * TILE), np.empty((TILE, TILE), np.float32)
    for left in range(first * TILE, last * TILE, TILE):
        width = min(TILE, N - left)
        for top in range(start // HEIGHT * HEIGHT, stop, TILE):
            if once and left + TILE <= top:
                continue
            height = min(TILE, stop - top)
            _sums(packed, D, top, height, left, sums)
            for r in range(max(0, start - top), height):
                i, row, small = top + r, tile[r], False
                for c in range(width):
                    small |= sums[r * TILE + c] < SMALL
                    row[c] = np.sqrt(sums[r * TILE + c]) * back
                if small:
                    for c in range(width):
                        if sums[r * TILE + c] < SMALL:
                            equal = labels[i] == labels[left + c]
                            row[c] = 0.0 if equal else _distance(vectors[i], vectors[left + c])
                out[i - base, left : left + width] = row[:width]
            if once:
                for j in range(max(left, start), left + width):
                    for r in range(max(0, start - top), min(height, j - top)):
                        out[j - base, top + r] = tile[r, j - left]


@compiled
def _sums(packed, D, top, height, left, sums):
    """sums[r * TILE + c] = Σ_k (u_k - v_k)² for u in row top + r, v in row left + c."""
    sums[:] = 0
    for start in range(0, D, CHUNK):
        depth = min(CHUNK, D - start)
        for c in range(0, TILE, WIDTH):
            column = ((left + c) // WIDTH * D + start) * WIDTH
            for r in range(0, height, HEIGHT):
                i = top + r
                _add_squares(packed, (i // WIDTH * D + start) * WIDTH + i % WIDTH, column, depth, sums, r * TILE + c)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _distance(u, v):
    total = 0.0
    for k in range(u.shape[0]):
        difference = np.float64(value(u[k])) - np.float64(value(v[k]))
        total += difference * difference
    return np.sqrt(total)


@intrinsic
def _add_squares(typing_context, packed, row, column, depth, sums, place):
    """sums[place + q * TILE + lane] += Σ (packed[row + k * WIDTH + q] - packed[column + k * WIDTH + lane])².

    For HEIGHT q, WIDTH lanes and `depth` k. Written in LLVM's vectors, which fit any CPU, for the sums to stay in
    registers over all k. Difference and fused square go to different units of the core, so where the processor has
    units for both they cost hardly more than a matrix product's one instruction.
    """

    def generate(context, builder, signature, arguments):
        packed, sums = (
            context.make_array(signature.args[n])(context, builder, arguments[n]).data  # flat and contiguous
            for n in (0, 4)
        )
        row, column, depth, place = (arguments[n] for n in (1, 2, 3, 5))
        single, double = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.DoubleType(), LANES)
        lane, zeros = ir.IntType(32), ir.Constant(single, [0.0] * LANES)
        first_lane = ir.Constant(ir.VectorType(lane, LANES), [0] * LANES)
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(single, [single] * 3), f"llvm.fmuladd.v{LANES}f32"
        )

        def pointer(data, index, offset, kind):
            index = builder.add(index, ir.Constant(index.type, offset))
            return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())

        partial = [[cgutils.alloca_once_value(builder, zeros) for _ in range(VECTORS)] for _ in range(HEIGHT)]
        for vectors in partial:
            for vector in vectors:
                builder.store(zeros, vector)
        with cgutils.for_range(builder, depth, intp=depth.type) as loop:
            k = builder.mul(loop.index, ir.Constant(depth.type, WIDTH))
            u, v = builder.add(row, k), builder.add(column, k)
            columns = [builder.load(pointer(packed, v, n * LANES, single), align=4) for n in range(VECTORS)]
            for q, vectors in enumerate(partial):
                x = builder.load(pointer(packed, u, q, ir.FloatType()))
                x = builder.insert_element(ir.Constant(single, ir.Undefined), x, ir.Constant(lane, 0))
                x = builder.shuffle_vector(x, x, first_lane)
                for y, vector in zip(columns, vectors, strict=True):
                    d = builder.fsub(x, y)
                    builder.store(builder.call(multiply_add, [d, d, builder.load(vector)]), vector)
        for q, vectors in enumerate(partial):
            for n, vector in enumerate(vectors):
                total = pointer(sums, place, q * TILE + n * LANES, double)
                wide = builder.fpext(builder.load(vector), double)
                builder.store(builder.fadd(builder.load(total, align=8), wide), total, align=8)
        return context.get_dummy_value()

    return types.void(packed, row, column, depth, sums, place), generate
