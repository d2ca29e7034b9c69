"""Targets by name and by file, and what must not change a byte: cores, folder, stored distances or not."""

import re

import pytest
from e2e.checkout import same_but_for_threads, tensors

RUN = "results/qwen/run_002"
JOBS = {
    "corpus": "prepare_corpus",
    "train": "train_run",
    "distances": "run_distances",
    "black_holes": "run_black_holes",
}


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
        ("train", {"prepare_corpus", "train_run", "train_run_hdf5"}),
        ("distances", {"prepare_corpus", "train_run", "run_distances"}),
        (
            "black_holes",
            {
                *("prepare_corpus", "train_run", "train_run_hdf5", "run_distances"),
                *("run_black_holes", "run_graphs", "summarise"),
            },
        ),
    ],
)
def test_targets_by_name(fresh, target, rules):
    assert set(fresh.plan(target).jobs) == rules


@pytest.mark.parametrize("target", ["figures", "report"])
def test_the_last_targets_ask_for_all_that_they_show(fresh, target):
    jobs = fresh.plan(target).jobs
    assert len([rule for rule in jobs if rule.startswith("figure_")]) == 9
    assert ("snowball_figures" in jobs) == (target == "report")
    assert ("write_report" in jobs) == (target == "report")


def test_resources_and_threads_are_set_by_the_names_of_targets(fresh):
    memory = {target: 701 + number for number, target in enumerate(JOBS)}
    arguments = [f"{target}:mem_mb={mb}" for target, mb in memory.items()]
    threads = [f"{target}=2" for target in JOBS]
    said = fresh.plan("black_holes", "--set-resources", *arguments, "--set-threads", *threads).said
    for target, rule in JOBS.items():
        job = re.search(rf"^rule {rule}:\n(?:    .*\n)*", said, re.MULTILINE)[0]
        assert f"mem_mb={memory[target]}" in job
        assert "threads: 2" in job


def test_one_run_alone_builds_only_what_it_needs(alone):
    _, jobs = alone
    assert jobs == {
        "prepare_corpus": [
            f"results/corpus/builtin/{name}" for name in ("tokenizer.json", "tokens.csv", "tokens.safetensors")
        ],
        "train_run": sorted(
            f"{RUN}/{name}"
            for name in (
                "embedding_evolution.safetensors",
                "training_log.csv",
                "model/config.json",
                "model/model.safetensors",
            )
        ),
        "run_black_holes": [
            f"{RUN}/{name}"
            for name in ("black_hole_counts.safetensors", "events.csv", "geometric_time_series.safetensors")
        ],
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
    unequal = [name for name in made if made[name] != expected[name]]
    # jobs of two threads have run with one, and say so
    assert all(name.endswith(("pairwise_distances.safetensors", "graph_statistics.safetensors")) for name in unequal)
    for name in unequal:
        assert same_but_for_threads(finished.path(f"results/{name}"), checkout.path(f"results/{name}"))


def test_distances_that_are_not_stored_give_the_same_graphs(finished, alone):
    checkout, _ = alone
    checkout.path("overlay.yaml").write_text("distances: {store: false}\n")
    name = f"{RUN}/graph_statistics.safetensors"
    assert set(checkout.run(name, overlay="overlay.yaml").jobs) == {"run_graphs"}
    assert tensors(checkout.path(name)) == tensors(finished.path(name))
    assert not checkout.path(f"{RUN}/pairwise_distances.safetensors").exists()
    assert "run_distances" not in checkout.plan(overlay="overlay.yaml").jobs
