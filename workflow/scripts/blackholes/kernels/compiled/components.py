"""Compiled loops of components.py: components and statistics of graphs, for matrices on the CPU."""

import numpy as np

from blackholes.kernels.compiled import compiled


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
        densities[s, 0] = _density(edges, V, 0)
        densities[s, 1] = _density(ends[largest] // 2, size[largest], 1)
    return bad


@compiled
def _density(edges, size, alone):
    """Edges per pair; `alone`: of a single token."""
    return np.float32(edges / (size * (size - 1) / 2)) if size > 1 else np.float32(alone)
