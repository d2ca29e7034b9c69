"""Principal axes and coordinates against numpy's covariance and the formulas, a token at a time."""

import math

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import sphere
from hypothesis import given, settings
from hypothesis import strategies as st


def cloud(V=300, D=7, seed=0, dtype=torch.float32):
    """Tokens of different spread in every dimension, turned, away from the origin."""
    random = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(D, D, generator=random, dtype=torch.float64)).Q
    spread = 2.0 ** -torch.arange(D, dtype=torch.float64)
    W = torch.randn(V, D, generator=random, dtype=torch.float64) * spread @ turn + torch.linspace(0, 0.5, D)
    return W.to(dtype)


def by_hand(w, axes):
    """Latitude, longitude, radius of one token, from unit vectors to the meridian, the equinox and the pole."""
    x, y, z = (math.fsum(a * b for a, b in zip(w, axis, strict=True)) for axis in axes)
    r = math.sqrt(x * x + y * y + z * z)
    return math.degrees(math.asin(z / r)), math.degrees(math.atan2(y, x)), r


@pytest.mark.parametrize("V", [300, sphere._ROWS + 1])
@pytest.mark.parametrize("dtype", sphere.FLOATS)
def test_axes_are_those_of_numpy(V, dtype):
    W = cloud(V, dtype=dtype)
    vectors, values = sphere.principal_axes(W)
    covariance = np.cov(W.double().numpy(), rowvar=False, bias=True)  # over V
    expected, axes = np.linalg.eigh(covariance)
    np.testing.assert_allclose(values, expected[::-1], rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose((vectors.numpy() * axes[:, ::-1]).sum(0) ** 2, 1, rtol=1e-9)
    assert (values.diff() <= 0).all()
    assert torch.allclose(vectors.T @ vectors, torch.eye(W.shape[1], dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(("V", "D"), [(500, 64), (5000, 300)])
def test_threads_do_not_change_a_bit(V, D):
    W = torch.randn(V, D, generator=torch.Generator().manual_seed(3)).bfloat16()
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append((*sphere.principal_axes(W), *sphere.coordinates(W, 1, 2, 3)))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    for found in results[1:]:
        assert all(one.equal(other) for one, other in zip(found, results[0], strict=True))


def test_the_largest_component_of_an_axis_is_positive():
    for seed in range(5):
        W = cloud(seed=seed)
        vectors, _ = sphere.principal_axes(W)
        assert (vectors.gather(0, vectors.abs().argmax(0, keepdim=True)) > 0).all()
        mirrored, _ = sphere.principal_axes(-W)
        assert torch.allclose(mirrored, vectors, atol=1e-9)


@pytest.mark.parametrize("basis", [(2, 1, 3), (-2, 1, 3), (1, -5, 4), (3, 2, -1)])
def test_coordinates_are_those_of_the_row_itself(basis):
    W = cloud()
    north, meridian, equinox = basis
    vectors, _ = sphere.principal_axes(W)
    axes = [(vectors[:, abs(a) - 1] * math.copysign(1, a)).tolist() for a in (meridian, equinox, north)]
    expected = [by_hand(w, axes) for w in W.double().tolist()]
    found = torch.stack(sphere.coordinates(W, *basis), 1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    given = sphere.coordinates(W, *basis, eigenvectors=vectors[:, :5])
    assert torch.equal(torch.stack(given, 1), found)


def test_a_negative_axis_mirrors_the_sphere():
    W = cloud()
    latitude, longitude, radius = sphere.coordinates(W, 2, 1, 3)
    south, same, _ = sphere.coordinates(W, -2, 1, 3)
    assert torch.equal(south, -latitude)
    assert torch.equal(same, longitude)
    _, turned, unchanged = sphere.coordinates(W, 2, -1, -3)
    assert torch.allclose((turned - longitude).abs(), torch.tensor(180.0, dtype=torch.float64))
    assert torch.equal(unchanged, radius)


def test_axes_of_coordinates_by_hand():
    W = torch.tensor([[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0.5], [0, 0, -0.5], [0, 0, 0]])
    latitude, longitude, radius = sphere.coordinates(W, 2, 1, 3)  # the axes are the dimensions, in this order
    assert latitude.tolist() == [0, 0, 90, -90, 0, 0, 0]
    assert longitude.tolist() == [0, 180, 0, 0, 90, -90, 0]
    assert radius.tolist() == [2, 2, 1, 1, 0.5, 0.5, 0]


def test_the_radius_is_that_of_the_projection():
    W = cloud()
    radius = sphere.coordinates(W, 2, 1, 3)[2]
    assert (radius < W.double().norm(dim=1)).all()


def test_equal_tokens_have_equal_coordinates_and_one_point_has_no_spread():
    W = torch.full((5, 4), 0.25, dtype=torch.bfloat16)
    assert sphere.principal_axes(W)[1].tolist() == [0, 0, 0, 0]
    latitude, longitude, radius = sphere.coordinates(W, 2, 1, 3)
    for values in (latitude, longitude, radius):
        assert values.isfinite().all()
        assert len(values.unique()) == 1


@settings(max_examples=30)
@given(st.floats(-180, 180), st.floats(-180, 180), st.floats(-90, 90), st.floats(-90, 90), st.floats(0, 2))
def test_boxes(west, east, south, north, far):
    W = cloud(60)
    places = sphere.coordinates(W, 2, 1, 3)
    box = {"lat": (min(south, north), max(south, north)), "lon": (west, east), "r": (far / 2, far)}

    def inside(latitude, longitude, radius):
        wide = west <= longitude <= east if west <= east else longitude >= west or longitude <= east
        return box["lat"][0] <= latitude <= box["lat"][1] and wide and far / 2 <= radius <= far

    assert sphere.in_box(*places, **box).tolist() == [inside(*place) for place in zip(*places, strict=True)]


def test_limits_are_inclusive_and_none_means_unlimited():
    one = torch.tensor([10.0])
    assert sphere.in_box(one, one, one, lat=(10.0, 10.0), lon=(10.0, 10.0), r=(10.0, 10.0)).all()
    assert sphere.in_box(one, one, one).all()
    assert not sphere.in_box(one, one, one, r=(0.0, 9.99)).any()


@pytest.mark.parametrize(
    ("basis", "words"),
    [
        ((0, 1, 2), "basis: north 0, meridian 1 and equinox 2, where three different components from 1 to 7"),
        ((2, 1, -2), "basis: north 2, meridian 1 and equinox -2"),
        ((2, 1, 8), "from 1 to 7 are expected"),
    ],
)
def test_impossible_bases(basis, words):
    with pytest.raises(UserError, match=words):
        sphere.coordinates(cloud(), *basis)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named(value):
    W = cloud()
    W[17, 3] = value
    for work in (sphere.principal_axes, lambda w: sphere.coordinates(w, 2, 1, 3, eigenvectors=torch.eye(7).double())):
        with pytest.raises(UserError, match=f"^{value} at token 17, dimension 3"):
            work(W)


def test_other_types_are_refused(bad_input):
    with pytest.raises(UserError, match="float64"):
        sphere.principal_axes(cloud(dtype=torch.float64))
    with pytest.raises(UserError, match="eigenvectors have 3 rows, where 7"):
        sphere.coordinates(cloud(), 2, 1, 3, eigenvectors=torch.eye(3).double())
