"""Permutations: what they keep and what they undo, what they depend on, and that their p-values are honest."""

import math

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import cells, permutation, snowball
from scipy import stats

CLOUDS, NULL = 200, 99


def test_every_dimension_keeps_its_values():
    tokens = torch.arange(600, dtype=torch.bfloat16).view(100, 6)
    found = permutation.permuted(tokens, 1, 0)
    assert found.shape == tokens.shape
    assert found.dtype == tokens.dtype
    assert torch.equal(found.sort(0).values, tokens.sort(0).values)
    orders = found.argsort(0).T
    assert len({tuple(order.tolist()) for order in orders}) == 6  # a permutation of its own for each
    assert not any(torch.equal(order, torch.arange(100)) for order in orders)


def test_all_permutations_are_equally_likely():
    """Of three values in two dimensions: 6 × 6 outcomes."""
    tokens = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]).bfloat16()
    seen = {}
    for trial in range(3600):
        key = tuple(permutation.permuted(tokens, 5, trial).flatten().tolist())
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 36
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_a_permutation_depends_on_seed_trial_and_attraction_alone(monkeypatch):
    tokens, before = (
        torch.randn(300, 50, generator=torch.Generator().manual_seed(0)).bfloat16(),
        torch.get_num_threads(),
    )
    expected = [permutation.permuted(tokens, 1, trial) for trial in range(3)]
    try:
        torch.set_num_threads(1 if before > 1 else 3)
        assert all(torch.equal(permutation.permuted(tokens, 1, trial), expected[trial]) for trial in (2, 0, 1))
    finally:
        torch.set_num_threads(before)
    assert not torch.equal(permutation.permuted(tokens, 1, 3), expected[0])
    assert not torch.equal(permutation.permuted(tokens, 2, 0), expected[0])
    assert not torch.equal(permutation.permuted(tokens, 1, 0, 1), expected[0])
    monkeypatch.setattr(permutation, "_DRAWN", 3000)  # blocks of ten dimensions, each from a stream of its own
    blocks = permutation.permuted(tokens, 1, 0)
    assert torch.equal(blocks[:, :10], expected[0][:, :10])
    assert not torch.equal(blocks.argsort(0)[:, :10], blocks.argsort(0)[:, 10:20])


def test_attracted_tokens_take_the_vector_of_another():
    tokens = torch.randn(500, 20, generator=torch.Generator().manual_seed(0)).bfloat16()
    for attracted in (1, 100, 500):
        found = permutation.permuted(tokens, 1, 0, attracted)
        assert 500 - attracted <= len(found.unique(dim=0)) < 500
    assert len(permutation.permuted(tokens, 1, 0, 1).unique(dim=0)) == 499
    with pytest.raises(UserError, match="attracted is 501, where 0 to 500 tokens are expected"):
        permutation.permuted(tokens, 1, 0, 501)


def test_which_dimensions_vary(monkeypatch):
    tokens = torch.tensor([[1.0, 0.0, 3.0], [1.0, -0.0, 4.0]]).bfloat16()
    assert permutation.varying(tokens).tolist() == [False, False, True]
    monkeypatch.setattr(permutation, "_DRAWN", 2)
    assert permutation.varying(tokens.float()).tolist() == [False, False, True]


def test_the_component_of_a_row(monkeypatch):
    """Against a graph; with clouds that reach beyond the neighbourhood that is looked at first."""
    import networkx as nx

    random = torch.Generator().manual_seed(0)
    monkeypatch.setattr(cells, "_REACH", 2)
    monkeypatch.setattr(cells, "_PAIRS", 64)
    sizes = set()
    for case in range(60):
        N, D, limit = 3 + 2 * case % 50, 1 + case % 4, 1 + case % 2
        places = torch.randint(-6, 6, (N, D), generator=random) * (1 + case % 3 // 2)
        start = case % N
        graph = nx.Graph()
        graph.add_nodes_from(range(N))
        graph.add_edges_from((i, j) for i in range(N) for j in range(i) if (places[i] - places[j]).abs().max() <= limit)
        found = cells.component(cells.values(places, torch.bfloat16), start, limit)
        assert set(found.nonzero()[:, 0].tolist()) == nx.node_connected_component(graph, start)
        sizes.add(int(found.sum()))
    assert len(sizes) > 10
    with pytest.raises(UserError, match="start is row 7, where 0 to 6 is expected"):
        cells.component(torch.ones(7, 2).bfloat16(), 7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_values_are_the_inverse_of_ordinals(dtype):
    numbers = torch.tensor([[0.0, 1.5, -1.5, 3e-8, -3e-8, 60000.0, -60000.0]]).to(dtype)
    assert torch.equal(cells.values(cells.ordinals(numbers), dtype), numbers)
    steps = cells.values(torch.arange(-300, 300), dtype)
    assert (steps.diff() > 0).all()


# ---- p-values -----------------------------------------------------------------------------------------------------


def test_p_values_by_hand():
    null = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert permutation.p_values(np.array([4.0, 5.0]), null).tolist() == [0.5, 1.0]  # 2 · 1/4; never more than 1
    assert permutation.p_values(np.array([2.0, 9.0]), null).tolist() == [1.0, 0.5]


def test_the_joint_p_value_by_hand():
    """The second statistic never differs. In the first, 0 and 4 of five are farthest from their mean, 2."""
    null = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0], [4.0, 7.0]])
    assert permutation.joint_p_value(np.array([0.0, 7.0]), null) == 2 / 5
    assert permutation.joint_p_value(null[1], np.concatenate([null[[0, 2, 3]], [[0.0, 7.0]]])) == 1.0
    assert permutation.joint_p_value(null[0], null[[0, 0]]) == 1.0


def test_joint_p_values_are_uniform_and_small_where_one_statistic_is_shifted():
    random = np.random.default_rng(1)
    mixed = random.standard_normal((6, 6))
    draws = [random.standard_normal((200, 6)) @ mixed for _ in range(400)]
    found = [permutation.joint_p_value(draw[0], draw[1:]) for draw in draws]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    shifted = [permutation.joint_p_value(draw[0] + 5 * mixed[0], draw[1:]) for draw in draws[:100]]
    assert np.mean(np.array(shifted) <= 0.05) > 0.5


def cloud(seed, attracted=0, N=150, D=800, sigma=1.5e-8):
    """Noise around a point, rounded; then `attracted` tokens take the vectors of others. Some ten dimensions vary."""
    random = np.random.default_rng(seed)
    centre = random.standard_normal(D)
    centre *= 0.37 / np.linalg.norm(centre)
    tokens = torch.from_numpy(centre + sigma * random.standard_normal((N, D))).bfloat16()
    moved = random.choice(N, attracted, replace=False)
    tokens[moved] = tokens[random.integers(0, N, attracted)]
    return tokens


def judged(tokens, seed):
    """Statistics of the tokens around the largest hole, and of their permutations; None if there is nothing to test."""
    _, inverse, counts = tokens.unique(dim=0, return_inverse=True, return_counts=True)
    start = int((inverse == counts.argmax()).nonzero()[0])
    members = tokens[cells.component(tokens, start)]
    varying = members[:, permutation.varying(members)]
    if varying.shape[1] < 2 or counts.max() < 2:
        return None
    statistics = lambda each: np.array([*snowball.trial_statistics(each, 2**-14, 2**-13).values()], float)  # noqa: E731
    null = np.array([statistics(permutation.permuted(varying, seed, trial)) for trial in range(NULL)])
    return statistics(varying), null


def randomised(own, null, random):
    """p-values that ties do not disturb: uniform under the null hypothesis, whatever the statistic."""
    return ((null > own).sum(0) + random.random(len(own)) * (1 + (null == own).sum(0))) / (1 + len(null))


@pytest.mark.slow
def test_p_values_of_true_nulls_are_uniform_and_of_attraction_they_are_not():
    """Each of 20 statistics, on 200 clouds of noise alone, and on 200 in which a third of the tokens is attracted."""
    random, found = np.random.default_rng(0), {}
    for attracted in (0, 50):
        tests = [judged(cloud(seed, attracted), seed) for seed in range(CLOUDS + 60)]
        tests = [test for test in tests if test][:CLOUDS]
        assert len(tests) == CLOUDS
        found[attracted] = (
            np.array([randomised(*test, random) for test in tests]),
            np.array([permutation.p_values(*test) for test in tests]),
            np.array([permutation.joint_p_value(*test) for test in tests]),
        )
    print(f"\n{'statistic':28s} KS p, true nulls   p ≤ 5 %   KS p, attraction   p ≤ 5 %")
    uniform, detected = [], []
    for k, name in enumerate(snowball.STATISTICS):
        ks = [stats.kstest(found[attracted][0][:, k], "uniform").pvalue for attracted in (0, 50)]
        rejected = [float((found[attracted][1][:, k] <= 0.05).mean()) for attracted in (0, 50)]
        print(f"{name:28s} {ks[0]:16.3f} {rejected[0]:9.3f} {ks[1]:18.2g} {rejected[1]:9.3f}")
        uniform.append(ks[0])
        detected.append(ks[1])
        assert rejected[0] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / CLOUDS), name
    joint = [float((found[attracted][2] <= 0.05).mean()) for attracted in (0, 50)]
    print(f"joint p ≤ 5 %: {joint[0]:.3f} of true nulls, {joint[1]:.3f} with attraction")
    assert min(uniform) > 0.01 / len(uniform)
    for name in ("n_unique", "n_singletons", "black_hole_population"):
        assert detected[snowball.STATISTICS.index(name)] < 1e-12, name
    assert joint[0] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / CLOUDS)
    assert joint[1] > 0.1
