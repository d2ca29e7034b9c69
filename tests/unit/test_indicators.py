"""Indicators of under-training against the formula written out token by token, and the ranking against sorting."""

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import indicators

COMPONENT = torch.tensor([1.0, 2, 3, 4])
NAMES = ("norm", "centroid_distance", "cosine_unused")


def matrix(V=60, D=7, dtype=torch.bfloat16, seed=0):
    """Tokens around a mean, of which the first eight are unused and three of these equal."""
    random = torch.Generator().manual_seed(seed)
    W = 0.3 + torch.randn(V, D, generator=random)
    W[:8] = W[0] + 0.01 * torch.randn(8, D, generator=random)
    W[1:3] = W[0]
    return W.to(dtype)


def slowly(W, reference, centroid, component):
    """One token after the other, in float64."""
    rows = W.double().numpy()
    axis = component.double().numpy() / np.linalg.norm(component.double().numpy())
    mean = rows.mean(0)

    def rest(vector):
        vector = vector - mean
        return vector - (vector @ axis) * axis

    direction = rest(rows[reference.tolist()].mean(0))
    found = {name: [] for name in NAMES}
    for row in rows:
        found["norm"].append(np.sqrt((row**2).sum()))
        found["centroid_distance"].append(np.sqrt(((row - centroid.double().numpy()) ** 2).sum()))
        left = rest(row)
        found["cosine_unused"].append(left @ direction / np.linalg.norm(left) / np.linalg.norm(direction))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_against_a_written_out_loop(dtype):
    W, reference = matrix(dtype=dtype), torch.arange(8)
    centroid, component = W[:3].float().mean(0), torch.linspace(-1, 2, W.shape[1])
    found = indicators.under_training(W, reference, centroid, component)
    expected = slowly(W, reference, centroid, component)
    for name in NAMES:
        assert found[name].dtype == torch.float32
        assert np.allclose(found[name], expected[name], rtol=1e-6, atol=1e-7), name
    assert found["centroid_distance"][0] < 1e-6


def test_equal_vectors_have_equal_indicators_for_any_block_size(monkeypatch):
    W = matrix(V=501, D=33)
    W[100::50] = W[3]
    arguments = torch.arange(8), W[0].float(), torch.ones(33)
    whole = indicators.under_training(W, *arguments)
    for values in whole.values():
        assert len(values[100::50].unique()) == 1
        assert values[100] == values[3]
    expected = slowly(W, *arguments)
    in_columns = W.mT.contiguous().mT
    monkeypatch.setattr(indicators, "_BLOCK", 33 * 7)  # 72 blocks, of which two hold the reference
    in_blocks = indicators.under_training(W, *arguments)
    for found in (whole, in_blocks, indicators.under_training(in_columns, *arguments)):
        for name in NAMES:  # to the last place of float32
            np.testing.assert_allclose(found[name], expected[name], rtol=2.0**-24, atol=1e-12)


@pytest.mark.parametrize(
    "W",
    [
        pytest.param(torch.zeros(5, 4), id="zeros"),
        pytest.param(torch.full((5, 4), 0.1), id="all equal"),
        pytest.param(torch.tensor([0.5, 0.75, -3.0, 2.0])[:, None] * COMPONENT, id="only the component"),
        pytest.param(torch.ones(1, 4), id="one token"),
        pytest.param(torch.tensor([[1e38, 0, 0, 0], [-1e38, 1, 0, 0], [0, 0, 1e-40, 0]]), id="huge and tiny"),
    ],
)
def test_the_cosine_of_a_zero_vector_is_0(W):
    found = indicators.under_training(W, torch.tensor([0]), W[0], COMPONENT)
    assert all(torch.isfinite(values).all() for values in found.values())
    assert (found["cosine_unused"].abs() <= 1).all()
    if W.abs().max() < 1e30:
        assert (found["cosine_unused"] == 0).all()


@pytest.mark.usefixtures("bad_input")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": torch.tensor([], dtype=torch.int64)}, "reference holds no token"),
        ({"reference": torch.tensor([60])}, "reference holds token 60, where 0 to 59"),
        ({"reference": torch.tensor([-1, 2])}, "reference holds token -1, where 0 to 59"),
        ({"centroid": torch.ones(6)}, r"centroid has shape \(6,\), where \(7,\)"),
        ({"component": torch.zeros(7)}, "component is 0 in every dimension"),
        ({"component": torch.full((7,), float("nan"))}, "nan at dimension 0"),
        ({"W": matrix().index_fill(0, torch.tensor([4]), float("inf"))}, "inf at token 4, dimension 0"),
        ({"W": matrix().int()}, "W is torch.int32"),
        ({"W": matrix()[0]}, r"W has shape \(7,\)"),
    ],
)
def test_refused(change, message):
    good = {"W": matrix(), "reference": torch.arange(8), "centroid": torch.ones(7), "component": torch.ones(7)}
    with pytest.raises(UserError, match=message):
        indicators.under_training(**good | change)


def test_ranking_is_by_the_later_of_two_places():
    random = np.random.default_rng(0)
    distance = random.integers(0, 9, 40).astype(np.float32)
    cosine = (random.integers(-5, 6, 40) / 5).astype(np.float32)
    place = [max(sum(distance < distance[t]), sum(cosine > cosine[t])) for t in range(40)]
    order = sorted(range(40), key=lambda t: (place[t], distance[t], t))
    rank = indicators.suspicion(torch.from_numpy(distance), torch.from_numpy(cosine))
    assert [int(t) for t in rank.argsort()] == order
    assert sorted(rank.tolist()) == list(range(1, 41))


def test_unused_tokens_come_first():
    W = matrix(V=400, D=16)
    found = indicators.under_training(W, torch.arange(3), W[0].float(), torch.ones(16))
    rank = indicators.suspicion(found["centroid_distance"], found["cosine_unused"])
    assert set(rank[:8].tolist()) == set(range(1, 9))


def test_areas_under_the_curve():
    random = np.random.default_rng(0)
    for n, m in ((1, 1), (7, 4), (30, 50)):
        first, second = random.integers(0, 20, n), random.integers(0, 20, m)
        pairs = [(a < b) + (a == b) / 2 for a in first for b in second]
        assert indicators.auroc(first, second) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert indicators.auroc(np.array([1, 2]), np.array([3, 4])) == 1.0
    with pytest.raises(UserError, match="at least one of each kind"):
        indicators.auroc(np.array([1]), np.array([], dtype=np.int64))
