"""The sphere's file, boxes given and automatic, the centroid of the holes and their spread."""

import json
import math

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.checkpoints import boxes, census, overdensity
from blackholes.errors import UserError
from blackholes.kernels import sphere
from helpers import names
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import BOX, HOLE_TOKENS, POPULATIONS, embedding

BASIS = {"north": 2, "meridian": 1, "equinox": 3}
AUTO = {"lat": None, "lon": None, "r": None}


def write(folder, W, box=AUTO, basis=BASIS, disk_budget_gb=10.0):
    """(sphere, centroid, the metadata of both, the summary)."""
    folder.mkdir(exist_ok=True)
    paths = {name: str(folder / name) for name in ("W.safetensors", "holes.csv", "census.json", "sphere", "centroid")}
    write_tensors(paths["W.safetensors"], {"W": W})
    census.write(paths["W.safetensors"], paths["holes.csv"], paths["census.json"])
    summary = overdensity.write(
        *(paths[name] for name in ("W.safetensors", "holes.csv", "sphere", "centroid")),
        {"basis": basis, "box": box, "disk_budget_gb": disk_budget_gb},
        {"code_digest": "x"},
    )
    found, facts = [], {}
    for name in ("sphere", "centroid"):
        with open_tensors(paths[name]) as file:
            found.append({key: file.rows(key) for key in file.keys()})  # noqa: SIM118 - a reader, not a dict
            facts |= file.metadata
    return *found, facts, summary


def test_planted_tokens_lie_in_the_box(tmp_path):
    W, members, inside = embedding(V=6000, cloud=300)
    ball, centre, facts, summary = write(tmp_path, W, BOX)
    assert ball["in_box"].nonzero().flatten().tolist() == inside
    assert centre["populations"].tolist() == POPULATIONS
    assert centre["n_tokens"] == HOLE_TOKENS == len(centre["token_ids"])
    assert sorted(centre["token_ids"].tolist()) == sorted(token for group in members for token in group)
    assert json.loads(facts["box"]) == BOX
    assert (facts["box_rule"], facts["members"]) == ("as configured", "tokens of the holes in the box")
    assert summary.startswith(
        "2,413 of 6,000 tokens in the box (as configured: lat -15 to 5, lon -10 to 20, r 0.2 to 0.5)"
    )


def test_the_sphere_file(tmp_path):
    W, *_ = embedding(D=30)
    ball, *_, facts, _ = write(tmp_path, W)
    vectors, values = sphere.principal_axes(W)
    expected = sphere.coordinates(W, **BASIS)
    for key, numbers in zip(("latitude", "longitude", "radius"), expected, strict=True):
        assert torch.equal(ball[key], numbers.float())
    assert torch.equal(ball["norm"], W.double().norm(dim=1).float())
    assert torch.equal(ball["eigenvectors"], vectors[:, :10])
    assert torch.equal(ball["eigenvalues"], values)
    assert (facts["code_digest"], json.loads(facts["basis"])) == ("x", BASIS)
    assert write(tmp_path, W, basis={"north": 2, "meridian": 1, "equinox": -12})[0]["eigenvectors"].shape == (30, 12)


def test_the_limits_written_choose_the_same_tokens_again(tmp_path):
    W, *_ = embedding()
    ball, *_, facts, _ = write(tmp_path, W)
    again, *_ = write(tmp_path, W, json.loads(facts["box"]))
    assert torch.equal(again["in_box"], ball["in_box"])


def test_a_single_limit(tmp_path):
    W, *_ = embedding()
    ball, *_, summary = write(tmp_path, W, AUTO | {"r": (0.3, 1.0)})
    assert torch.equal(ball["in_box"], (ball["radius"] >= 0.3) & (ball["radius"] <= 1.0))
    assert "(as configured: r 0.3 to 1)" in summary


# --- the automatic box


def test_the_automatic_box_is_around_the_largest_hole(tmp_path):
    W, members, _ = embedding(V=40_000)
    ball, *_, facts, _ = write(tmp_path, W)
    assert facts["box_rule"] == "around the largest hole, of 814 tokens"
    assert ball["in_box"][torch.tensor([token for group in members for token in group])].all()
    target = HOLE_TOKENS + 40_000 // 8
    assert 0.9 * target < ball["in_box"].sum() <= target


def test_without_a_hole_the_box_is_around_the_densest_region(tmp_path):
    random = torch.Generator().manual_seed(0)
    W = torch.randn(4000, 8, generator=random)
    W[100:160] = torch.tensor([2.0, 2, 2, 0, 0, 0, 0, 0]) + 0.01 * torch.randn(60, 8, generator=random)
    ball, centre, facts, _ = write(tmp_path, W)
    assert facts["box_rule"] == "around the densest region, since there is no hole"
    assert ball["in_box"][100:160].all()
    assert 60 < ball["in_box"].sum() <= 500
    assert facts["members"] == "tokens of the box, since there is no hole"
    assert torch.equal(centre["token_ids"], ball["in_box"].nonzero().flatten())
    assert centre["populations"].shape == (0,)


@pytest.mark.parametrize("V", [1, 2, 17, 128])
def test_small_vocabularies(tmp_path, V):
    for W in (torch.ones(V, 4), torch.zeros(V, 4), torch.eye(V, 4), torch.randn(V, 4)):
        ball, centre, *_ = write(tmp_path, W.bfloat16())
        assert 1 <= ball["in_box"].sum() <= V
        assert all(value.isfinite().all() for value in centre.values())


@settings(max_examples=50)
@given(st.integers(2, 400), st.integers(0, 10_000), st.integers(1, 60), st.floats(1e-6, 1e3))
def test_automatic_boxes_keep_to_their_limit(V, seed, most, scale):
    random = np.random.default_rng(seed)
    latitude, longitude = random.uniform(-90, 90, V), random.uniform(-180, 180, V)
    radius = scale * random.random(V)
    holes = [np.array([seed % V, (seed + 1) % V])] if seed % 2 else []
    for each in (latitude, longitude, radius):
        for group in holes:
            each[group] = each[group[0]]
    box, _ = boxes.automatic_box(latitude, longitude, radius, holes, most)
    assert -90 <= box["lat"][0] <= box["lat"][1] <= 90
    assert all(-180 <= limit <= 180 for limit in box["lon"])
    assert 0 <= box["r"][0] <= box["r"][1]
    tokens = boxes.count(latitude, longitude, radius, box)
    assert 1 <= tokens <= max(most, len(holes[0]) if holes else 1)


def test_a_box_may_cross_180_degrees():
    longitude = np.array([179.0, -179.0, 178.0] + [0.0] * 40)
    radius = np.array([1.0, 1.0, 1.0] + [0.01] * 40)
    box, _ = boxes.automatic_box(np.zeros(43), longitude, radius, [np.array([0, 1])], most=3)
    assert box["lon"] == (178.0, -179.0)
    assert boxes.count(np.zeros(43), longitude, radius, box) == 3


def test_a_box_with_room_for_all_tokens_holds_all():
    latitude, longitude, radius = np.zeros(5), np.array([0.0, 10, 20, 30, 40]), np.ones(5)
    box, _ = boxes.automatic_box(latitude, longitude, radius, [np.array([0, 1])], most=100)
    assert box["lon"] == (0.0, 40.0)


def test_meridians_converge_towards_the_poles():
    """At latitude 60° a difference of 38° in longitude is a chord of 0.33; one of 20° in latitude, of 0.35."""
    latitude, longitude = np.array([60.0, 60, 60, 40]), np.array([0.0, 0, 38, 0])
    box, _ = boxes.automatic_box(latitude, longitude, np.ones(4), [np.array([0, 1])], most=3)
    assert (box["lat"], box["lon"]) == ((60.0, 60.0), (0.0, 38.0))


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_largest_holes_the_one_with_the_smallest_token_is_the_centre(order):
    latitude, longitude, radius = np.zeros(6), np.array([50.0, 50, -50, -50, -50, 50]), np.ones(6)
    holes = [np.array([0, 1, 5]), np.array([2, 3, 4])]
    box, words = boxes.automatic_box(latitude, longitude, radius, holes[::order], most=3)
    assert (box["lon"], words) == ((50.0, 50.0), "around the largest hole, of 3 tokens")


def test_without_a_hole_the_sixteenth_neighbour_decides():
    """Groups of 16, 17 and 18 tokens, the smaller the tighter: only from 17 on is the sixteenth neighbour inside."""
    groups = [centre + step * (np.arange(n) - n // 2) for n, centre, step in ((16, 0, 0.1), (17, 90, 1), (18, -90, 2))]
    longitude = np.concatenate(groups)
    box, _ = boxes.automatic_box(np.zeros(51), longitude, np.ones(51), [], most=100)
    assert 82 <= box["lon"][0] < 90 < box["lon"][1] <= 98  # the group of 17


# --- the centroid


def members_by_hand(W, groups):
    rows = [W[token].double().tolist() for group in groups for token in group]
    n, D = len(rows), W.shape[1]
    centroid = [math.fsum(row[k] for row in rows) / n for k in range(D)]
    within = math.sqrt(math.fsum((row[k] - centroid[k]) ** 2 for row in rows for k in range(D)) / (n * D))
    mean = math.fsum(math.fsum(row) for row in rows) / (n * D)
    overall = math.sqrt(math.fsum((x - mean) ** 2 for row in rows for x in row) / (n * D))
    return centroid, within, overall


def test_centroid_and_spread(tmp_path):
    W, members, _ = embedding(V=3000)
    _, centre, *_ = write(tmp_path, W, BOX)
    centroid, within, overall = members_by_hand(W, members)
    torch.testing.assert_close(centre["centroid"].double(), torch.tensor(centroid).double(), rtol=1e-6, atol=0)
    assert centre["centroid"].dtype == torch.float32
    assert centre["sigma_within"].item() == pytest.approx(within, rel=1e-12)
    assert centre["sigma_global"].item() == pytest.approx(overall, rel=1e-12)
    # bfloat16's spacing between 2**-2 and 2**-1, where the largest coordinate is: 8 bits of it are stored
    assert 2**-2 <= max(map(abs, centroid)) < 2**-1
    assert centre["epsilon"].item() == 2**-2 * 2**-7


def test_one_hole_has_no_spread_within(tmp_path):
    W = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    W[10:20] = W[10].clone()
    _, centre, *_ = write(tmp_path, W)
    assert centre["sigma_within"] == 0
    assert torch.equal(centre["centroid"], W[10].float())
    assert centre["sigma_global"].item() == pytest.approx(W[10].double().std(correction=0).item())


def test_holes_outside_the_box_do_not_count_unless_there_are_no_others(tmp_path):
    W = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    W[0:5], W[5:8] = torch.tensor([3.0, 0, 0, 0]), torch.tensor([0, 5.0, 0, 0])
    ball, *_ = write(tmp_path, W)
    for hole, others in ((0, 5), (5, 0)):
        r = float(ball["radius"][hole])
        _, centre, facts, _ = write(tmp_path, W, AUTO | {"r": (r * 0.999, r * 1.001)})
        assert centre["token_ids"].tolist() == list(range(5) if hole == 0 else range(5, 8)), others
        assert facts["members"] == "tokens of the holes in the box"
    _, centre, facts, _ = write(tmp_path, W, AUTO | {"r": (0.0, float(ball["radius"].min()))})
    assert centre["token_ids"].tolist() == list(range(8))
    assert facts["members"] == "tokens of all holes, none in the box"


# --- what is refused


def refused(folder, W, **settings):
    with pytest.raises(UserError) as caught:
        write(folder, W, **settings)
    assert names(folder) == ["W.safetensors", "census.json", "holes.csv"]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_box(tmp_path):
    W, *_ = embedding(V=3000)
    message = refused(tmp_path, W, box={"lat": (-15.0, 5.0), "lon": (-10.0, 20.0), "r": (100.0, 200.0)})
    assert message.startswith(
        "box: lat -15 to 5, lon -10 to 20, r 100 to 200: no token lies in it; expected limits within lat -"
    )


@pytest.mark.parametrize("signs", [(1, 1, -1), (1, -1, 1), (-1, 1, 1), (-1, -1, -1)])
def test_a_box_of_a_mirrored_sphere_says_which_signs_it_needs(tmp_path, signs):
    W, *_ = embedding(V=6000)
    basis = {"north": 2 * signs[0], "meridian": signs[1], "equinox": 3 * signs[2]}
    box = {"lat": (-9.0, -1.0), "lon": (1.0, 9.0), "r": (0.3, 0.4)}
    message = refused(tmp_path, W, box=box, basis=basis)
    assert message.endswith("; with basis {north: 2, meridian: 1, equinox: 3} the largest hole would lie in the box")


def test_the_hint_is_there_where_the_box_is_not_empty(tmp_path):
    W, *_ = embedding(V=6000)
    far = AUTO | {"r": (0.8, 9.0)}
    assert write(tmp_path, W, far)[-1].endswith("2,100 tokens of all holes, none in the box")
    south = {"lat": (-90.0, -1.0), "lon": None, "r": None}
    hint = "; with basis {north: 2, meridian: 1, equinox: 3} the largest hole would lie in the box"
    assert write(tmp_path, W, south, basis=BASIS | {"north": -2})[-1].endswith(hint)


def test_a_box_beyond_the_budget(tmp_path):
    W, *_ = embedding(V=3000)
    message = refused(tmp_path, W, box=AUTO | {"r": (0.0, 10.0)}, disk_budget_gb=0.03)
    assert message == (
        "box: r 0 to 10: the distances of 3,000 tokens take 0.036 GB; expected up to disk_budget_gb (0.03): "
        "make the box smaller or the budget larger"
    )
    ball, *_ = write(tmp_path / "auto", embedding(V=30_000)[0], disk_budget_gb=0.03)
    assert ball["in_box"].sum() <= 2738


def test_more_axes_than_dimensions(tmp_path):
    message = refused(tmp_path, torch.eye(9, 2))
    assert message == (
        f"{tmp_path}/W.safetensors: basis: north 2, meridian 1 and equinox 3, where three different components from 1 "
        "to 2 are expected (or negatives)"
    )
