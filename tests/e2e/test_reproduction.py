"""The published experiments, tiny: the table and the figure through Snakemake, and what is said without them."""

import csv

import pytest
import yaml

OVERLAY = """
experiment_defaults: {target_offset: 2, loss_divisor: tokens, init: {unit_norm: true}}
experiments:
  qwen: false
  normal: false
  one_point: {runs: 1, steps: 100, init: {unit_norm: false, norm: 8.2}}
  sixteen: {runs: 2, steps: 5, schedule_steps: 20}
  sixteen_whole: {runs: 1, steps: 20, schedule_steps: 20}
  noise_float32: {runs: 1, steps: 5, init: {mode: noise, sigma: 1.0e-2}}
  noise_bfloat16: {runs: 1, steps: 5, init: {mode: noise, sigma: 1.0e-2, drawn_in: bfloat16}}
distances: {store: false}
"""
CSV, FIGURE = "results/reproduction.csv", "results/figures/reproduction"


@pytest.fixture(scope="module")
def reproduced(finished, tmp_path_factory):
    """A checkout in which the target has run, and the jobs of that call."""
    checkout = finished.clean(tmp_path_factory.mktemp("reproduced"))
    checkout.path("overlay.yaml").write_text(OVERLAY)
    return checkout, checkout.run("reproduction", overlay="overlay.yaml").jobs


def rows(checkout):
    with open(checkout.path(CSV), newline="", encoding="utf-8") as file:
        return {(row["experiment"], row["quantity"], row["step"]): row for row in csv.DictReader(file)}


def test_the_target_makes_the_table_and_the_figure_and_only_what_they_need(reproduced):
    checkout, jobs = reproduced
    assert jobs["reproduce"] == [CSV]
    assert jobs["reproduction_figure"] == [f"{FIGURE}.png", f"{FIGURE}.svg"]
    others = {"prepare_corpus", "black_holes", "reproduce", "reproduction_figure"}
    assert {rule for rule in jobs if not rule.startswith("train")} == others
    assert checkout.path(f"{FIGURE}.png").read_bytes().startswith(b"\x89PNG")
    assert b"sixteen" in checkout.path(f"{FIGURE}.svg").read_bytes()


def test_the_table_is_of_these_runs(reproduced):
    """Of another text and another schedule, so nothing is judged."""
    checkout, _ = reproduced
    found = rows(checkout)
    assert {row["verdict"] for row in found.values()} == {"by construction", "not comparable", "not run"}
    assert {key[0] for key in found} > {"corpus", "one_point", "sixteen", "rmsnorm", "qwen3"}
    reasons = found["sixteen", "black holes", "1"]["reason"]
    for reason in ("other data: ", "schedule over 20 steps, published 10,000", "batch_size 4, published 64"):
        assert reason in reasons
    assert found["sixteen", "largest black hole", "10000"]["reason"] == "step 10,000 was not run, the last is 5"
    start = found["sixteen", "black holes", "0"]
    assert (start["ours"], start["ours_std"], start["runs"]) == ("1", "0", "2")
    assert start["our_conditions"].startswith("2 runs of 5 steps (of a schedule of 20), batch 4, seeds 43-44, ")
    assert 3 < float(found["one_point", "training loss", "100-5000"]["ours"]) < 5
    assert found["one_point", "mean token norm", "0"]["ours"].startswith("8.2")
    measured = {key[1] for key, row in found.items() if row["ours"]}
    assert {"dead tokens", "distinct vectors among dead tokens"} < measured


def test_nothing_is_left_to_do(reproduced):
    checkout, _ = reproduced
    assert checkout.plan("reproduction", overlay="overlay.yaml").jobs == {}


@pytest.mark.slow
def test_the_report_shows_both(reproduced, tmp_path):
    """With one of the published experiments alone, which is enough for the whole workflow to include them."""
    checkout = reproduced[0].copy(tmp_path / "clone")
    alone = yaml.safe_load(OVERLAY)
    alone["experiments"] |= dict.fromkeys(["one_point", "sixteen", "sixteen_whole", "noise_float32"], False)
    checkout.path("overlay.yaml").write_text(yaml.safe_dump(alone))
    ran = checkout.run(overlay="overlay.yaml")
    assert {"reproduce", "reproduction_figure", "report"} < set(ran.jobs)
    assert rows(checkout)["sixteen", "black holes", "1"]["reason"] == "sixteen was not run"
    page = checkout.path("results/report.html").read_text(encoding="utf-8")
    for text in ('"Reproduction"', "reproduction.csv", "reproduction.png", "published values beside ours"):
        assert text in page, text


@pytest.mark.parametrize("target", ["reproduction", CSV, f"{FIGURE}.svg"])
def test_without_a_published_experiment_it_says_which_overlay_to_give(fresh, target):
    said = fresh.run(target, status=1).said
    line = said.splitlines()[-1]
    assert line.startswith("reproduction: none of the published experiments (one_point, ")
    assert line.endswith("is configured; add --configfile config/published.yaml")
    assert "Traceback" not in said


def test_the_whole_workflow_is_without_it_then(fresh):
    assert not {"reproduce", "reproduction_figure"} & set(fresh.plan().jobs)
