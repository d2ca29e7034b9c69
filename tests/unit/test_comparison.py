"""Experiments compared by pairs of runs with one seed: measures by hand, intervals by hand, and what is paired."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import write_tensors
from blackholes.config import model as config
from blackholes.errors import UserError
from blackholes.figures.runs import comparison as figure
from blackholes.runs import comparison

ROOT = Path(__file__).parents[2]
S, V, D = 6, 5, 3
DEAD = np.array([False, False, True, True, True])


def run_files(folder, losses, history, counts, labels):
    folder.mkdir(parents=True)
    paths = [folder / name for name in ("log.csv", "counts.safetensors", "history.safetensors", "tokens.safetensors")]
    rows = ((step, loss, 1.0, 0.1) for step, loss in enumerate(losses, 1))
    write_table(paths[0], ["step", "loss", "grad_norm", "learning_rate"], rows)
    series = {name: torch.tensor(values, dtype=torch.int32) for name, values in counts.items()}
    write_tensors(paths[1], series | {"labels": torch.tensor(labels, dtype=torch.int32)})
    write_tensors(paths[2], {"embedding_history": history.bfloat16()})
    write_tensors(
        paths[3], {"token_ids": np.zeros(4, np.uint8), "token_counts": np.zeros(V, np.int64), "dead_mask": DEAD}
    )
    return comparison.Files(*map(str, paths))


@pytest.fixture
def pairs(tmp_path):
    """Two pairs of runs, in which dead tokens move last at steps 4 and 2, and at 0 and 3."""
    files = {}
    for number, last in enumerate((4, 2, 0, 3)):
        history = torch.zeros(S, V, D)
        for step in range(S):
            history[step, :2] = step  # live tokens move always
            history[step, 3] = min(step, last)
        counts = {
            "counts": [1, 2, 2, 1 + number % 2, 1, 1],
            "populations": [5, 4, 4, 4, 3, 3 - number % 2],
            "largest_bh_size": [5, 3, 3, 3, 3, 3],
            "n_unique": [1, 3, 3, 3, 3, 3 + number],
        }
        labels = [[0] * V] * (S - 1) + [[0, 1, 2, 3 if last else 2, 2]]
        files[number] = run_files(tmp_path / str(number), [5.0 - number, 4, 3, 2, 1], history, counts, labels)
    return [("new", "old", [(files[0], files[1]), (files[2], files[3])])]


def table(path):
    with open(path, newline="") as file:
        return {(row["measure"], int(row["step"])): row for row in csv.DictReader(file)}


def test_measures_by_hand(pairs, tmp_path):
    comparison.write(pairs, [0, 1, 5, 10], str(tmp_path / "comparison.csv"), 1e-9)
    rows = table(tmp_path / "comparison.csv")
    series = {"black_holes", "population", "largest_hole", "distinct_vectors"}
    whole = {(name, 5) for name in ("last_increase", "dead_distinct", "dead_frozen")}
    assert set(rows) == {(name, step) for name in series for step in (0, 1, 5)} | {("loss", 1), ("loss", 5)} | whole
    expected = {  # means of new and of old
        ("loss", 1): ((5 + 3) / 2, (4 + 2) / 2),
        ("loss", 5): ((3 + 2.6) / 2, (2.8 + 2.4) / 2),
        ("distinct_vectors", 5): ((3 + 5) / 2, (4 + 6) / 2),
        ("population", 5): (3, 2),
        ("last_increase", 5): (1, 1),
        ("dead_frozen", 5): ((4 + 0) / 2, (2 + 3) / 2),
        ("dead_distinct", 5): ((2 + 1) / 2, 2),
    }
    for key, means in expected.items():
        row = rows[key]
        assert (row["experiment"], row["reference"], row["pairs"]) == ("new", "old", "2")
        assert (float(row["mean"]), float(row["reference_mean"])) == pytest.approx(means)
        assert float(row["difference"]) == pytest.approx(means[0] - means[1])
    assert (rows["population", 5]["low"], rows["population", 5]["high"]) == ("1.0", "1.0")
    assert float(rows["dead_frozen", 5]["low"]) == -3
    assert float(rows["dead_frozen", 5]["high"]) == 2
    again = tmp_path / "again.csv"
    comparison.write(pairs, [0, 1, 5, 10], str(again))
    assert again.read_bytes() == (tmp_path / "comparison.csv").read_bytes()


def test_intervals():
    """Of one pair none; of equal differences their value; else close to those of Student's t for many normal draws."""
    assert comparison.interval(np.array([3.0])) == ("", "")
    assert comparison.interval(np.full(4, 3.0)) == (3, 3)
    draws = np.random.default_rng(0).normal(1, 2, 400)
    low, high = comparison.interval(draws)
    half = 1.966 * draws.std(ddof=1) / 20
    assert (low, high) == pytest.approx((draws.mean() - half, draws.mean() + half), abs=0.03)
    low, high = comparison.interval(np.array([0.0, 0, 0, 0, 0, 1]))  # where BCa is not defined for some resamples
    assert 0 <= low <= high <= 1


def test_the_figure(pairs, tmp_path):
    class Inputs:
        comparison = tmp_path / "comparison.csv"

    comparison.write(pairs, [0, 5], str(Inputs.comparison))
    rows = table(Inputs.comparison)
    drawn = figure.from_files(Inputs, {})
    titles = {axes.get_title(loc="left"): axes for axes in drawn.axes if axes.get_visible()}
    assert len(titles) == 8
    axes = titles["last step at which a dead token moves"]
    assert axes.lines[0].get_xdata().tolist() == [-3, 2]
    assert axes.lines[1].get_xdata().tolist() == [float(rows["dead_frozen", 5]["difference"])]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["new − old, n = 2"]


# What is paired


def compared(experiments, **figures):
    removed = {"qwen": False, "normal": False, "thimble": False} | experiments
    overlay = {"experiments": removed, "checkpoints": {"trained": False}, "snowballs": {"trained": False}}
    return config.load(overlay | {"figures": figures}).comparisons()


def test_each_is_compared_with_the_first_of_its_corpus_and_steps():
    experiments = {
        "a": {"runs": 3},
        "b": {"runs": 2},
        "c": {"steps": 5},
        "d": {"steps": 5, "base_seed": 43},
        "e": {"base_seed": 100},  # no seed in common
        "f": {"corpus": {"name": "other", "training_part": 0.5}},
    }
    found = {names: runs for *names, runs in compared(experiments) for names in [tuple(names)]}
    assert set(found) == {("b", "a"), ("d", "c")}
    assert found["b", "a"] == [("run_001", "run_001"), ("run_002", "run_002")]
    assert found["d", "c"][0] == ("run_001", "run_002")  # run 1 of seed 44
    assert len(found["d", "c"]) == 15


def test_pairs_can_be_named():
    experiments = {"a": {"runs": 3}, "b": {"runs": 2}, "c": {"runs": 2}}
    assert [names for *names, _ in compared(experiments, compare=[["c", "b"]])] == [["c", "b"]]
    assert compared(experiments, compare=[]) == []


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (["a", "x"], "two of the experiments a, b, c, d"),
        (["a", "a"], "two of the experiments a, b, c, d"),
        (["b", "a"], "experiments with the same corpus and the same number of steps"),
        (["c", "a"], "experiments with at least two seeds in common"),
        (["d", "a"], "experiments with at least two seeds in common"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused(pair, expected):
    experiments = {"a": {}, "b": {"steps": 5}, "c": {"base_seed": 900}, "d": {"runs": 1}}
    with pytest.raises(UserError) as caught:
        compared(experiments, compare=[pair])
    assert str(caught.value) == f"figures.compare[0]: {pair} is not allowed; expected {expected}"


def test_differences_that_are_all_0_have_an_axis_around_0():
    """Not one of 1e-17, which matplotlib makes of the line at 0 in a panel beside others."""
    rows = [
        {"measure": measure, "step": 9, "experiment": f"e{pair}", "reference": "e", "pairs": 4}
        | dict.fromkeys(("difference", "low", "high"), pair * (measure == "loss"))
        for pair in range(20)
        for measure in ("loss", "distinct_vectors", "population", "largest_hole", "black_holes", "dead_distinct")
    ]
    axes = figure.draw(pd.DataFrame(rows)).axes
    assert [panel.get_xlim() for panel in axes[1:]] == [(-1, 1)] * 5
    assert axes[0].get_xlim()[1] > 19


def test_which_experiments_are_shown_side_by_side():
    """Those of the corpus with the most runs, wherever they stand: Snakemake puts an overlay's experiments first."""
    other = {"corpus": {"vocabulary": "bpe", "vocabulary_size": 300}, "steps": 100}
    for experiments, expected in (
        ({"large": other | {"runs": 1}, "a": {"runs": 2}, "b": {"runs": 2}}, ["a", "b"]),
        ({"a": {"runs": 2}, "large": other | {"runs": 3}, "b": {"runs": 2}}, ["a", "b"]),
        ({"a": {"runs": 2}, "large": other | {"runs": 3}}, ["large"]),
        ({"a": {"runs": 2}, "large": other | {"runs": 2}}, ["a"]),
        ({}, []),
    ):
        others = {"lattice": {}, "checkpoints": {}, "snowballs": {}}
        overlay = others | {"experiments": {"qwen": False, "normal": False} | experiments}
        assert config.load(overlay).side_by_side() == expected
    gatsby = yaml.safe_load((ROOT / "config/gatsby.yaml").read_text())
    gatsby["experiments"] |= yaml.safe_load((ROOT / "config/config.yaml").read_text())["experiments"]
    loaded = config.load(gatsby)
    assert loaded.side_by_side() == ["qwen", "normal"]
    assert next(iter(loaded.experiments)) == "qwen"  # whose model is the checkpoint `trained`; thimble's has no hole


@pytest.mark.parametrize(
    ("name", "experiments", "runs", "pairs"),
    [("precision", 5, 8, 4), ("freeze", 12, 4, 20)],
    ids=["precision", "freeze"],
)
def test_the_recipes(name, experiments, runs, pairs):
    """Every run is compared with the one of its seed; an experiment differs from its reference in one key."""
    loaded = config.load(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    assert len(loaded.experiments) == experiments
    assert {(it.runs, it.steps) for it in loaded.experiments.values()} == {(runs, 3000)}
    found = loaded.comparisons()
    assert len(found) == pairs
    keys = ("rounding", "compensation", "precision", "learning_rate", "weight_decay", "schedule")
    for one, other, paired in found:
        assert paired == [(f"run_{run:03d}",) * 2 for run in range(1, runs + 1)]
        a, b = (loaded.experiments[it].shared_settings() for it in (one, other))
        assert [key for key in a if a[key] != b[key]] == [key for key in keys if a[key] != b[key]]
        assert sum(a[key] != b[key] for key in keys) == 1
