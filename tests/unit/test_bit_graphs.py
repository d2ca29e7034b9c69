"""Graphs as bits against scipy's, and diameters against all shortest paths; cells against bit patterns one by one."""

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import bf16, bit_graphs, cells
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components, shortest_path


def bits_of(adjacency, height=7):
    distances = torch.where(torch.as_tensor(adjacency), 1.0, 2.0)
    blocks = ((start, distances[start : start + height]) for start in range(0, len(distances), height))
    return bit_graphs.adjacency(blocks, 1.0)


def members_of(labels):
    return [(labels == label).nonzero()[:, 0] for label in labels.unique()]


def check(adjacency, effort=bit_graphs.EFFORT):
    """Against scipy; returns how many diameters were not exact."""
    graph, unsure = bits_of(adjacency), 0
    assert bit_graphs.degrees(graph).tolist() == adjacency.sum(1).tolist()
    labels = bit_graphs.components(graph)
    number, expected = connected_components(adjacency, directed=False)
    assert number == len(labels.unique())
    hops = shortest_path(adjacency, directed=False, unweighted=True)
    for members in members_of(labels):
        assert len(set(expected[members.numpy()].tolist())) == 1
        assert (labels[members] == members[0]).all()
        true = int(hops[np.ix_(members, members)].max())
        least, most = bit_graphs.diameter(graph, members, effort)
        assert least <= true <= most
        unsure += least != most
    return unsure


@st.composite
def graphs(draw):
    N = draw(st.sampled_from([1, 2, 5, 63, 64, 65, 150]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["random", "places", "cliques"]))
    if kind == "random":
        adjacency = random.random((N, N)) < draw(st.sampled_from([0.2, 1, 2, 8])) / N
    elif kind == "places":  # on a line of holes: many tokens with the same neighbours
        places = random.integers(0, max(2, N // 3), N)
        adjacency = abs(places[:, None] - places) <= 1
    else:
        group = random.integers(0, 3, N)
        adjacency = (group[:, None] == group) | (random.random((N, N)) < 0.02)
    adjacency = adjacency | adjacency.T
    np.fill_diagonal(adjacency, False)
    return adjacency


@settings(max_examples=60)
@given(graphs())
def test_against_scipy(adjacency):
    assert check(adjacency) == 0


@settings(max_examples=15)
@given(graphs(), st.sampled_from([0, 1, 100]))
def test_little_effort_gives_bounds(adjacency, effort):
    check(adjacency, effort)


def test_bounds_of_a_ring():
    """In a ring every search looks the same, so each token needs its own."""
    N = 40
    place = np.arange(N)
    apart = abs(place[:, None] - place)
    adjacency = np.minimum(apart, N - apart) == 1
    graph, members = bits_of(adjacency), torch.arange(N)
    assert bit_graphs.diameter(graph, members) == (20, 20)
    assert bit_graphs.diameter(graph, members, effort=1) == (20, 40 - 1)
    assert check(adjacency) == 0


def test_the_threshold_is_inclusive_and_float32():
    distances = torch.tensor([[0.0, 0.002, 0.1], [0.002, 0.0, 0.1], [0.1, 0.1, 0.0]])
    assert bit_graphs.degrees(bit_graphs.adjacency([(0, distances)], 0.002)).tolist() == [1, 1, 0]
    assert bit_graphs.degrees(bit_graphs.adjacency([(0, distances)], 0.00199999)).tolist() == [0, 0, 0]
    assert bit_graphs.degrees(bit_graphs.adjacency([(0, torch.zeros(3, 3))], 0)).tolist() == [2, 2, 2]
    for wrong in (-1.0, float("nan")):
        with pytest.raises(UserError, match="threshold is"):
            bit_graphs.adjacency([(0, distances)], wrong)


# --- cells


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_ordinals_of_every_number(dtype):
    """All finite numbers of 16 bits in order: each is one from the next, and both zeros are 0."""
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    every = every[every.isfinite()]
    places = cells.ordinals(every[:, None])[:, 0]
    order = every.double().argsort(stable=True)
    steps = places[order].diff()
    assert (steps == (every.double()[order].diff() != 0)).all()
    assert places[every == 0].tolist() == [0, 0]
    if dtype == torch.bfloat16:
        assert torch.equal(places.int(), bf16.ordinal(every))


def test_ordinals_of_float32():
    numbers = torch.tensor([0.0, -0.0, 1.0, -1.0, 3e38, -3e38, 1e-45, -1e-45])
    up = torch.nextafter(numbers, torch.full_like(numbers, torch.inf))
    assert (cells.ordinals(up[None]) - cells.ordinals(numbers[None]) == 1).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_distances_in_cells(dtype):
    draw = torch.Generator().manual_seed(0)
    vectors = (torch.randn(20, 30, generator=draw) * 10.0 ** torch.randint(-6, 5, (30,), generator=draw)).to(dtype)
    vectors[3], vectors[4, 0] = vectors[2], torch.finfo(dtype).max
    vectors[5, 0] = torch.finfo(dtype).min
    places = cells.ordinals(vectors)
    found, rows = cells.chebyshev(places), places.tolist()
    assert found.tolist() == [[max(abs(a - b) for a, b in zip(u, v, strict=True)) for v in rows] for u in rows]


@pytest.mark.parametrize("height", [1, 7, None])
@pytest.mark.parametrize("limit", [0, 1, 3])
@pytest.mark.parametrize(("N", "D"), [(1, 1), (50, 1), (60, 3), (64, 40)])
def test_near_in_cells_without_a_matrix(N, D, limit, height):
    places = torch.randint(-3, 4, (N, D), generator=torch.Generator().manual_seed(N + D))
    places[N // 2 :] = places[: N - N // 2] + torch.randint(-1, 2, (N - N // 2, D), generator=torch.default_generator)
    places[:, 0] *= 2**31 - 100  # as far as float32 goes, both ways
    places[:, -1] += 5
    blocks = list(cells.near(places, limit, height))
    assert [start for start, _ in blocks] == list(range(0, N, height or N))
    assert torch.equal(torch.cat([rows for _, rows in blocks]), cells.chebyshev(places) <= limit)


def test_cells_refuse(bad_input):
    with pytest.raises(UserError, match=r"vectors are torch\.float64"):
        cells.ordinals(torch.zeros(1, 1, dtype=torch.float64))
    with pytest.raises(UserError, match="nan at token 0, dimension 1"):
        cells.ordinals(torch.tensor([[0.0, float("nan")]]))
