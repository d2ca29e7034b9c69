"""Graphs without a matrix: to the bit those of all pairs, in both backends; and memory that is bounded."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError
from blackholes.kernels import backends, neighbours
from blackholes.runs import statistics
from helpers import put, random_history, run_statistics, write_history
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

RULES = [("chebyshev", 2**-6, False), ("chebyshev", 2**-6, True), ("chebyshev", 0, True), ("cells", 1, True)]
RULES += [("cells", 3, False), ("cells", 0, True), ("chebyshev", -1.0, True), ("chebyshev", 1e30, True)]
both = pytest.mark.parametrize("backend", [nullcontext, backends.torch_only], ids=["compiled", "formula"])


def by_pairs(history, measure, threshold, inclusive):
    """Every pair from the definitions, in numpy and SciPy: no kernel has a part in it."""
    if measure == "cells":  # bits as whole numbers, negative values mirrored
        bits = history.view(torch.int16).numpy().astype(np.int64)
        steps, limit = np.where(bits < 0, -(bits & 0x7FFF), bits), threshold
    else:
        steps, limit = history.float().numpy(), np.float32(threshold)
    rows = [_graph(values, limit, inclusive) for values in steps]
    return {name: torch.stack([torch.tensor(row[name]) for row in rows]) for name in rows[0]}


def _graph(values, limit, inclusive):
    V = len(values)
    apart = np.abs(values[:, None] - values[None]).max(-1)
    edge = apart <= limit if inclusive else apart < limit
    np.fill_diagonal(edge, False)
    _, component = connected_components(edge, directed=False)
    members = [np.flatnonzero(component == c) for c in component]  # of each token's component
    largest = max(members, key=lambda tokens: (len(tokens), -tokens[0]))
    size = len(largest)
    edges, inside = int(edge.sum()) // 2, int(edge[largest][:, largest].sum()) // 2
    return {
        "labels": [int(tokens[0]) for tokens in members],
        "n_components": len(set(component)),
        "largest_component_size": size,
        "n_isolated": int((~edge.any(1)).sum()),
        "n_edges": edges,
        "global_density": np.float32(edges / (V * (V - 1) / 2) if V > 1 else 0),
        "largest_component_density": np.float32(inside / (size * (size - 1) / 2) if size > 1 else 1),
    }


def same(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        assert torch.equal(found[name], values), name


def lattice(S, V, D, width, seed, kind):
    """Tokens on a lattice `width` cells wide, from ±1 or around 0; or of both signs and very different scales."""
    draw = torch.Generator().manual_seed(seed)
    places = torch.randint(0, width, (S, V, D), generator=draw)
    sign = torch.randint(0, 2, (S, 1, D), generator=draw) * 2 - 1
    scale = 2.0 ** torch.randint(-15, -4, (S, 1, D), generator=draw)
    values = {
        "one": sign * (1 + places * 2**-7),
        "zero": (places - width // 2) * 2.0**-133,
        "any": sign * scale * places,
    }
    return values[kind].bfloat16()


@both
@pytest.mark.parametrize("rule", RULES, ids=str)
@given(
    st.integers(1, 150),
    st.integers(1, 20),
    st.sampled_from([1, 2, 3, 6, 40]),
    st.integers(0, 2**31),
    st.sampled_from(["one", "zero", "any"]),
    st.sampled_from([1, 7, 64, 1000]),
)
@settings(max_examples=15)
def test_equal_to_all_pairs(backend, rule, V, D, width, seed, kind, rows):
    """The formula takes so many rows at a time: several blocks, as a GPU does of a large vocabulary, or one."""
    history = lattice(2, V, D, width, seed, kind)
    with backend(), mock.patch.object(backends, "block_length", return_value=rows):
        same(neighbours.graph_statistics(history, *rule), by_pairs(history, *rule))


@both
def test_vectors_that_are_equal_count_for_each_token(backend):
    """Two holes of 3 and 2 tokens one cell apart, −0 beside 0, and one token alone: edges 1 + 3 + 3 · 2 = 10."""
    values = torch.tensor([0.0, 1.0, -0.0, 2**-133, 0.0, 2**-133])[None, :, None].bfloat16()
    with backend():
        found = neighbours.graph_statistics(values, "cells", 1, True)
    assert found["labels"].tolist() == [[0, 1, 0, 0, 0, 0]]
    assert found["n_edges"].item() == 10
    assert (found["n_components"].item(), found["n_isolated"].item()) == (2, 1)
    assert found["largest_component_density"].item() == 1


@both
def test_on_a_tie_the_component_with_the_smallest_label_counts(backend):
    """A path of three and a triangle: 4 edges in 5 possible places of the sorted order."""
    path, triangle = [8.0, 8 + 2**-4, 8 + 2**-3], [1.0, 1 + 2**-7, 1 + 2**-7]
    for values, density in ((path + triangle, 2 / 3), (triangle + path, 1.0)):
        history = torch.tensor(values)[None, :, None].bfloat16()
        with backend():
            found = neighbours.graph_statistics(history, "cells", 1, True)
        assert found["largest_component_density"].item() == np.float32(density)


def test_many_equal_tokens_and_many_distinct_ones():
    """More than a block of each, so that windows, padding and the search through blocks are used."""
    draw = torch.Generator().manual_seed(3)
    tight = 1 + torch.randn(2, 200, 24, generator=draw) * 0.003
    apart = torch.randn(2, 333, 24, generator=draw)
    history = torch.cat([apart, tight, tight[:, :50], apart[:, :7]], 1).bfloat16()[:, torch.randperm(590)]
    for rule in RULES:
        same(neighbours.graph_statistics(history, *rule), by_pairs(history, *rule))
    assert 200 < neighbours.graph_statistics(history, *RULES[0])["largest_component_size"].max() <= 250


def test_neither_chunks_nor_threads_nor_strides_matter():
    history = random_history(S=9, V=70, D=3)
    whole = neighbours.graph_statistics(history, "cells", 1, True)
    parts = [neighbours.graph_statistics(piece, "cells", 1, True) for piece in history.split(2)]
    same({name: torch.cat([part[name] for part in parts]) for name in whole}, whole)
    same(neighbours.graph_statistics(history.mT.contiguous().mT, "cells", 1, True), whole)
    threads = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            same(neighbours.graph_statistics(history, "cells", 1, True), whole)
    finally:
        torch.set_num_threads(threads)


def test_the_analysis_of_a_large_vocabulary(tmp_path, monkeypatch):
    """The same file as from matrices."""
    path = write_history(tmp_path / "h.safetensors", random_history(S=7, V=90, D=3))
    by_matrices = run_statistics(path, tmp_path / "matrices")
    monkeypatch.setattr(statistics, "LARGE", 80)
    monkeypatch.setattr(statistics, "matrices", None)
    by_vectors = run_statistics(path, tmp_path / "vectors")
    assert by_matrices.graphs.read_bytes() == by_vectors.graphs.read_bytes()


MEASURED = """
import sys
from pathlib import Path
from helpers import run_statistics

def peak():  # of this process alone, from torch, numpy and compiled loops alike
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

small, large, out = sys.argv[1:]
run_statistics(small, Path(out) / "warm")  # imports and compiles
before = peak()
run_statistics(large, Path(out))
print(peak() - before)
"""


def test_a_vocabulary_whose_matrix_does_not_fit(tmp_path):
    """20,000 tokens: a matrix would take 1.6 GB, of booleans 400 MB, of which nothing is made."""
    draw = torch.Generator().manual_seed(0)
    history = torch.randn(1, 20_000, 8, generator=draw).bfloat16()
    history[0, 5_000:7_000] = history[0, :2_000]
    paths = [write_history(tmp_path / name, piece) for name, piece in (("s", history[:, :1_100]), ("h", history))]
    folders = [str(Path(statistics.__file__).parents[2]), str(Path(__file__).parents[1])]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {folders}\n" + MEASURED]
    done = subprocess.run([*command, *paths, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 50e6
    with open_tensors(tmp_path / "out" / "graphs") as file:
        assert file.rows("identical.n_components").item() == 18_000
        assert file.rows("identical.n_edges").item() == 2_000
        assert file.rows("identical.largest_component_size").item() == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h: neighbours.graph_statistics(h.float(), "cells", 1), "vectors are torch.float32, where"),
        (lambda h: neighbours.graph_statistics(h[0], "cells", 1), r"vectors have shape \(9, 2\), where"),
        (lambda h: neighbours.graph_statistics(h, "euclidean", 1), "measure is 'euclidean', where chebyshev or cells"),
        (lambda h: neighbours.graph_statistics(h, "cells", 0.5), "threshold is 0.5, where a whole number"),
        (lambda h: neighbours.graph_statistics(h, "chebyshev", float("nan")), "threshold is nan"),
        (
            lambda h: neighbours.graph_statistics(put(h, float("nan")), "cells", 1, first_step=10),
            "nan at step 13, token 7, dimension 1",
        ),
    ],
)
def test_refused_input(call, message, bad_input):
    with pytest.raises(UserError, match=message):
        call(random_history())
