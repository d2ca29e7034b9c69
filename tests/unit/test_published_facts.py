"""The published facts as data, and the overlays that repeat their conditions."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from blackholes.config import model as config
from blackholes.reproduction import comparison, published
from blackholes.reproduction.measures import MEASURES
from blackholes.reproduction.published import CONDITIONS, QUANTITIES, RUNNABLE, VALUES
from snakemake.utils import update_config

ROOT = Path(__file__).parents[2]
TEXT = {"tokens of the text", "dead tokens", "training windows", "parameters of the model"}  # no run is measured
NOT_MEASURED = {"vector-steps an increase", "Cohen's d of the two starts"}  # by construction, of other rows


def value(experiment, quantity, step):
    (found,) = (v for v in VALUES if (v.experiment, v.quantity, v.step) == (experiment, quantity, step))
    return found


# --- the data


def test_every_value_has_its_quantity_condition_and_source():
    assert {v.quantity for v in VALUES} == set(QUANTITIES)
    assert {v.experiment for v in VALUES} - {published.CORPUS} == set(CONDITIONS)
    for v in VALUES:
        assert v.source.count(" @ ") == 1, v
        assert v.form in ("mean", "runs", "curve")
        assert v.by_construction == "" or v.missing == ""
        assert v.runs == len(v.values) if v.form == "runs" else v.runs >= 1
        assert len(v.values) == {"curve": len(v.points), "mean": 1, "runs": v.runs}[v.form] or v.missing
        if v.experiment != published.CORPUS:
            assert v.last <= CONDITIONS[v.experiment].steps
    assert len({(v.experiment, v.quantity, v.step, v.source) for v in VALUES}) == len(VALUES)


def test_what_is_judged_has_a_measure_and_a_margin_with_a_reason():
    judged = {v.quantity for v in VALUES if not v.by_construction and not v.missing}
    assert judged <= set(MEASURES)
    for name in judged:
        assert QUANTITIES[name].margin > 0, name
        assert QUANTITIES[name].why, name
    for name in set(QUANTITIES) - judged:
        assert math.isnan(QUANTITIES[name].margin), name
    constructed = {v.quantity for v in VALUES if v.by_construction}
    assert constructed - set(MEASURES) == TEXT | NOT_MEASURED


def test_margins_are_absolute_or_a_share_of_the_published_value():
    loss = QUANTITIES["training loss"]
    assert loss.relative
    assert loss.margin_of(-2.0) == loss.margin_of(2.0) == 2 * loss.margin
    assert QUANTITIES["black holes"].margin_of(50.0) == QUANTITIES["black holes"].margin


def test_curves_have_their_steps():
    loss = value("one_point", "training loss", "100-5000")
    assert loss.points == list(range(100, 5001, 100))
    assert (loss.values[0], loss.values[-1]) == (3.4545, 2.8691)
    assert value("unit_point", "centroid norm", "100 500 1000 1500 5000").points == [100, 500, 1000, 1500, 5000]
    stage = value("sixteen", "mean tokens a black hole", "100-1000")
    assert (stage.first, stage.last, stage.points) == (100, 1000, [1000])
    assert value(published.CORPUS, "dead tokens", "").last == 0


def test_the_numbers_fit_together():
    """Sums and means that were printed of lists that were printed too."""
    holes = value("sixteen", "black holes", "1")
    assert holes.runs == 16
    assert np.mean(holes.values) == pytest.approx(value("sixteen", "mean of black holes", "1").values[0], abs=0.005)
    increases = value("sixteen", "increases of the number of black holes", "0-1000")
    assert sum(increases.values) == value("sixteen", "increases in all runs", "0-1000").values[0] == 95
    vectors = value("sixteen", "vector-steps an increase", "0-1000").values[0]
    assert vectors == pytest.approx(16 * 128 * 10_001 / 95, abs=1)
    words = ("distinct vectors", "duplicates")
    assert sum(value("unit_point", word, "5000").values[0] for word in words) == 128
    assert value(published.CORPUS, "training windows", "").values == (published.TOKENS - 128,)
    firsts = [value("noise_float32", "distinct vectors among dead tokens", step) for step in ("0", "999")]
    assert [(v.runs, v.spread) for v in firsts] == [(16, 8.5), (16, 7.1)]  # 16 seeds, each run twice


def test_the_facts_are_as_committed_files_have_them():
    """The module reads the files beside it, all rows, and the package data names them."""
    with open(published.FOLDER / "published.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(VALUES) == 158
    assert [path.is_file() for path in published.FILES] == [True] * 3


# --- the overlays


def overlaid(*overlays, **more):
    """The configuration with overlays of config/, and then `more`, laid over it as Snakemake does."""
    loaded = {}
    for name in ("config", *overlays):
        update_config(loaded, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text(encoding="utf-8")))
    update_config(loaded, more)
    return config.load(loaded)


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_overlay_has_the_published_conditions(name):
    loaded = overlaid("published")
    assert list(loaded.experiments) == RUNNABLE
    own, condition = loaded.experiments[name], CONDITIONS[name]
    assert comparison.other_settings(condition, own.shared_settings()) == []
    assert own.steps == condition.steps
    assert own.runs >= max(condition.runs, 4)
    assert own.seed(1) == int(condition.seeds.partition("-")[0])


def test_the_short_overlay_stops_early_on_the_published_schedule():
    loaded = overlaid("published", "published_short")
    assert list(loaded.experiments) == [name for name in RUNNABLE if name != "slowest"]
    for name, own in loaded.experiments.items():
        assert comparison.other_settings(CONDITIONS[name], own.shared_settings()) == []
        assert own.runs >= 4
        assert (own.schedule_steps or own.steps) == CONDITIONS[name].steps
    assert loaded.experiments["sixteen"].runs == 16


def test_the_short_overlay_is_within_its_time():
    """45 minutes of two cores, at the time of a step of the compiled engine on two cores that are both busy."""
    milliseconds = {1: 2.9, 16: 16, 32: 29, 64: 58}
    short = overlaid("published", "published_short").experiments.values()
    assert sum(own.runs * own.steps * milliseconds[own.batch_size] for own in short) / 1000 < 2 * 40 * 60


def test_arms_are_paired():
    """The same seeds, so the same points, weights and windows: what differs is what is compared."""
    for overlays in (["published"], ["published", "published_short"]):
        own = overlaid(*overlays).experiments
        for one, other in (("noise_float32", "noise_bfloat16"), ("wide_float32", "wide_bfloat16")):
            same = [e.model_dump(exclude={"init"}) for e in (own[one], own[other])]
            assert same[0] == same[1]
        slow = [own[f"slow_{name}"] for name in ("tokens", "float32", "bfloat16")]
        assert len({(each.base_seed, each.runs, each.steps) for each in slow}) == 1


def test_a_local_copy_of_the_text_replaces_the_url():
    own = {"source": "file", "url": None, "path": "text.txt", "encoding": "cp1252"}
    corpus = overlaid("published", corpus=own).corpus
    assert (corpus.name, corpus.url, corpus.path) == ("gatsby", None, "text.txt")


def test_names_of_ours_and_of_what_goes_on():
    assert published.experiment_of("sixteen") == published.experiment_of("sixteen_whole") == "sixteen"
    assert published.experiment_of("rmsnorm") is published.experiment_of("qwen") is None
