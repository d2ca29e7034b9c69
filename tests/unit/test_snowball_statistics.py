"""The 20 statistics of a trial against networkx, torch.unique and plain Python."""

import math
import statistics
from collections import Counter
from contextlib import nullcontext

import networkx as nx
import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import backends, snowball
from hypothesis import given, settings
from hypothesis import strategies as st

BACKENDS = [pytest.param(nullcontext, id="compiled"), pytest.param(backends.torch_only, id="torch")]


def slow_gini(populations):
    """Mean absolute difference over all pairs, divided by twice the mean."""
    n, total = len(populations), sum(populations)
    return sum(abs(p - q) for p in populations for q in populations) / (2 * n * total)


def slow_statistics(vectors, epsilon, threshold):
    """The slow obvious way, with numbers of Python and NumPy alone."""
    rows = [tuple(value + 0.0 for value in row) for row in vectors.float().tolist()]  # -0 is 0
    counts = Counter(rows)
    holes = sorted(count for count in counts.values() if count > 1)
    unique = [np.array(row, np.float32) for row in counts]
    n = len(unique)
    distance = {(i, j): np.abs(unique[i] - unique[j]).max() for i in range(n) for j in range(n) if i != j}
    ordered = [float(d) for d in distance.values()]
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(pair for pair, d in distance.items() if d <= np.float32(threshold))
    largest = max(nx.connected_components(graph), key=len)
    return {
        "n_tokens": len(rows),
        "n_unique": n,
        "n_black_holes": len(holes),
        "n_singletons": sum(count == 1 for count in counts.values()),
        "total_population": sum(counts.values()),
        "black_hole_population": sum(holes),
        "largest_bh": max(holes, default=0),
        "smallest_bh": min(holes, default=0),
        "mean_bh_size": statistics.fmean(holes) if holes else 0.0,
        "median_bh_size": statistics.median_low(holes) if holes else 0,
        "top2_population": sum(holes[-2:]),
        "gini_coefficient": slow_gini(holes) if holes else 0.0,
        "max_l_inf": max(ordered, default=0.0) / epsilon,
        "mean_l_inf": math.fsum(ordered) / len(ordered) / epsilon if ordered else 0.0,
        "median_l_inf": statistics.median_low(ordered) / epsilon if ordered else 0.0,
        "n_components": nx.number_connected_components(graph),
        "n_isolated": nx.number_of_isolates(graph),
        "largest_component_size": len(largest),
        "largest_component_density": 1.0 if len(largest) == 1 else nx.density(graph.subgraph(largest)),
        "global_density": 1.0 if n == 1 else nx.density(graph),
    }


def agree(found, expected):
    """Equal to the bit, but for Gini, whose oracle is another formula."""
    assert tuple(found) == snowball.STATISTICS == tuple(expected)
    for name, value in expected.items():
        if name == "gini_coefficient":
            assert found[name] == pytest.approx(value, abs=1e-14)
        elif name.endswith("density"):
            assert found[name] == pytest.approx(value, abs=1e-15)
        else:
            assert found[name] == value, name
            assert isinstance(found[name], type(value)), name


def lattice_points(N, D, kinds, scale, seed, dtype=torch.bfloat16):
    """Tokens on a coarse lattice around one point: many are equal, and many distances lie exactly on a threshold."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(0, kinds, (N, D), generator=generator)
    return ((0.5 + 2**-8 * steps) * scale).to(dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60)
@given(
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([2.0**-120, 2.0**-9, 1.0]),
    st.integers(0, 3),
    st.integers(0, 2**32),
)
def test_on_a_lattice(backend, N, D, kinds, scale, touching, seed):
    vectors = lattice_points(N, D, kinds, scale, seed)
    epsilon, threshold = 2**-9 * scale, touching * 2**-8 * scale
    with backend():
        found = snowball.trial_statistics(vectors, epsilon, threshold)
    agree(found, slow_statistics(vectors, epsilon, threshold))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("n", [2, 15, 16, 17, 31, 32, 33, 48, 70])
def test_any_number_of_distinct_vectors(backend, dtype, n):
    """Around the width of a panel; values of every size and sign, so that subtraction rounds."""
    generator = torch.Generator().manual_seed(n)
    size = torch.exp2(torch.randint(-12, 6, (n, 9), generator=generator))
    vectors = (torch.randn(n, 9, generator=generator) * size).to(dtype)
    with backend():
        agree(snowball.trial_statistics(vectors, 0.37, 9.0), slow_statistics(vectors, 0.37, 9.0))


def test_backends_threads_and_order_agree_to_the_bit():
    vectors = snowball.sample(torch.randn(300, generator=torch.Generator().manual_seed(0)), 0.01, 700, 1, 2)
    expected = snowball.trial_statistics(vectors, 2**-14, 2**-13)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            assert snowball.trial_statistics(vectors, 2**-14, 2**-13) == expected
    finally:
        torch.set_num_threads(before)
    shuffled = vectors[torch.randperm(700, generator=torch.Generator().manual_seed(3))]
    assert snowball.trial_statistics(shuffled, 2**-14, 2**-13) == expected
    assert snowball.trial_statistics(vectors.flip(1), 2**-14, 2**-13) == expected
    with backends.torch_only():
        assert snowball.trial_statistics(vectors, 2**-14, 2**-13) == expected


def test_many_distinct_vectors_against_cdist_and_unique():
    """The notebook's way, on data where most distances differ."""
    vectors = (torch.randn(500, 640, generator=torch.Generator().manual_seed(5)) * 3.28e-3).bfloat16()
    vectors[400:] = vectors[:100]
    unique, counts = torch.unique(vectors.float(), dim=0, return_counts=True)
    matrix = torch.cdist(unique, unique, p=float("inf"))
    pairs = matrix[~torch.eye(len(unique), dtype=torch.bool)]
    found = snowball.trial_statistics(vectors, 2**-14, 2**-6)
    assert (found["n_unique"], found["n_black_holes"]) == (400, int((counts > 1).sum()))
    assert found["max_l_inf"] == pairs.max().item() / 2**-14
    assert found["median_l_inf"] == pairs.median().item() / 2**-14
    assert found["mean_l_inf"] == math.fsum(pairs.tolist()) / len(pairs) / 2**-14
    assert found["global_density"] == (pairs <= 2**-6).sum().item() / len(pairs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_conventions(backend):
    with backend():
        one = snowball.trial_statistics(torch.ones(7, 3, dtype=torch.bfloat16), 0.5, 1.0)
        alone = snowball.trial_statistics(torch.ones(1, 3, dtype=torch.bfloat16), 0.5, 1.0)
        apart = snowball.trial_statistics(torch.tensor([[0.0], [8.0], [16.0]], dtype=torch.bfloat16), 0.5, 1.0)
    assert [one[name] for name in snowball.STATISTICS] == [
        *(7, 1, 1, 0, 7, 7, 7, 7, 7.0, 7, 7, 0.0),
        *(0.0, 0.0, 0.0, 1, 1, 1, 1.0, 1.0),
    ]
    assert [alone[name] for name in snowball.STATISTICS] == [
        *(1, 1, 0, 1, 1, 0, 0, 0, 0.0, 0, 0, 0.0),
        *(0.0, 0.0, 0.0, 1, 1, 1, 1.0, 1.0),
    ]
    assert [apart[name] for name in snowball.STATISTICS] == [
        *(3, 3, 0, 3, 3, 0, 0, 0, 0.0, 0, 0, 0.0),
        *(32.0, 64 / 3, 16.0, 3, 3, 1, 1.0, 0.0),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_largest_component_among_others(backend):
    """A path of four and a triangle: the density is that of the path, and zeros of both signs are one vector."""
    places = [0.0, 1.0, 2.0, 3.0, 20.0, 20.5, 21.0, -0.0]
    vectors = torch.tensor([[place, 0.25] for place in places], dtype=torch.bfloat16)
    with backend():
        found = snowball.trial_statistics(vectors, 1.0, 1.0)
    assert (found["n_unique"], found["n_black_holes"], found["largest_bh"]) == (7, 1, 2)
    assert (found["n_components"], found["n_isolated"], found["largest_component_size"]) == (2, 0, 4)
    assert found["largest_component_density"] == 3 / 6
    assert found["global_density"] == 6 / 21


@pytest.mark.parametrize("backend", BACKENDS)
def test_touching_is_inclusive_and_rounded_as_distances_are(backend):
    """A distance of 0.1 in float32 is larger than 0.1, and touches at a threshold of 0.1."""
    pair = torch.tensor([[0.0], [0.1]])
    with backend():
        for threshold, density in [(0.1, 1.0), (0.0999, 0.0), (0.2, 1.0), (0.0, 0.0)]:
            assert snowball.trial_statistics(pair, 0.05, threshold)["global_density"] == density


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_mean_is_exact(backend):
    """A sum of float32 or float64 numbers, in any order, would lose the small distances beside the large one."""
    vectors = torch.tensor([[0.0], [2.0**-140], [2.0**60]])
    with backend():
        found = snowball.trial_statistics(vectors, 1.0, 1.0)
    assert found["mean_l_inf"] == (2 * 2.0**60) / 3
    assert found["median_l_inf"] == 2.0**60
    with backend():
        far = snowball.trial_statistics(torch.tensor([[3e38], [-3e38], [0.0]]), 1.0, 1.0)
    assert (far["max_l_inf"], far["mean_l_inf"]) == (math.inf, math.inf)


@given(st.lists(st.integers(2, 1000), min_size=2, max_size=30))
def test_gini(populations):
    assert snowball.gini(sorted(populations)) == pytest.approx(slow_gini(populations), abs=1e-12)


def test_gini_of_the_published_populations():
    published = [2, 3, 3, 4, 4, 5, 6, 10, 11, 228, 306, 704, 814]
    counts = [*published, *[1] * 5]
    found = dict(zip(snowball.STATISTICS, snowball.populations(counts), strict=False))
    assert (found["n_black_holes"], found["black_hole_population"], found["n_singletons"]) == (13, 2100, 5)
    assert (found["largest_bh"], found["median_bh_size"], found["top2_population"]) == (814, 6, 1518)
    assert found["gini_coefficient"] == pytest.approx(slow_gini(published))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: snowball.trial_statistics(v, 0.0, 1.0), "epsilon is 0.0, where"),
        (lambda v: snowball.trial_statistics(v, float("nan"), 1.0), "epsilon is nan"),
        (lambda v: snowball.trial_statistics(v, 1.0, -1.0), "threshold is -1.0, where"),
        (lambda v: snowball.trial_statistics(v, 1.0, float("nan")), "threshold is nan"),
        (lambda v: snowball.trial_statistics(v[:0], 1.0, 1.0), "at least one token"),
        (lambda v: snowball.trial_statistics(v / 0, 1.0, 1.0), "inf at token 0, dimension 0"),
        (lambda v: snowball.trial_statistics(v.to(torch.complex64), 1.0, 1.0), "vectors are torch.complex64"),
    ],
)
def test_bad_input(call, message, bad_input):
    with pytest.raises(UserError, match=message):
        call(torch.ones(3, 2, dtype=torch.bfloat16))
