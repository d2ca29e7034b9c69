"""Graphs of a run against networkx."""

import networkx as nx
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors
from blackholes.kernels import bf16
from helpers import ADJACENCY, random_history, run_statistics, write_history

INTEGERS = ("n_components", "largest_component_size", "n_isolated", "n_edges")
DENSITIES = ("global_density", "largest_component_density")
MORE = {  # both operators, at a threshold that distances meet
    "at": {"measure": "chebyshev", "operator": "<=", "threshold": 2**-6},
    "below": {"measure": "chebyshev", "operator": "<", "threshold": 2**-6},
    "two cells": {"measure": "cells", "operator": "<=", "threshold": 2},
    "under two cells": {"measure": "cells", "operator": "<", "threshold": 2},
}


def apart(u, v, measure):
    """Chebyshev distance of two vectors, in values or in lattice steps, from the definition."""
    if measure == "cells":
        return max(abs(a - b) for a, b in zip(bf16.ordinal(u).tolist(), bf16.ordinal(v).tolist(), strict=True))
    return max(abs(a - b) for a, b in zip(u.tolist(), v.tolist(), strict=True))


def by_networkx(snapshot, measure, operator, threshold):
    graph = nx.Graph()
    graph.add_nodes_from(range(len(snapshot)))
    for i in range(len(snapshot)):
        for j in range(i):
            distance = apart(snapshot[i], snapshot[j], measure)
            if distance < threshold or (operator == "<=" and distance == threshold):
                graph.add_edge(i, j)
    components = sorted(nx.connected_components(graph), key=lambda tokens: (-len(tokens), min(tokens)))
    largest = graph.subgraph(components[0])
    return {
        "labels": [min(nx.node_connected_component(graph, token)) for token in range(len(snapshot))],
        "n_components": len(components),
        "largest_component_size": len(largest),
        "n_isolated": nx.number_of_isolates(graph),
        "n_edges": graph.number_of_edges(),
        "global_density": nx.density(graph),
        "largest_component_density": nx.density(largest) if len(largest) > 1 else 1,
    }


def test_against_networkx(tmp_path):
    adjacency, history = ADJACENCY | MORE, random_history(25)
    files = run_statistics(write_history(tmp_path / "h", history), tmp_path / "out", adjacency)
    with open_tensors(files.graphs) as file:
        assert file.metadata == {"made": "here"}
        assert len(file.keys()) == 7 * len(adjacency)
        for name, rule in adjacency.items():
            wanted = [by_networkx(snapshot, **rule) for snapshot in history]
            assert file.expect(f"{name}.labels", torch.int32, ("S", "V")) == (25, 9)
            assert file.rows(f"{name}.labels").tolist() == [step["labels"] for step in wanted]
            for statistic in INTEGERS:
                assert file.expect(f"{name}.{statistic}", torch.int32, (25,))
                assert file.rows(f"{name}.{statistic}").tolist() == [step[statistic] for step in wanted]
            for statistic in DENSITIES:
                assert file.expect(f"{name}.{statistic}", torch.float32, (25,))
                assert torch.equal(file.rows(f"{name}.{statistic}"), torch.tensor([step[statistic] for step in wanted]))
        # the operators matter on a lattice: this history would show it
        assert not torch.equal(file.rows("at.n_edges"), file.rows("below.n_edges"))
        assert not torch.equal(file.rows("two cells.n_edges"), file.rows("under two cells.n_edges"))
        assert not torch.equal(file.rows("touching.labels"), file.rows("cells.labels"))
        assert torch.equal(file.rows("under two cells.n_edges"), file.rows("cells.n_edges"))


@pytest.mark.parametrize("seed", range(5))
def test_components_of_identical_tokens_are_the_black_holes(tmp_path, seed):
    history = random_history(30, 12, 1 + seed % 2, seed)
    history[::2] *= torch.tensor([1, -1]).repeat(6)[:, None] * (torch.rand(12, 1) > 0.3)  # with zeros of both signs
    path = write_history(tmp_path / "h", history)
    files = run_statistics(path, tmp_path / "out")
    with open_tensors(files.graphs) as graph, open_tensors(files.counts) as counts:
        assert torch.equal(graph.rows("identical.labels"), counts.rows("labels"))
        assert torch.equal(graph.rows("identical.n_components"), counts.rows("n_unique"))
        assert torch.equal(graph.rows("identical.n_isolated"), counts.rows("n_singletons"))


def test_one_token(tmp_path):
    files = run_statistics(write_history(tmp_path / "h", random_history(2, 1)), tmp_path / "out")
    with open_tensors(files.graphs) as file:
        assert file.rows("touching.n_isolated").tolist() == [1, 1]
        assert file.rows("touching.global_density").tolist() == [0, 0]
