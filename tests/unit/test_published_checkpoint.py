"""What was published of a finished checkpoint beside ours: agreement, other conditions, and what nobody has run."""

import csv
import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.figures import style
from blackholes.figures.reproduction import reproduction as figure
from blackholes.reproduction import comparison, published
from blackholes.reproduction.published import CHECKPOINT, CHECKPOINT_SETTINGS, CHECKPOINT_VALUES
from matplotlib.text import Text
from planted import BOX, HOLE_TOKENS, POPULATIONS, ZERO_PAIRS

ALL = len(published.VALUES) + len(CHECKPOINT_VALUES)
PUBLISHED = {value.key: value.value for value in CHECKPOINT_VALUES}


def write(folder, box=BOX, census=None, **overdensity):
    """Files of a checkpoint as published, but for what is given."""
    facts = {key: CHECKPOINT_SETTINGS[key] for key in ("tokens", "dimensions", "dtype")}
    facts |= {"holes": 13, "hole_tokens": HOLE_TOKENS, "zero_pairs": ZERO_PAIRS, "populations": POPULATIONS}
    files = {"census": folder / "census.json", "overdensity": folder / "o.csv", "sphere": folder / "s.safetensors"}
    files["census"].write_text(json.dumps(facts | (census or {})))
    numbers = {value.key: value.value for value in CHECKPOINT_VALUES if value.file == "overdensity"}
    write_table(files["overdensity"], ["statistic", "value"], ({"threshold": 0.002} | numbers | overdensity).items())
    write_tensors(files["sphere"], {"x": torch.ones(1)}, {"box": json.dumps(box)})
    return {kind: str(path) for kind, path in files.items()}


def table(folder, files, corpus=None):
    """Rows of reproduction.csv by quantity, of the checkpoint."""
    summary = comparison.write(corpus, {}, folder / "reproduction.csv", files)
    with open(folder / "reproduction.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == ALL
    return {row["quantity"]: row for row in rows if row["experiment"] == CHECKPOINT}, summary


def test_the_published_numbers_fit_together():
    N, pairs = PUBLISHED["tokens"], PUBLISHED["pairs"]
    assert pairs == N * (N - 1) // 2
    assert (PUBLISHED["hole_tokens"], PUBLISHED["largest"]) == (sum(POPULATIONS), max(POPULATIONS))
    assert PUBLISHED["zero_pairs"] == ZERO_PAIRS
    assert len({value.quantity for value in CHECKPOINT_VALUES}) == len(CHECKPOINT_VALUES) == 12


def test_without_the_checkpoint_values_are_not_run(tmp_path):
    rows, summary = table(tmp_path, None)
    assert summary == (
        f"{ALL} published values: 0 agrees, 0 differs, 0 undecided, 0 by construction, 0 not comparable, {ALL} not run"
    )
    assert {(row["verdict"], row["reason"], row["ours"]) for row in rows.values()} == {
        ("not run", "qwen3 was not run", "")
    }
    assert rows["lower median distance"]["published"] == "1.2463527918"
    assert rows["zero pairs"]["published_conditions"] == (
        "Qwen3-4B-Instruct-2507, lat -15 to 5, lon -10 to 20, r 0.2 to 0.5, edges ≤ 0.002"
    )


def test_the_same_numbers_agree(tmp_path):
    rows, summary = table(tmp_path, write(tmp_path))
    assert summary.startswith(f"{ALL} published values: 12 agrees, 0 differs, ")
    assert summary.endswith(f", {ALL - 12} not run")
    found = {(row["verdict"], row["difference"], row["low"], row["high"]) for row in rows.values()}
    assert found == {("agrees", "0", "0", "0")}
    assert (rows["edges"]["margin"], rows["mean distance"]["margin"]) == ("0", "5.9915602205e-06")
    conditions = "151,936 × 2,560 bfloat16, lat -15 to 5, lon -10 to 20, r 0.2 to 0.5, edges ≤ 0.002"
    assert rows["edges"]["our_conditions"] == conditions
    assert rows["largest component"]["ours"] == "2212"


def test_counts_have_to_be_equal_and_distances_close(tmp_path):
    median = PUBLISHED["lower median"]
    rows, _ = table(tmp_path, write(tmp_path, **{"edges": 2_445_367, "lower median": median * (1 + 4e-6)}))
    assert (rows["edges"]["verdict"], rows["edges"]["difference"]) == ("differs", "1")
    assert rows["lower median distance"]["verdict"] == "agrees"
    rows, _ = table(tmp_path, write(tmp_path, census={"hole_tokens": 2_099}, **{"lower median": median * (1 + 6e-6)}))
    assert (rows["tokens in black holes"]["verdict"], rows["tokens in black holes"]["difference"]) == ("differs", "-1")
    assert rows["lower median distance"]["verdict"] == "differs"


def test_another_box_or_threshold_leaves_the_census_comparable(tmp_path):
    rows, _ = table(tmp_path, write(tmp_path, box=BOX | {"r": [0.2, 0.6]}, threshold=0.003))
    of_census = {value.quantity for value in CHECKPOINT_VALUES if value.file == "census"}
    assert {row["verdict"] for name, row in rows.items() if name in of_census} == {"agrees"}
    reason = "box lat -15 to 5, lon -10 to 20, r 0.2 to 0.6, published lat -15 to 5, lon -10 to 20, r 0.2 to 0.5; "
    reason += "threshold 0.003, published 0.002"
    assert {(row["verdict"], row["reason"]) for name, row in rows.items() if name not in of_census} == {
        ("not comparable", reason)
    }


def test_another_matrix_is_not_comparable(tmp_path):
    rows, _ = table(tmp_path, write(tmp_path, census={"tokens": 151_000, "dtype": "float16"}))
    reason = "tokens 151,000, published 151,936; dtype float16, published bfloat16"
    assert {(row["verdict"], row["reason"]) for row in rows.values()} == {("not comparable", reason)}


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("census", "{}", "census.json: cannot be read"),
        ("census", "none", "census.json: cannot be read"),
        ("overdensity", "statistic,value\nedges,3\n", "o.csv: no 'threshold'; expected"),
        ("overdensity", "statistic,value\nthreshold,0.002\n", "o.csv: no 'tokens'; expected"),
        ("sphere", "none", "s.safetensors: not a complete safetensors file"),
    ],
)
def test_bad_files_are_named(tmp_path, kind, text, words):
    files = write(tmp_path)
    Path(files[kind]).write_text(text)
    with pytest.raises(UserError) as caught:
        table(tmp_path, files)
    assert words in str(caught.value)
    assert not (tmp_path / "reproduction.csv").exists()


@pytest.mark.parametrize("ran", [False, True])
def test_the_figure_shows_what_was_not_run(tmp_path, ran):
    table(tmp_path, write(tmp_path, edges=2_445_367) if ran else None)
    drawing = figure.from_files(SimpleNamespace(table=str(tmp_path / "reproduction.csv")), {})
    texts = [text.get_text() for text in drawing.findobj(Text) if text.get_text()]
    assert "qwen3" in texts
    assert {"207,519,378", "1.2463528", "agrees (11)", "differs (1)"} <= set(texts) or not ran
    assert ("+∞" in texts) == ran
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a layout that fails
        style.save(drawing, tmp_path / "figure.png", dpi=50)
