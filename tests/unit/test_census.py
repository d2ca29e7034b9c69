"""Black holes of a whole vocabulary, against a dictionary of rows and against what was planted."""

import csv
import json
import math

import pytest
import torch
from blackholes.artifacts.tables import read_holes
from blackholes.artifacts.tensors import write_tensors
from blackholes.checkpoints import census
from blackholes.errors import UserError
from helpers import names
from planted import HOLE_TOKENS, POPULATIONS, ZERO_PAIRS, embedding
from tokenizers import Tokenizer, models


def by_dictionary(W):
    groups = {}
    for token, row in enumerate(W.tolist()):
        groups.setdefault(tuple(row), []).append(token)  # -0.0 == 0.0, and hashes alike
    return sorted((g for g in groups.values() if len(g) > 1), key=lambda g: (-len(g), g[0]))


def write(folder, W, tokenizer=None):
    """(rows of black_holes.csv, census.json, the summary)."""
    write_tensors(folder / "W.safetensors", {"W": W})
    summary = census.write(*(str(folder / name) for name in ("W.safetensors", "holes.csv", "census.json")), tokenizer)
    with open(folder / "holes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / "census.json").read_text()), summary


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("seed", range(3))
def test_holes(dtype, seed):
    W = torch.randint(-1, 2, (200, 4), generator=torch.Generator().manual_seed(seed)).to(dtype)
    W[::7] *= -1  # zeros become -0
    assert [group.tolist() for group in census.holes(W)] == by_dictionary(W)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_planted_holes_are_found(tmp_path, dtype):
    W, members, _ = embedding(dtype=dtype)
    rows, facts, summary = write(tmp_path, W)
    assert [[int(token) for token in row["token_ids"].split()] for row in rows] == sorted(
        members, key=lambda group: (-len(group), group[0])
    )
    assert [int(row["population"]) for row in rows] == POPULATIONS == facts["populations"]
    assert [int(row["hole"]) for row in rows] == [int(row["token_ids"].split()[0]) for row in rows]
    assert {row["text"] for row in rows} == {""}
    V = len(W)
    assert facts == {
        "tokens": V,
        "dimensions": W.shape[1],
        "dtype": str(dtype).removeprefix("torch."),
        "holes": 13,
        "hole_tokens": HOLE_TOKENS,
        "n_unique": V - HOLE_TOKENS + 13,
        "n_singletons": V - HOLE_TOKENS,
        "zero_pairs": ZERO_PAIRS,
        "populations": POPULATIONS,
    }
    assert summary == "13 holes, 2,100 of 4,096 tokens in them, 651,034 zero pairs"


def test_norms_and_text(tmp_path):
    W = torch.tensor([[1.0, 2.0], [0.0, -0.0], [1.0, 2.0], [-0.0, 0.0], [1.0, 0.0], [5.0, 12.0]]).bfloat16()
    tokenizer = Tokenizer(models.WordLevel({'a"b': 0, "c d": 1, "é": 2, "x": 4, "y": 5}, unk_token="x"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rows, *_ = write(tmp_path, W, str(tmp_path / "tokenizer.json"))
    assert [(row["hole"], row["token_ids"]) for row in rows] == [("0", "0 2"), ("1", "1 3")]
    # √5 is exact in no dtype; a norm in bfloat16 or float32 differs from the one in float64
    assert [float(row["norm"]) for row in rows] == [pytest.approx(math.sqrt(5), rel=1e-15), 0]
    assert rows[0]["text"] == r'["a\"b", "é"]'
    assert [json.loads(row["text"]) for row in rows] == [['a"b', "é"], ["c d", ""]]
    found = read_holes(str(tmp_path / "holes.csv"), 6)
    assert {hole: ids.tolist() for hole, ids in found.items()} == {0: [0, 2], 1: [1, 3]}


def test_no_hole(tmp_path):
    rows, facts, summary = write(tmp_path, torch.eye(5).bfloat16())
    assert rows == []
    assert (facts["holes"], facts["hole_tokens"], facts["zero_pairs"], facts["populations"]) == (0, 0, 0, [])
    assert summary == "0 holes, 0 of 5 tokens in them, 0 zero pairs"
    assert read_holes(str(tmp_path / "holes.csv"), 5) == {}


def test_everything_in_one_hole(tmp_path):
    rows, facts, _ = write(tmp_path, torch.ones(128, 3).half())
    assert len(rows) == 1
    assert (facts["n_unique"], facts["n_singletons"], facts["zero_pairs"]) == (1, 0, 128 * 127 // 2)


def test_zero_pairs():
    assert census.zero_pairs(POPULATIONS) == ZERO_PAIRS
    assert census.zero_pairs([]) == 0


def test_bad_input_is_named_and_leaves_no_file(tmp_path):
    W = torch.eye(5).bfloat16()
    W[3, 1] = float("nan")
    with pytest.raises(UserError, match=r"W\.safetensors: nan at .*token 3, dimension 1"):
        write(tmp_path, W)
    assert names(tmp_path) == ["W.safetensors"]
