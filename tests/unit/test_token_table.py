"""tokens.csv: a row a token, the numbers of the kernels, and a reference that is found and not given."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tokenizers_by_hand as by_hand
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.checkpoints import boxes, census, ranking, token_table
from blackholes.errors import UserError
from blackholes.kernels import indicators, sphere
from checkpoint_folder import make, write_tokens
from helpers import names
from planted import POPULATIONS, embedding


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows, name, kind=int):
    return np.array([kind(row[name]) for row in rows])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A vocabulary of 4,096 with thirteen holes and near misses one cell away; two rows have no token."""
    folder = tmp_path_factory.mktemp("planted")
    W, members, inside = embedding()
    return make(folder, W, by_hand.characters(folder / "tokenizer", len(W) - 2)), W, members, inside


def test_one_row_per_token(planted):
    made, W, members, _ = planted
    rows = read(made.tokens)
    assert list(rows[0]) == token_table.COLUMNS
    assert column(rows, "token_id").tolist() == list(range(len(W)))
    assert sorted(column(rows, "rank")) == list(range(1, len(W) + 1))
    assert (rows[97]["text"], rows[97]["category"], rows[97]["script"]) == ("a", "ordinary", "Latin")
    assert rows[10]["text"] == "\\n"
    assert {row["category"] for row in rows[-2:]} == {"padding"}
    assert [row["round_trip"] for row in rows[-2:]] == ["", ""]
    assert {row["round_trip"] for row in rows[:128]} <= {"0", "1"}
    of = {token: min(group) for group in members for token in group}
    assert [row["hole"] for row in rows] == [str(of.get(token, "")) for token in range(len(W))]
    with open_tensors(made.sphere) as file:
        assert column(rows, "in_box").tolist() == file.rows("in_box").int().tolist()
    with open_tensors(made.statistics) as file:
        assert np.flatnonzero(column(rows, "in_cluster")).tolist() == file.rows("cluster_token_ids").tolist()


def test_numbers_are_those_of_the_kernels_to_the_bit(planted):
    made, W, members, _ = planted
    rows = read(made.tokens)
    with open_tensors(made.sphere) as file:
        component = file.rows("eigenvectors")[:, 0]
    with open_tensors(made.centroid) as file:
        centroid = file.rows("centroid")
    known = column(rows, "in_cluster").astype(bool)
    known[[token for group in members for token in group]] = True
    found = indicators.under_training(W, torch.from_numpy(np.flatnonzero(known)), centroid, component)
    for name, values in found.items():
        assert np.array_equal(column(rows, name, np.float32), values.numpy()), name
    rank = indicators.suspicion(found["centroid_distance"], found["cosine_unused"])
    assert np.array_equal(column(rows, "rank"), rank)


def test_holes_and_what_lies_beside_them_come_first(planted):
    made, _, members, _ = planted
    rows = read(made.tokens)
    rank = column(rows, "rank")
    inside = sum(POPULATIONS)
    beside = column(rows, "in_cluster").sum() - inside
    assert beside >= 13  # the near misses
    tokens = [token for group in members for token in group]
    assert (rank[tokens] <= inside + beside).mean() == 1
    assert made.summary.startswith("4,096 tokens: 4,094 ordinary, 2 padding; in holes 2,")
    assert f"; {inside + beside:,} in the reference set; AUROC " in made.summary


def test_the_reference():
    yes, no = np.array([True, False, False, True]), np.zeros(4, bool)
    box = np.array([True, True, False, True])
    assert ranking.reference_set(yes, no, box).tolist() == [0, 3]
    assert ranking.reference_set(yes, ~yes, box).tolist() == [0, 1, 2, 3]
    assert ranking.reference_set(no, no, box).tolist() == [0, 1, 3]
    alone = np.array([False, True, False, False])
    assert ranking.reference_set(no, alone, box).tolist() == [0, 1, 3]  # a cluster of one is none


def facts(made):
    return {row["quantity"]: row["value"] for row in read(made.ranking)}


def test_holes_are_judged_without_themselves(planted):
    """Every fold is computed again here, slowly: a reference and a centroid without it, pairs counted one by one."""
    made, W, members, _ = planted
    rows, found = read(made.tokens), facts(made)
    hole = np.array([int(row["hole"] or -1) for row in rows])
    in_cluster = column(rows, "in_cluster") == 1
    with open_tensors(made.sphere) as file:
        component = file.rows("eigenvectors")[:, 0]
    with open_tensors(made.centroid) as file:
        central = np.isin(np.arange(len(W)), file.rows("token_ids").numpy())
    folds, loads = {}, [0] * 5
    for group in sorted(members, key=lambda group: (-len(group), min(group))):
        fold = loads.index(min(loads))
        loads[fold] += len(group)
        folds[min(group)] = fold
    names_, ids = list(folds), [min(group) for group in members]
    of = np.array([folds.get(int(each), -1) for each in hole])
    for token in np.flatnonzero(in_cluster & (hole < 0)):
        nearest = min(ids, key=lambda each: float((W[each].double() - W[token].double()).norm()))
        of[token] = folds[nearest]
    others = np.flatnonzero((hole < 0) & ~in_cluster)
    won = total = 0
    for fold in range(5):
        reference = np.flatnonzero(((hole >= 0) | in_cluster) & (of != fold))
        centre = W[torch.from_numpy(np.flatnonzero(central & (of != fold)))].double().mean(0)
        scores = indicators.under_training(W, torch.from_numpy(reference), centre, component)
        rank = indicators.suspicion(scores["centroid_distance"], scores["cosine_unused"]).numpy()
        held = np.flatnonzero((hole >= 0) & (of == fold))
        assert [int(rows[token]["rank_held_out"]) for token in held] == rank[held].tolist()
        pool = torch.from_numpy(np.concatenate([held, others]))
        among = indicators.suspicion(scores["centroid_distance"][pool], scores["cosine_unused"][pool]).numpy()
        won += sum((among[len(held) :] > place).sum() for place in among[: len(held)])
        total += len(held) * len(others)
    assert len(names_) == 13
    assert float(found["auroc_cross_fitted"]) == pytest.approx(won / total, abs=1e-12)
    assert (found["folds"], found["hole_members"]) == ("5", str(sum(POPULATIONS)))
    assert found["other_tokens"] == str(len(others))
    assert {rows[token]["rank_held_out"] for token in np.flatnonzero(hole < 0)} == {""}


def test_a_hole_that_is_like_nothing_else_is_found_only_in_sample():
    """Two holes on opposite sides: each has rank 1 by construction, and the last rank by the other's direction."""
    W = 0.05 * torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    W[:40, 5], W[40:80, 5] = 3.0, -3.0
    W[:40] = W[0]
    W[40:80] = W[40]
    both = token_of(W, members=range(80))
    rank = torch.arange(1, 301)
    judged = dict(ranking.judge(both, rank).facts)
    assert judged["auroc_in_sample"] == 1.0
    assert judged["auroc_cross_fitted"] < 0.1


def token_of(W, members):
    """Tokens with a hole for each distinct vector of `members`, in a box that holds everything."""
    hole = np.full(len(W), -1)
    for group in census.holes(W):
        hole[group] = group[0] if group[0] in members else -1
    yes, no = np.ones(len(W), bool), np.zeros(len(W), bool)
    return ranking.Tokens(W, hole, yes, no, hole >= 0, W.mean(0), torch.eye(W.shape[1])[0])


def test_a_single_hole_is_judged_by_a_box_that_does_not_know_it(tmp_path):
    """A box around the densest region of the other tokens, made here from the coordinates of these alone."""
    W = 0.3 * torch.randn(200, 6, generator=torch.Generator().manual_seed(1)).bfloat16()
    W[:30] = W[0]
    made = make(tmp_path / "one", W)
    found, rows = facts(made), read(made.tokens)
    assert found["folds"] == "1"
    with open_tensors(made.sphere) as file:
        component = file.rows("eigenvectors")[:, 0]
        sky = [file.rows(name)[30:].double() for name in ("latitude", "longitude", "radius")]
    box, rule = boxes.automatic_box(*(each.numpy() for each in sky), [], 170)
    assert rule.startswith("around the densest region")
    rest = 30 + sphere.in_box(*sky, **box).nonzero()[:, 0]
    assert set(rest.tolist()) != set(np.flatnonzero(column(rows, "in_box") == 1).tolist()) - set(range(30))
    scores = indicators.under_training(W, rest, W[rest].double().mean(0), component)
    rank = indicators.suspicion(scores["centroid_distance"], scores["cosine_unused"])
    assert [int(row["rank_held_out"]) for row in rows[:30]] == rank[:30].tolist()
    assert float(found["auroc_in_sample"]) == 1.0
    assert float(found["auroc_cross_fitted"]) < 1.0
    alone = W.clone()
    alone[30:] = torch.linspace(20, 40, 170)[:, None]
    tokens = token_of(alone, members=range(30))
    tokens.in_box = tokens.hole >= 0
    judged = ranking.judge(tokens, torch.arange(1, 201))
    assert judged.facts == [("not_judged", "without one of the holes no token is left to refer to")]
    assert (judged.held_out == -1).all()


def test_without_a_hole_nothing_is_judged(tmp_path):
    made = make(tmp_path / "none", torch.randn(128, 8, generator=torch.Generator().manual_seed(0)))
    assert facts(made) == {"not_judged": "there is no hole"}
    assert made.summary.endswith("; ranking not judged: there is no hole")
    equal = make(tmp_path / "equal", torch.ones(30, 4, dtype=torch.bfloat16))
    assert facts(equal) == {"not_judged": "every token is in a hole or in the cluster"}


@pytest.mark.parametrize(
    "W",
    [
        pytest.param(torch.randn(128, 8, generator=torch.Generator().manual_seed(0)), id="no hole"),
        pytest.param(torch.ones(30, 4, dtype=torch.bfloat16), id="one vector"),
        pytest.param(torch.eye(3, dtype=torch.float16).repeat(2, 1), id="three holes"),
    ],
)
def test_without_a_tokenizer_and_degenerate(tmp_path, W):
    made = make(tmp_path / "made", W)
    rows = read(made.tokens)
    assert {row["category"] for row in rows} == {"unknown"}
    assert {row["text"] + row["round_trip"] + row["script"] + row["merge_rank"] for row in rows} == {""}
    numbers = np.stack([column(rows, name, float) for name in ("norm", "centroid_distance", "cosine_unused")])
    assert np.isfinite(numbers).all()


def test_same_bytes_again(planted, tmp_path):
    made, W, *_ = planted
    write_tokens(made, by_hand.characters(tmp_path, len(W) - 2), out=str(tmp_path / "again.csv"))
    assert (tmp_path / "again.csv").read_bytes() == Path(made.tokens).read_bytes()


@pytest.mark.parametrize(
    ("key", "tensors", "message"),
    [
        ("W", {"V": torch.ones(3, 2)}, "no tensor 'W'"),
        ("sphere", {"in_box": torch.ones(9, dtype=torch.bool)}, "tensor 'in_box' is BOOL (9), expected BOOL (60)"),
        ("centroid", {"centroid": torch.ones(5)}, "tensor 'centroid' is F32 (5), expected F32 (4)"),
        ("statistics", {"labels": torch.ones(5)}, "no tensor 'cluster_token_ids'"),
        ("holes", None, "hole 0 holds token 77; expected 0 to 59"),
    ],
)
def test_bad_input_is_named(tmp_path, key, tensors, message):
    W = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    W[40:44] = W[40]
    made = make(tmp_path / "made", W)
    path = getattr(made, key)
    if tensors:
        write_tensors(path, tensors)
    else:
        Path(path).write_text("hole,population,token_ids,text,norm\n0,2,0 77,,1.0\n")
    Path(made.tokens).unlink()
    before = names(tmp_path / "made")
    with pytest.raises(UserError) as raised:
        write_tokens(made)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)
    assert names(tmp_path / "made") == before
