"""Compiled loops behind the public kernels, for tensors on the CPU. Arrays come in as numpy views, checked.

They release the GIL and know no threads: callers split the steps. No fast-math: every result has to be equal to
the torch formula's to the bit. `cache=True` keeps the machine code beside this file (or in numba's own cache
directory where that is read-only), so a process compiles only what no process before it has.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

BLOCK = 16  # rows at a time, and lanes: a column of the mirrored half is then one 64-byte line
HEIGHT = 8  # of BLOCK rows: as many vectors of maxima as fit the registers
EXPONENT, INFINITE = np.int16(0x7F80), np.int16(0x7F80)

compiled = njit(cache=True, nogil=True)


def contiguous(array):
    """float16 becomes float32 here: numpy converts without torch's threads."""
    return np.ascontiguousarray(array, np.float32 if array.dtype == np.float16 else array.dtype)


# ---- distances ----------------------------------------------------------------------------------------------------


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
                bad |= (bits & EXPONENT) == INFINITE
                words[k, i] = np.uint32(np.uint16(bits)) << np.uint32(16)
        _largest_differences(tile, rows, out[s])
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
        _largest_differences(tile, rows, out[s])
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
                bad |= (bits & EXPONENT) == INFINITE
                magnitude = np.float32(bits & np.int16(0x7FFF))  # ordinals and their differences are exact in float32
                tile[k, i] = -magnitude if bits < 0 else magnitude
        _largest_differences(tile, rows, out[s])
    return bad


@compiled
def _scratch(V, D):
    """One step's values, transposed and padded with zeros, and the results of BLOCK rows."""
    width = (V + BLOCK - 1) // BLOCK * BLOCK
    return np.zeros((D, width), np.float32), np.empty((BLOCK, width), np.float32)


@compiled
def _largest_differences(tile, rows, out):
    """out[i, j] = max_k |tile[k, i] - tile[k, j]|: the half j >= i, block by block, mirrored while it is in cache."""
    V, width = out.shape[0], tile.shape[1]
    for top in range(0, V, BLOCK):
        height = min(BLOCK, V - top)
        for i in range(0, height, HEIGHT):
            for j in range(top, width, BLOCK):
                _largest_in_block(tile, rows, top + i, j, i)
        for i in range(height):
            for j in range(top, V):
                out[top + i, j] = rows[i, j]
        for j in range(top + height, V):
            for i in range(height):
                out[j, top + i] = rows[i, j]


@intrinsic
def _largest_in_block(typing_context, tile, rows, i, j, r):
    """rows[r + q, j + lane] = max_k |tile[k, i + q] - tile[k, j + lane]| for HEIGHT q and BLOCK lanes.

    Written in LLVM's vectors, which fit any CPU, for the maxima to stay in registers over all k: a plain loop over j
    loads and stores them for every few dimensions, and takes twice as long.
    """

    def generate(context, builder, signature, arguments):
        tile, rows = (
            context.make_array(kind)(context, builder, argument)
            for kind, argument in zip(signature.args[:2], arguments[:2], strict=True)
        )
        i, j, r = arguments[2:]
        depth, width = cgutils.unpack_tuple(builder, tile.shape)
        vector, lane = ir.VectorType(ir.FloatType(), BLOCK), ir.IntType(32)
        first_lane = ir.Constant(ir.VectorType(lane, BLOCK), [0] * BLOCK)
        absolute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.fabs.v{BLOCK}f32"
        )

        def element(array, row, column):
            return builder.gep(array.data, [builder.add(builder.mul(row, width), column)])

        def lanes(pointer):
            return builder.bitcast(pointer, vector.as_pointer())

        def offset(index, q):
            return builder.add(index, ir.Constant(index.type, q))

        zeros = ir.Constant(vector, [0.0] * BLOCK)
        largest = [cgutils.alloca_once_value(builder, zeros) for _ in range(HEIGHT)]
        for maximum in largest:
            builder.store(zeros, maximum)
        with cgutils.for_range(builder, depth, intp=depth.type) as loop:
            v = builder.load(lanes(element(tile, loop.index, j)), align=4)
            for q, maximum in enumerate(largest):
                u = builder.load(element(tile, loop.index, offset(i, q)))
                u = builder.insert_element(ir.Constant(vector, ir.Undefined), u, ir.Constant(lane, 0))
                d = builder.call(absolute, [builder.fsub(builder.shuffle_vector(u, u, first_lane), v)])
                m = builder.load(maximum)
                builder.store(builder.select(builder.fcmp_ordered(">", d, m), d, m), maximum)
        for q, maximum in enumerate(largest):
            builder.store(builder.load(maximum), lanes(element(rows, offset(r, q), j)), align=4)
        return context.get_dummy_value()

    return types.void(tile, rows, i, j, r), generate


# ---- components ---------------------------------------------------------------------------------------------------


@compiled
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def _join(parent, i, j):
    """The smaller root becomes the parent, so a root is always its tree's smallest member."""
    i, j = _root(parent, i), _root(parent, j)
    if i < j:
        parent[j] = i
    else:
        parent[i] = j


@compiled
def _flatten(parent):
    for i in range(parent.shape[0]):
        parent[i] = parent[parent[i]]  # parents are smaller, so they are flat already


@compiled
def component_labels(adjacency, labels):
    """adjacency bool (S, V, V), an edge where either half has one; labels int64 (S, V)."""
    V = labels.shape[1]
    for s in range(labels.shape[0]):
        parent = labels[s]
        parent[:] = np.arange(V)
        for i in range(V):
            for j in range(V):
                if adjacency[s, i, j] and parent[i] != parent[j]:
                    _join(parent, i, j)
        _flatten(parent)


@compiled
def graph_statistics(distances, limit, labels, counts, densities):
    """distances (S, V, V), upper triangle; an edge is a distance <= limit. True if a distance is NaN or negative.

    labels int64 (S, V); counts int64 (S, 4): components, size of the largest, isolated, edges;
    densities float32 (S, 2): of the graph, of its largest component.
    """
    V = labels.shape[1]
    degree, size, ends = np.empty(V, np.int32), np.empty(V, np.int64), np.empty(V, np.int64)
    bad = False
    for s in range(labels.shape[0]):
        parent = labels[s]
        parent[:] = np.arange(V)
        degree[:] = 0
        for i in range(V):
            row, others = distances[s, i, i + 1 :], degree[i + 1 :]
            hits = np.int32(0)
            for j in range(row.shape[0]):  # counted first, in vector instructions: most rows of most steps have none
                hit = np.int32(row[j] <= limit)
                hits += hit
                others[j] += hit
                bad |= not row[j] >= 0
            degree[i] += hits
            if hits:
                for j in range(row.shape[0]):
                    if row[j] <= limit and parent[i] != parent[i + 1 + j]:
                        _join(parent, i, i + 1 + j)
        _flatten(parent)

        size[:], ends[:] = 0, 0
        for i in range(V):
            size[parent[i]] += 1
            ends[parent[i]] += degree[i]
        components = isolated = edges = largest = 0
        for i in range(V):
            components += size[i] > 0
            isolated += size[i] == 1
            edges += ends[i]
            if size[i] > size[largest]:
                largest = i
        edges //= 2
        counts[s, 0], counts[s, 1], counts[s, 2], counts[s, 3] = components, size[largest], isolated, edges
        densities[s, 0] = _density(edges, V)
        densities[s, 1] = _density(ends[largest] // 2, size[largest])
    return bad


@compiled
def _density(edges, size):
    return np.float32(edges / (size * (size - 1) / 2)) if size > 1 else np.float32(0)


# ---- duplicates ---------------------------------------------------------------------------------------------------


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
