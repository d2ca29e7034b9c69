"""Components and graph statistics of one run, for three adjacencies, and its black holes: notebooks, SciPy, and ours.

python benchmarks/graphs.py [--steps 10001] [--rounds 3]
"""

import argparse

import numpy as np
import torch
from _harness import Rival, compare, walking_tokens
from blackholes.kernels import components, distances, duplicates
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

STEPS_TOGETHER = 100  # in one call of csgraph: the fastest of 20, 100, 500 and 2,000
ADJACENCIES = {"identical": (0.0, True), "touching": (2 * 2**-7, False), "cells": (1, True)}


def edges(matrix, threshold, inclusive):
    return matrix <= threshold if inclusive else matrix < threshold


def union_find(matrix, threshold, inclusive):
    """The notebooks' method: pairs one by one in Python."""
    parent = list(range(len(matrix)))

    def find(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in np.argwhere(np.triu(edges(matrix, threshold, inclusive), 1)).tolist():
        a, b = find(i), find(j)
        if a != b:
            parent[max(a, b)] = min(a, b)
    return [find(i) for i in range(len(parent))]


def csgraph(matrix, threshold, inclusive):
    return connected_components(csr_matrix(edges(matrix, threshold, inclusive)), directed=False)[1]


def block_diagonal(matrices, threshold, inclusive):
    """One call for many steps: their graphs as one, whose blocks are the steps."""
    steps, rows, columns = np.nonzero(edges(matrices, threshold, inclusive))
    V = matrices.shape[-1]
    size = len(matrices) * V
    graph = csr_matrix((np.ones(len(rows), bool), (steps * V + rows, steps * V + columns)), (size, size))
    return connected_components(graph, directed=False)[1].reshape(-1, V)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_001)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    history = walking_tokens(arguments.steps)
    chebyshev, cells = distances.chebyshev_matrices(history), distances.cell_matrices(history)
    matrices = {"identical": chebyshev, "touching": chebyshev, "cells": cells}

    def a_step_at_a_time(method):
        def run(n):
            for name, adjacency in ADJACENCIES.items():
                for matrix in matrices[name][:n].numpy():
                    method(matrix, *adjacency)

        return run

    def together(n):
        for name, adjacency in ADJACENCIES.items():
            for start in range(0, n, STEPS_TOGETHER):
                block_diagonal(matrices[name][start : min(start + STEPS_TOGETHER, n)].numpy(), *adjacency)

    def ours(n):
        return [components.graph_statistics(matrices[name][:n], *edge) for name, edge in ADJACENCIES.items()]

    for (name, edge), statistics in zip(ADJACENCIES.items(), ours(50), strict=True):
        for matrix, label in zip(matrices[name][:50].numpy(), statistics["labels"].tolist(), strict=True):
            assert union_find(matrix, *edge) == label
        blocks = block_diagonal(matrices[name][:50].numpy(), *edge)
        for block, label in zip(blocks, statistics["labels"].numpy(), strict=True):
            assert len(set(zip(block, label, strict=True))) == len(set(label)) == len(set(block))
    assert torch.equal(duplicates.labels(history[:50]), ours(50)[0]["labels"])

    compare(
        f"Components, {' × '.join(map(str, chebyshev.shape))}, adjacencies {', '.join(ADJACENCIES)}",
        [
            Rival("union-find in Python, labels only, one thread", a_step_at_a_time(union_find)),
            Rival("SciPy csgraph, a step at a time, labels only, one thread", a_step_at_a_time(csgraph)),
            Rival("SciPy csgraph, many steps as one graph, labels only, one thread", together),
            Rival("black holes from the vectors, ours", lambda n: duplicates.labels(history[:n])),
            Rival("ours, labels and statistics", ours),
        ],
        n=len(history),
        rounds=arguments.rounds,
    )


if __name__ == "__main__":
    main()
