"""Graphs of a run against networkx; stored distances and computed ones give the same bytes."""

import networkx as nx
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.kernels import bf16
from blackholes.runs import black_holes, graphs
from blackholes.runs.distances import write_chebyshev
from helpers import ADJACENCY, BAD_HISTORIES, names, put, random_history, refuses_bad_histories, reported, write_history

INTEGERS = ("n_components", "largest_component_size", "n_isolated", "n_edges")
DENSITIES = ("global_density", "largest_component_density")
MORE = {  # both operators, at a threshold that distances meet
    "at": {"measure": "chebyshev", "operator": "<=", "threshold": 2**-6},
    "below": {"measure": "chebyshev", "operator": "<", "threshold": 2**-6},
    "two cells": {"measure": "cells", "operator": "<=", "threshold": 2},
    "under two cells": {"measure": "cells", "operator": "<", "threshold": 2},
}


@pytest.fixture
def run(tmp_path):
    """A history, and its matrices in a file."""
    history = write_history(tmp_path / "history.safetensors", random_history(25))
    stored = str(tmp_path / "pairwise_distances.safetensors")
    write_chebyshev(history, stored)
    return history, stored


def write(history, stored, out, adjacency=ADJACENCY, **options):
    progress = []
    graphs.write_graph_statistics(
        history, stored, adjacency, out, {"made": "here"}, progress=lambda *call: progress.append(call), **options
    )
    assert reported(progress)
    return out.read_bytes()


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
        "largest_component_density": nx.density(largest),
    }


def test_against_networkx(tmp_path, run):
    adjacency = ADJACENCY | MORE
    write(*run, tmp_path / "g", adjacency)
    with open_tensors(run[0]) as file:
        history = file.rows("embedding_history")
    with open_tensors(tmp_path / "g") as file:
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
    write(path, None, tmp_path / "g")
    black_holes.write(path, tmp_path / "c", tmp_path / "e")
    with open_tensors(tmp_path / "g") as graph, open_tensors(tmp_path / "c") as counts:
        assert torch.equal(graph.rows("identical.labels"), counts.rows("labels"))
        assert torch.equal(graph.rows("identical.n_components"), counts.rows("n_unique"))
        assert torch.equal(graph.rows("identical.n_isolated"), counts.rows("n_singletons"))


def test_stored_or_not_and_any_budget_give_the_same_bytes(tmp_path, run):
    history, stored = run
    whole = write(history, stored, tmp_path / "a")
    assert write(history, None, tmp_path / "b") == whole
    assert write(history, [], tmp_path / "c") == whole
    for number, budget in enumerate([1e-12, 4 * 2 * 4 * 81 * 7 / 1e9]):  # one step at a time, and seven
        assert write(history, stored, tmp_path / f"d{number}", budget_gb=budget) == whole
        assert write(history, None, tmp_path / f"e{number}", budget_gb=budget) == whole


def test_one_token(tmp_path):
    write(write_history(tmp_path / "h", random_history(2, 1)), None, tmp_path / "g")
    with open_tensors(tmp_path / "g") as file:
        assert file.rows("touching.n_isolated").tolist() == [1, 1]
        assert file.rows("touching.global_density").tolist() == [0, 0]


@pytest.mark.parametrize("wrong", BAD_HISTORIES)
def test_bad_histories(tmp_path, wrong):
    refuses_bad_histories(
        tmp_path,
        wrong,
        lambda history, out: graphs.write_graph_statistics(history, None, ADJACENCY, out / "g", budget_gb=1e-12),
    )


# --- a bad distances file: it is the one to name, and not the history


def refused(run, out, **options):
    with pytest.raises(UserError) as caught:
        graphs.write_graph_statistics(*run, ADJACENCY, out / "g", **options)
    assert names(out) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("budget", [1.0, 1e-12])
@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), "nan"), (-1.0, "-1.0"), (-float("inf"), "-inf")], ids=["nan", "negative", "inf"]
)
def test_a_distance_that_is_none(tmp_path, run, value, said, budget):
    _, stored = run
    with open_tensors(stored) as file:
        matrices = file.rows("chebyshev_distances").clone()
    matrices[13, 4, 6] = matrices[13, 6, 4] = value
    write_tensors(stored, {"chebyshev_distances": matrices})
    assert refused(run, tmp_path / "out", budget_gb=budget).startswith(
        f"{stored}: distance {said} at step 13 between tokens 4 and 6, "
    )


@pytest.mark.parametrize("budget", [1.0, 1e-12])
def test_a_history_that_went_bad_after_its_distances_were_stored(tmp_path, run, budget):
    write_history(run[0], put(random_history(25), float("nan")))
    assert refused(run, tmp_path / "out", budget_gb=budget).startswith(
        f"{run[0]}: nan at step 3, token 7, dimension 1, "
    )


def test_distances_of_another_history(tmp_path, run):
    write_history(run[0], random_history(24))
    assert refused(run, tmp_path / "out") == (
        f"{run[1]}: tensor 'chebyshev_distances' is F32 (25, 9, 9), expected F32 (24, 9, 9)"
    )
    write_history(run[0], random_history(25, 10))
    assert refused(run, tmp_path / "out").startswith(f"{run[1]}: tensor")


def test_truncated_and_missing_distances(tmp_path, run):
    with open(run[1], "r+b") as file:
        file.truncate(1000)
    assert refused(run, tmp_path / "out").startswith(f"{run[1]}: not a complete safetensors file")
    missing = str(tmp_path / "nowhere")
    assert refused((run[0], missing), tmp_path / "out") == f"{missing}: no such file"
