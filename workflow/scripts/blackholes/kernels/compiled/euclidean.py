"""Compiled loops of euclidean.py: exact Euclidean distances, for vectors on the CPU.

The squared differences of a pair are summed in one fixed order: dimension by dimension in float32 within CHUNK
dimensions, chunk by chunk in float64. So the bits do not depend on the tile, the block or the thread.
"""

import numpy as np
from numba import njit, types
from numba.extending import overload

from blackholes.kernels.compiled import compiled

CHUNK = 64  # dimensions; the longest sum in float32
TILE = 128  # rows and columns of a tile, even: its sums and a chunk of its vectors fit a core's cache
DIMENSIONS = 4  # taken at once; divides CHUNK
# A smaller squared distance of scaled vectors may have lost squares to underflow; it is computed again in float64.
SMALL = 2.0**-80

# With "contract", a multiplication and the addition that follows are one instruction, rounded once.
fused = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


def value(stored):
    """A stored number as float32: bfloat16 comes in as its bits, int16."""


@overload(value, inline="always")
def _value(stored):
    if stored == types.int16:
        return lambda stored: np.uint32(np.uint32(np.uint16(stored)) << np.uint32(16)).view(np.float32)
    return lambda stored: stored


def packed_shape(N, D):
    """Of `packed`: a row of (D, TILE) numbers for each tile, D rounded up to a multiple of DIMENSIONS."""
    return -(-N // TILE), -(-D // DIMENSIONS) * DIMENSIONS * TILE


@compiled
def pack(vectors, factor, first, last, packed):
    """Tiles first … last − 1 of vectors (N, D), times `factor`, to `packed`, padded with zeros."""
    (N, D), depth = vectors.shape, packed.shape[1] // TILE
    for tile in range(first, last):
        for start in range(0, depth, CHUNK):
            for lane in range(TILE):
                i = tile * TILE + lane
                for k in range(start, min(start + CHUNK, depth)):
                    scaled = np.float64(value(vectors[i, k])) * factor if i < N and k < D else 0.0
                    packed[tile, k * TILE + lane] = np.float32(scaled)


@compiled
def distances(vectors, packed, labels, factor, start, stop, first, last, once, base, out):
    """Rows start … stop − 1 of the matrix, columns of the tiles first … last − 1, to out[row − base].

    vectors (N, D) and `packed`, the same times `factor`; labels (N,), equal where vectors are; out (…, N).
    `once`: pairs left of the diagonal are skipped, and the mirror image, out[column − base], is written instead.
    """
    N = vectors.shape[0]
    back = 1 / factor  # exact: a power of two
    sums, partial = np.empty((TILE, TILE)), np.empty(2 * TILE, np.float32)
    block = np.empty((TILE, TILE), np.float32)
    for tile in range(first, last):
        left = tile * TILE
        width = min(TILE, N - left)
        for top in range(start // 2 * 2, stop, TILE):
            if once and left + TILE <= top:
                continue
            height = min(TILE, stop - top)
            _sums(packed, top, height, packed[tile], partial, sums)
            for r in range(max(0, start - top), height):
                i, row, small = top + r, block[r], False
                for c in range(width):
                    small |= sums[r, c] < SMALL
                    row[c] = np.sqrt(sums[r, c]) * back
                if small:
                    for c in range(width):
                        if sums[r, c] < SMALL:
                            equal = labels[i] == labels[left + c]
                            row[c] = 0.0 if equal else _distance(vectors[i], vectors[left + c])
                out[i - base, left : left + width] = row[:width]
            if once:
                for j in range(max(left, start), left + width):
                    for r in range(max(0, start - top), min(height, j - top)):
                        out[j - base, top + r] = block[r, j - left]


@compiled
def _sums(packed, top, height, columns, partial, sums):
    """sums[r, c] = Σ_k (u_k - v_k)² for u in row top + r and v in column c of the tile `columns`."""
    sums[:] = 0
    for start in range(0, columns.shape[0], CHUNK * TILE):
        stop = min(start + CHUNK * TILE, columns.shape[0])
        for r in range(0, height, 2):
            tile, lane = divmod(top + r, TILE)
            _add_two_rows(packed[tile, start:stop], lane, columns[start:stop], partial, sums[r], sums[r + 1])


@fused
def _add_two_rows(rows, lane, columns, partial, first, second):
    """first[c] += Σ_k (rows[k * TILE + lane] - columns[k * TILE + c])², and second[c] the same of lane + 1.

    LLVM vectorises the loops over c. Two rows and four dimensions at once, so that eight differences share the loads
    and stores; a row's squares are still added one after the other. `block` is flat and indexed from 0: with two axes
    LLVM checks whether lines overlap (1.5 times the time), with an offset it does not vectorise (10 times).
    """
    partial[:] = np.float32(0)
    for k in range(0, columns.shape[0], DIMENSIONS * TILE):
        i, block = k + lane, columns[k : k + DIMENSIONS * TILE]
        x0, x1, x2, x3 = rows[i], rows[i + TILE], rows[i + 2 * TILE], rows[i + 3 * TILE]
        y0, y1, y2, y3 = rows[i + 1], rows[i + TILE + 1], rows[i + 2 * TILE + 1], rows[i + 3 * TILE + 1]
        for c in range(TILE):
            v0, v1, v2, v3 = block[c], block[TILE + c], block[2 * TILE + c], block[3 * TILE + c]
            p, q, r, s = x0 - v0, x1 - v1, x2 - v2, x3 - v3
            partial[c] = partial[c] + p * p + q * q + r * r + s * s
            p, q, r, s = y0 - v0, y1 - v1, y2 - v2, y3 - v3
            partial[TILE + c] = partial[TILE + c] + p * p + q * q + r * r + s * s
    for c in range(TILE):
        first[c] += np.float64(partial[c])
        second[c] += np.float64(partial[TILE + c])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _distance(u, v):
    total = 0.0
    for k in range(u.shape[0]):
        difference = np.float64(value(u[k])) - np.float64(value(v[k]))
        total += difference * difference
    return np.sqrt(total)
