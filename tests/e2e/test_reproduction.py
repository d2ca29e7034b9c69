"""The published experiments, tiny: the table and the figure through Snakemake, and what is said without them."""

import csv

import pytest
import yaml

OVERLAY = """
experiment_defaults: {target_offset: 2}
experiments:
  qwen: false
  normal: false
  published_one: {runs: 1, steps: 100}
  published_sixteen: {runs: 2, steps: 5, schedule_steps: 20}
  noise_float32: {runs: 1, steps: 5, init: {mode: noise, sigma: 1.0e-2, unit_norm: true}}
  noise_bfloat16: {runs: 1, steps: 5, init: {mode: noise, sigma: 1.0e-2, unit_norm: true, drawn_in: bfloat16}}
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
        return {(row["quantity"], row["experiment"], row["step"]): row for row in csv.DictReader(file)}


def test_the_target_makes_the_table_and_the_figure_and_only_what_they_need(reproduced):
    checkout, jobs = reproduced
    assert jobs["reproduce"] == [CSV]
    assert jobs["reproduction_figure"] == [f"{FIGURE}.png", f"{FIGURE}.svg"]
    others = {"prepare_corpus", "black_holes", "reproduce", "reproduction_figure"}
    assert {rule for rule in jobs if not rule.startswith("train")} == others
    assert checkout.path(f"{FIGURE}.png").read_bytes().startswith(b"\x89PNG")
    assert b"published_sixteen" in checkout.path(f"{FIGURE}.svg").read_bytes()


def test_the_table_is_of_these_runs(reproduced):
    checkout, _ = reproduced
    found = rows(checkout)
    assert len(found) == 51
    assert {key[1] for key, row in found.items() if row["verdict"] == "not run"} == {"qwen3"}
    assert {row["verdict"] for key, row in found.items() if key[1] != "qwen3"} == {"not comparable"}
    reasons = found["holes", "published_sixteen", "1"]["reason"]
    for reason in ("other data: ", "schedule over 20 steps, published 10,000", "batch_size 4, published 64"):
        assert reason in reasons
    assert "step 10,000 was not run, the last is 5" in found["largest hole", "published_sixteen", "10000"]["reason"]
    start = found["holes", "published_sixteen", "0"]
    assert (start["ours"], start["ours_std"], start["runs"]) == ("1.0", "0.0", "2")
    assert start["our_conditions"].startswith("2 runs of 5 steps (of a schedule of 20), batch 4, ")
    assert 3 < float(found["mean loss of 100 steps", "published_one", "100"]["ours"]) < 5
    measured = {key[0] for key, row in found.items() if row["ours"]}
    assert {"token norm", "dead tokens", "distinct vectors among dead tokens"} < measured


def test_nothing_is_left_to_do(reproduced):
    checkout, _ = reproduced
    assert checkout.plan("reproduction", overlay="overlay.yaml").jobs == {}


@pytest.mark.slow
def test_the_report_shows_both(reproduced, tmp_path):
    """With one of the published experiments alone, which is enough for the whole workflow to include them."""
    checkout = reproduced[0].copy(tmp_path / "clone")
    alone = yaml.safe_load(OVERLAY)
    alone["experiments"] |= dict.fromkeys(["published_one", "published_sixteen", "noise_float32"], False)
    checkout.path("overlay.yaml").write_text(yaml.safe_dump(alone))
    ran = checkout.run(overlay="overlay.yaml")
    assert {"reproduce", "reproduction_figure", "report"} < set(ran.jobs)
    assert rows(checkout)["holes", "published_sixteen", "1"]["reason"] == "published_sixteen was not run"
    page = checkout.path("results/report.html").read_text(encoding="utf-8")
    for text in ('"Reproduction"', "reproduction.csv", "reproduction.png", "published values beside ours"):
        assert text in page, text


@pytest.mark.parametrize("target", ["reproduction", CSV, f"{FIGURE}.svg"])
def test_without_a_published_experiment_it_says_which_overlay_to_give(fresh, target):
    said = fresh.run(target, status=1).said
    line = said.splitlines()[-1]
    assert line.startswith("reproduction: none of the published experiments (published_one, ")
    assert line.endswith("is configured; add --configfile config/published.yaml")
    assert "Traceback" not in said


def test_the_whole_workflow_is_without_it_then(fresh):
    assert not {"reproduce", "reproduction_figure"} & set(fresh.plan().jobs)
