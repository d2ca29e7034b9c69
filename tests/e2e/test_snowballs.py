"""Snowballs through Snakemake: around the hole that a run made, a σ more, and what is refused."""

import csv

import torch
from blackholes.kernels import snowball
from safetensors import safe_open
from safetensors.torch import save_file

FOLDER = "results/snowballs/trained"


def table(checkout, name):
    with open(checkout.path(f"{FOLDER}/{name}"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_sweep_around_the_hole_of_a_run(finished):
    """The default checkpoint is qwen/run_001, whose dead tokens are one hole; tiny.yaml asks for two σ."""
    trials = table(finished, "trials.csv")
    assert list(trials[0]) == ["sigma", "trial_id", *snowball.STATISTICS, "label"]
    trials = [row for row in trials if row["label"] != "permutation"]
    with safe_open(
        finished.path("results/checkpoints/trained/black_hole_centroid.safetensors"), framework="pt"
    ) as file:
        tokens, spread = int(file.get_tensor("n_tokens")), float(file.get_tensor("sigma_global"))
        populations = file.get_tensor("populations").tolist()
    assert sorted({float(row["sigma"]) for row in trials}) == sorted([0.001, spread])
    assert [row["trial_id"] for row in trials] == ["0", "1", "2", "3", "4"] * 2
    assert {row["n_tokens"] for row in trials} == {str(tokens)} == {str(sum(populations))}
    scores = {(row["label"], row["statistic"]): row for row in table(finished, "z_scores.csv")}
    assert len(scores) == 3 * 20
    facts = {row["quantity"]: row["value"] for row in table(finished, "permutation_test.csv")}
    assert facts["tokens"] == scores["permutation", "n_tokens"]["checkpoint"]
    assert ("joint_p" in facts) != ("not_tested" in facts)
    assert scores["global", "n_black_holes"]["checkpoint"] == str(len(populations))
    assert scores["global", "largest_bh"]["checkpoint"] == str(max(populations))


def test_a_sigma_more_runs_that_sigma_and_what_puts_them_together(clone):
    before = {label: clone.path(f"{FOLDER}/sigmas/{label}.csv").stat().st_mtime_ns for label in ("global", "0.001")}
    clone.path("overlay.yaml").write_text("snowballs: {trained: {sigma: [global, 0.001, within]}}\n")
    ran = clone.run("snowballs", overlay="overlay.yaml")
    assert ran.jobs["snowball_trials"] == [f"{FOLDER}/sigmas/within.csv"]
    assert set(ran.jobs) == {"snowball_trials", "snowball_sweep", "snowball_figures"}
    assert {label: clone.path(f"{FOLDER}/sigmas/{label}.csv").stat().st_mtime_ns for label in before} == before
    assert len([row for row in table(clone, "trials.csv") if row["label"] != "permutation"]) == 15
    assert {row["label"] for row in table(clone, "z_scores.csv")} == {"global", "0.001", "within", "permutation"}
    assert "snowball_trials trained/within: trial 5/5" in ran.said


def test_a_centroid_of_ones_own_and_what_it_lacks(fresh):
    """No checkpoint, no training: nothing but this sweep runs, and a σ that only a checkpoint has is refused."""
    save_file({"centroid": torch.linspace(-1, 1, 8)}, fresh.path("mine.safetensors"))
    settings = "centroid: mine.safetensors, n_tokens: 20, n_trials: 3"
    fresh.path("overlay.yaml").write_text(f"snowballs: {{mine: {{{settings}, sigma: [0.01, 0, within]}}}}\n")
    ran = fresh.run("results/snowballs/mine/trials.csv", overlay="overlay.yaml", status=1)
    assert set(ran.jobs) == {"snowball_trials"}
    line = "mine.safetensors: no tensor 'sigma_within', which sigma: within asks for; expected a number"
    assert len([text for text in ran.said.splitlines() if line in text and "error" in text]) == 1
    assert "Traceback" not in ran.said
    assert fresh.results("logs/", "benchmarks/") == ["snowballs/mine/sigmas/0.01.csv", "snowballs/mine/sigmas/0.csv"]
    fresh.path("overlay.yaml").write_text(f"snowballs: {{mine: {{{settings}, sigma: [0.01, 0]}}}}\n")
    ran = fresh.run("results/snowballs/mine/figures/z_scores.png", overlay="overlay.yaml")
    assert set(ran.jobs) == {"snowball_sweep", "snowball_figures"}
