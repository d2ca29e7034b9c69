"""Compiled loops of neighbours.py: graphs of many tokens without their distance matrix, for vectors on the CPU.

Unique vectors are sorted by the coordinate of largest variance, and only those within the limit there are compared: one
against a block of others, coordinate by coordinate, until none of the block is near. Results are exact.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from blackholes.kernels.compiled import compiled

LANES = 64  # vectors of a block
WIDTH = 16  # vectors of a register
DEPTH = 8  # coordinates between checks whether any vector of the block is still near

F = np.float32


@compiled
def _value(bits, cells):
    """A bfloat16 as float32, or its ordinal, which float32 holds exactly."""
    if cells:
        magnitude = F(bits & np.int16(0x7FFF))
        return -magnitude if bits < 0 else magnitude
    return np.uint32(np.uint32(np.uint16(bits)) << np.uint32(16)).view(np.float32)


@compiled
def _largest_differences(block, row, limit, largest):
    """largest[l] = max_k |block[k, l] − row[k]|, or less if all exceed the limit; returns whether one does not."""
    largest[:] = F(0)
    near, top = True, 0
    while near and top < block.shape[0]:
        near = _deeper(block, row, top, limit, largest)
        top += DEPTH
    return near


@intrinsic
def _deeper(typing_context, block, row, top, limit, largest):
    """largest[l] = max(largest[l], |block[k, l] − row[k]|) for DEPTH k from `top`; returns whether one is <= limit.

    Written in LLVM's vectors: a plain loop over the lanes is not vectorised here.
    """

    def generate(context, builder, signature, arguments):
        block, row, largest = (context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 1, 4))
        top, limit = arguments[2], arguments[3]
        vector, lane = ir.VectorType(ir.FloatType(), WIDTH), ir.IntType(32)
        first_lane = ir.Constant(ir.VectorType(lane, WIDTH), [0] * WIDTH)
        absolute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.fabs.v{WIDTH}f32"
        )

        def place(array, offset):
            return builder.bitcast(builder.gep(array.data, [offset]), vector.as_pointer())

        def everywhere(value):
            value = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(lane, 0))
            return builder.shuffle_vector(value, value, first_lane)

        def number(n):
            return ir.Constant(top.type, n)

        places = [place(largest, number(start)) for start in range(0, LANES, WIDTH)]
        maxima = [builder.load(pointer, align=4) for pointer in places]
        for k in range(DEPTH):
            k = builder.add(top, number(k))
            value = everywhere(builder.load(builder.gep(row.data, [k])))
            line = builder.mul(k, number(LANES))
            for i, m in enumerate(maxima):
                v = builder.load(place(block, builder.add(line, number(i * WIDTH))), align=4)
                d = builder.call(absolute, [builder.fsub(v, value)])
                maxima[i] = builder.select(builder.fcmp_ordered(">", d, m), d, m)
        limit, near = everywhere(limit), None
        for pointer, m in zip(places, maxima, strict=True):
            builder.store(m, pointer, align=4)
            hit = builder.fcmp_ordered("<=", m, limit)
            near = hit if near is None else builder.or_(near, hit)
        bits = builder.bitcast(near, ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(block, row, top, limit, largest), generate


@compiled
def graph_statistics(history, first, cells, limit, labels, counts, densities):
    """history int16 (S, V, D), the bits of bfloat16, finite; first int64 (S, V): smallest index of an equal row.

    An edge is a Chebyshev distance <= limit, in cells if `cells`. Results as of components.graph_statistics:
    labels int64 (S, V); counts int64 (S, 4): components, size of the largest, isolated, edges;
    densities float32 (S, 2): of the graph, of its largest component.
    """
    V, D = history.shape[1:]
    depth, n_blocks = (D + DEPTH - 1) // DEPTH * DEPTH, (V + LANES - 1) // LANES
    blocks, rows = np.empty((n_blocks, depth, LANES), F), np.zeros((V, depth), F)
    largest = np.empty(LANES, F)
    owner, place = np.empty(V, np.int64), np.empty(V, np.int64)  # first token of a unique vector, and the inverse
    number, weight = np.empty(V, np.int64), np.zeros(n_blocks * LANES, np.int64)  # of tokens that have a vector
    parent, ends = np.empty(n_blocks * LANES, np.int64), np.empty(V, np.int64)
    smallest, size, edges = np.empty(V, np.int64), np.empty(V, np.int64), np.empty(V, np.int64)
    for s in range(history.shape[0]):
        n = 0
        number[:] = 0
        for i in range(V):
            number[first[s, i]] += 1
            if first[s, i] == i:
                owner[n] = i
                n += 1
        _lay_out(history[s], owner[:n], cells, blocks, rows)
        parent[:] = np.arange(parent.size)
        weight[:] = 0
        for p in range(n):
            place[owner[p]] = p
            weight[p] = number[owner[p]]
            ends[p] = 0
        if limit > 0:
            _find_edges(blocks, rows, n, limit, weight, parent, ends, largest)
        _flatten(parent)

        smallest[:], size[:], edges[:] = V, 0, 0
        total = 0
        for p in range(n):
            root, within = parent[p], ends[p]
            if limit >= 0:
                within += weight[p] * (weight[p] - 1) // 2
            smallest[root] = min(smallest[root], owner[p])
            size[root] += weight[p]
            edges[root] += within
            total += within
        components = isolated = 0
        best = -1
        for p in range(n):
            if size[p]:
                components += 1
                isolated += size[p] == 1
                if best < 0 or size[p] > size[best] or (size[p] == size[best] and smallest[p] < smallest[best]):
                    best = p
        for i in range(V):
            labels[s, i] = smallest[parent[place[first[s, i]]]]
        counts[s, 0], counts[s, 1], counts[s, 2], counts[s, 3] = components, size[best], isolated, total
        densities[s, 0] = _density(total, V, 0)
        densities[s, 1] = _density(edges[best], size[best], 1)


@compiled
def _lay_out(step, owner, cells, blocks, rows):
    """Sort `owner` by the coordinate of largest variance; copy its vectors to rows and, transposed, to blocks."""
    n, D = owner.size, step.shape[1]
    spread = np.zeros(D)
    for k in range(D):
        total, square = 0.0, 0.0
        for p in range(n):
            value = np.float64(_value(step[owner[p], k], cells))
            total += value
            square += value * value
        spread[k] = square - total * total / n
    order = np.argsort(-spread)  # so that few coordinates separate most pairs
    keys = np.empty(n, F)
    for p in range(n):
        keys[p] = _value(step[owner[p], order[0]], cells)
    owner[:] = owner[np.argsort(keys, kind="mergesort")]
    for p in range(n):
        for k in range(D):
            rows[p, k] = _value(step[owner[p], order[k]], cells)
    for b in range((n + LANES - 1) // LANES):
        block = blocks[b]
        block[:D], block[D:] = F(np.inf), F(0)
        for lane in range(min(LANES, n - b * LANES)):
            for k in range(D):
                block[k, lane] = rows[b * LANES + lane, k]


@compiled
def _find_edges(blocks, rows, n, limit, weight, parent, ends, largest):
    """Join near vectors; ends[p] += the number of edges from the tokens of vector p to those of later ones."""
    begin = 0
    for start in range(0, n, LANES):
        while rows[start, 0] - rows[begin, 0] > limit:
            begin += 1
        for p in range(begin, min(n, start + LANES)):
            if not _largest_differences(blocks[start // LANES], rows[p], limit, largest):
                continue
            hits, apart, own = np.int64(0), np.int64(0), parent[p]
            for lane in range(max(0, p + 1 - start), LANES):
                hit = np.int64(largest[lane] <= limit)
                hits += hit * weight[start + lane]
                apart += hit * np.int64(parent[start + lane] != own)
            ends[p] += hits * weight[p]
            if apart:
                for lane in range(max(0, p + 1 - start), LANES):
                    if largest[lane] <= limit:
                        _join(parent, p, start + lane)


# As in components.py; files here share no compiled code (see __init__.py).


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
def _density(edges, size, alone):
    """Edges per pair; `alone`: of a single token."""
    return np.float32(edges / (size * (size - 1) / 2)) if size > 1 else np.float32(alone)
