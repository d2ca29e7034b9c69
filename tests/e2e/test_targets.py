"""Targets by name and by file, and what must not change a byte: cores, folder, stored distances or not."""

import re

import h5py
import pytest
import torch
from e2e.checkout import tensors

RUN = "results/qwen/run_002"
JOBS = ["prepare_corpus", "train", "distances", "black_holes"]


@pytest.fixture(scope="module")
def alone(finished, tmp_path_factory):
    """A checkout in another folder in which one run was asked for, with one core, and what that call said."""
    checkout = finished.clean(tmp_path_factory.mktemp("alone"))
    ran = checkout.run(f"{RUN}/black_hole_counts.safetensors", cores=1)
    return checkout, ran.jobs


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("corpus", {"prepare_corpus"}),
        ("histories", {"prepare_corpus", "train"}),
        ("matrices", {"prepare_corpus", "train", "distances"}),
        ("statistics", {"prepare_corpus", "train", "black_holes", "summarise", "lineage", "lineages"}),
    ],
)
def test_targets_by_name(fresh, target, rules):
    assert set(fresh.plan(target).jobs) == rules


@pytest.mark.parametrize("target", ["figures", "report"])
def test_the_last_targets_ask_for_all_that_they_show(fresh, target):
    jobs = fresh.plan(target).jobs
    assert {"experiment_figures", "hole_members", "lineage_figure", "experiments_figure"} < set(jobs)
    assert ("snowball_figures" in jobs) == (target == "report")
    assert ("report" in jobs) == (target == "report")


def test_resources_and_threads_are_set_by_the_names_of_jobs(fresh):
    memory = {job: 701 + number for number, job in enumerate(JOBS)}
    arguments = [f"{job}:mem_mb={mb}" for job, mb in memory.items()]
    threads = [f"{job}=2" for job in JOBS]
    plan = fresh.plan("statistics", "matrices", "--set-resources", *arguments, "--set-threads", *threads).said
    for job in JOBS:
        block = re.search(rf"^rule {job}:\n(?:    .*\n)*", plan, re.MULTILINE)[0]
        assert f"mem_mb={memory[job]}" in block
        assert "threads: 2" in block


def test_one_run_alone_builds_only_what_it_needs(alone):
    _, jobs = alone
    assert jobs == {
        "prepare_corpus": [
            f"results/corpus/builtin/{name}" for name in ("tokenizer.json", "tokens.csv", "tokens.safetensors")
        ],
        "train": sorted(
            f"{RUN}/{name}"
            for name in (
                "embedding_evolution.safetensors",
                "training_log.csv",
                "model/config.json",
                "model/model.safetensors",
            )
        ),
        "black_holes": sorted(
            f"{RUN}/{name}"
            for name in (
                "black_hole_counts.safetensors",
                "events.csv",
                "geometric_time_series.safetensors",
                "graph_statistics.safetensors",
            )
        ),
    }


def test_a_run_beyond_those_configured_is_a_target_too(alone):
    checkout, _ = alone
    checkout.run("results/qwen/run_007/training_log.csv")
    assert checkout.path("results/qwen/run_007/model/model.safetensors").exists()


def test_one_core_in_another_folder_gives_the_same_bytes(finished, alone):
    """One experiment to its table and a figure, and of the other the run that is there."""
    checkout, _ = alone
    checkout.run("results/normal/summary.csv", "results/normal/figures/loss_curves.png", cores=1)
    made = {name: digest for name, digest in checkout.digests().items() if "run_007" not in name}
    expected = finished.digests()
    assert {"qwen/run_002/model/model.safetensors", "normal/summary.csv", "normal/figures/loss_curves.svg"} < set(made)
    assert {name: digest for name, digest in made.items() if digest != expected[name]} == {}


def test_distances_that_are_not_stored(alone):
    checkout, _ = alone
    checkout.path("overlay.yaml").write_text("distances: {store: false}\n")
    jobs = checkout.plan(overlay="overlay.yaml").jobs
    assert "distances" not in jobs
    assert "black_holes" in jobs


def test_an_hdf5_history_is_made_when_it_is_asked_for(alone):
    checkout, _ = alone
    checkout.run(f"{RUN}/embedding_evolution.h5", cores=1)
    with h5py.File(checkout.path(f"{RUN}/embedding_evolution.h5")) as file:
        bits, dead = torch.from_numpy(file["W"][:]), file["dead_mask"][:]
    history = tensors(checkout.path(f"{RUN}/embedding_evolution.safetensors"))["embedding_history"]
    assert bits.numpy().tobytes() == history[2]
    assert 0 < dead.sum() < len(dead)


def test_no_two_jobs_have_one_log_or_benchmark(fresh):
    """Records of jobs lie beside their logs, so one of two jobs would be judged by the record of the other."""
    fresh.path("overlay.yaml").write_text("snowballs: {trained: {sigma: [within, global, latent, 1.0e-3]}}\n")
    said = fresh.plan(overlay="overlay.yaml").said
    for kind in ("log", "benchmark"):
        files = re.findall(rf"^    {kind}: (\S+)", said, re.MULTILINE)
        assert len(files) > 40
        assert len(set(files)) == len(files)
