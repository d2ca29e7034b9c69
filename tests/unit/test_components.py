"""Components and their statistics against networkx, SciPy and a plain union-find."""

from contextlib import nullcontext

import networkx as nx
import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import backends, components, distances
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

BACKENDS = [pytest.param(nullcontext, id="compiled"), pytest.param(backends.torch_only, id="torch")]


def random_graphs(S, V, p, seed):
    return torch.rand(S, V, V, generator=torch.Generator().manual_seed(seed)) < p


def union_find(matrix) -> list[int]:
    """As the notebooks did it: pairs one by one, then the smallest member of every set."""
    parent = list(range(len(matrix)))

    def find(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i, row in enumerate(matrix):
        for j, edge in enumerate(row):
            if edge:
                parent[find(j)] = find(i)
    roots = [find(i) for i in range(len(parent))]
    return [roots.index(root) for root in roots]


def by_networkx(distances, threshold, inclusive):
    """Statistics of one step, the slow obvious way."""
    V = len(distances)
    graph = nx.Graph()
    graph.add_nodes_from(range(V))
    edge = (lambda d: d <= threshold) if inclusive else (lambda d: d < threshold)
    graph.add_edges_from((i, j) for i in range(V) for j in range(i + 1, V) if edge(distances[i][j]))
    groups = sorted((sorted(group) for group in nx.connected_components(graph)), key=lambda g: (-len(g), g[0]))
    label = {token: group[0] for group in groups for token in group}
    return {
        "labels": [label[token] for token in range(V)],
        "n_components": len(groups),
        "largest_component_size": len(groups[0]),
        "n_isolated": nx.number_of_isolates(graph),
        "n_edges": graph.number_of_edges(),
        "global_density": np.float32(nx.density(graph)),
        "largest_component_density": np.float32(nx.density(graph.subgraph(groups[0])) if len(groups[0]) > 1 else 1),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40)
@given(st.integers(1, 4), st.sampled_from([1, 2, 3, 17, 40, 129]), st.floats(0, 0.2), st.integers(0, 2**32))
def test_labels(backend, S, V, p, seed):
    adjacency = random_graphs(S, V, p, seed)
    with backend():
        found = components.labels(adjacency)
    for step, label in zip(adjacency, found, strict=True):
        assert label.tolist() == union_find(step.tolist())
        count, group = connected_components(step.numpy(), directed=True, connection="weak")
        assert len(set(label.tolist())) == count
        assert len(set(zip(label.tolist(), group.tolist(), strict=True))) == count


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_long_paths(backend, order):
    """The worst case for labels that spread from neighbour to neighbour."""
    V = 500
    path = {"ascending": torch.arange(V), "descending": torch.arange(V).flip(0), "shuffled": torch.randperm(V)}[order]
    adjacency = torch.zeros(2, V, V, dtype=torch.bool)
    adjacency[0, path[:-1], path[1:]] = True
    with backend():
        found = components.labels(adjacency)
        assert found[0].tolist() == [0] * V
        assert found[1].tolist() == list(range(V))
        assert components.labels(adjacency[0]).tolist() == [0] * V


@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_do_not_depend_on_chunk_or_stride(backend):
    adjacency = random_graphs(11, 37, 0.02, 5)
    whole = components.labels(adjacency)
    with backend():
        assert torch.equal(torch.cat([components.labels(adjacency[i : i + 3]) for i in range(0, 11, 3)]), whole)
        assert torch.equal(components.labels(adjacency.mT), whole)
        assert components.labels(adjacency[:0]).shape == (0, 37)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40)
@given(
    st.sampled_from([1, 2, 3, 17, 40]),
    st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.5, 1.0]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.int32]),
    st.integers(0, 2**32),
)
def test_graph_statistics(backend, V, scale, inclusive, dtype, seed):
    # few distinct values, so that many distances lie exactly on the threshold; the lower triangle is not read
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 20, (3, V, V), generator=generator).to(dtype)
    threshold = int(20 * scale)
    with backend():
        found = components.graph_statistics(values, threshold, inclusive)
    for s in range(3):
        for name, expected in by_networkx(values[s].tolist(), threshold, inclusive).items():
            assert found[name][s].tolist() == expected, name


def test_both_backends_agree_on_a_history():
    generator = torch.Generator().manual_seed(6)
    history = (torch.randn(40, 64, 3, generator=generator) * 0.05).bfloat16()
    history[:, ::2] = history[:, :1]
    chebyshev, cells = distances.chebyshev_matrices(history), distances.cell_matrices(history)
    for matrices, threshold, inclusive in [(chebyshev, 0.0, True), (chebyshev, 2 * 2**-7, False), (cells, 1, True)]:
        one = components.graph_statistics(matrices, threshold, inclusive)
        parts = [components.graph_statistics(matrices[i : i + 7], threshold, inclusive) for i in range(0, 40, 7)]
        with backends.torch_only():
            other = components.graph_statistics(matrices, threshold, inclusive)
        for name, values in one.items():
            assert values.dtype == other[name].dtype
            assert torch.equal(values, other[name]), name
            assert torch.equal(values, torch.cat([part[name] for part in parts])), name


def test_on_a_tie_the_largest_component_has_the_smallest_label():
    matrix = torch.ones(1, 7, 7)
    for i, j in [(1, 3), (3, 5), (2, 4), (4, 6), (2, 6)]:  # a path 1-3-5 and a triangle 2-4-6
        matrix[0, i, j] = 0
    for backend in (nullcontext, backends.torch_only):
        with backend():
            found = components.graph_statistics(matrix, 0.5)
        assert found["labels"].tolist() == [[0, 1, 2, 1, 2, 1, 2]]
        assert found["largest_component_size"].tolist() == [3]
        assert found["largest_component_density"].tolist() == [np.float32(2 / 3)]
        assert found["global_density"].tolist() == [np.float32(5 / 21)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_operators_at_the_threshold(backend):
    """0.1 in float32 is larger than 0.1: the threshold has to be rounded as the distances are."""
    pair = torch.tensor([[[0.0, 0.1], [0.1, 0.0]]])
    with backend():
        for threshold, inclusive, edges in [(0.1, True, 1), (0.1, False, 0), (0.11, False, 1), (0.0, True, 0)]:
            assert components.graph_statistics(pair, threshold, inclusive)["n_edges"].tolist() == [edges]
        assert components.graph_statistics(pair * 0, 0.0, True)["n_edges"].tolist() == [1]
        assert components.graph_statistics(pair * 0, 0.0, False)["n_edges"].tolist() == [0]
        assert components.graph_statistics(pair / 0, float("inf"), True)["n_edges"].tolist() == [1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [float("nan"), -1.0])
def test_bad_distances_are_named(backend, value):
    matrices = torch.zeros(3, 5, 5)
    matrices[1, 2, 4] = value
    with backend(), pytest.raises(UserError, match=rf"^distance {value} at step 11 between tokens 2 and 4"):
        components.graph_statistics(matrices, 1.0, first_step=10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: components.labels(torch.zeros(2, 3, 3)), "adjacency is torch.float32"),
        (lambda: components.labels(torch.zeros(2, 3, 4, dtype=torch.bool)), r"shape \(2, 3, 4\)"),
        (lambda: components.labels(torch.zeros(2, 0, 0, dtype=torch.bool)), r"shape \(2, 0, 0\)"),
        (lambda: components.labels(torch.zeros(3, dtype=torch.bool)), r"where \(S, V, V\) is expected"),
        (lambda: components.graph_statistics(torch.zeros(2, 3, 3).double(), 1.0), "distances are torch.float64"),
        (lambda: components.graph_statistics(torch.zeros(3, 3), 1.0), r"where \(S, V, V\) is expected"),
        (lambda: components.graph_statistics(torch.zeros(1, 3, 3), float("nan")), "threshold is nan"),
        (lambda: components.graph_statistics(torch.zeros(1, 3, 3).int(), 1.5), "threshold is 1.5, where a whole"),
    ],
)
def test_bad_input(call, message, bad_input):
    with pytest.raises(UserError, match=message):
        call()
