"""How many runs share a training job changes neither a byte nor a target, and reruns nothing."""

import re

import pytest

RUNS = "experiments: {qwen: {runs: 4}, thimble: false}\n"
NOTHING = "Nothing to be done"


def packed(checkout, runs_per_job, more=""):
    name = f"packed_{runs_per_job}.yaml"
    checkout.path(name).write_text(f"{RUNS}training: {{runs_per_job: {runs_per_job}{more}}}\n")
    return name


def trained(checkout):
    return {name: digest for name, digest in checkout.digests("corpus/").items() if name.startswith("qwen/")}


@pytest.fixture(scope="module")
def alone(finished, tmp_path_factory):
    """A checkout in which four runs were trained, a job each."""
    checkout = finished.clean(tmp_path_factory.mktemp("alone"))
    jobs = checkout.run("histories", overlay=packed(checkout, 1)).jobs
    assert len(jobs["train"]) == 4 * 4 + 4
    return checkout


@pytest.mark.parametrize(
    ("runs_per_job", "jobs"),
    [
        (2, {"train_qwen_001_002", "train_qwen_003_004"}),
        pytest.param(3, {"train_qwen_001_003", "train"}, marks=pytest.mark.slow),
        (4, {"train_qwen_001_004"}),
    ],
)
def test_a_runs_bytes_are_the_same(alone, tmp_path, runs_per_job, jobs):
    checkout = alone.clean(tmp_path / "packed")
    ran = checkout.run("histories", overlay=packed(checkout, runs_per_job))
    assert {rule for rule in ran.jobs if "qwen" in rule or runs_per_job == 3} - {"prepare_corpus"} == jobs
    assert trained(checkout) == trained(alone)
    assert [name for name in checkout.results() if "/." in name] == []
    for run in ("run_001", "run_002"):
        assert f"{run} · step 30/30" in ran.said


def test_going_from_one_packing_to_another_reruns_nothing(alone, finished):
    for runs_per_job in (2, 4, "auto"):
        assert NOTHING in alone.plan("histories", overlay=packed(alone, runs_per_job)).said


def test_one_run_of_a_pack_is_a_target_and_so_is_one_more(fresh):
    overlay = packed(fresh, 2)
    jobs = fresh.plan("results/qwen/run_003/training_log.csv", overlay=overlay).jobs
    assert set(jobs) == {"prepare_corpus", "train_qwen_003_004"}
    jobs = fresh.plan("results/qwen/run_005/training_log.csv", overlay=overlay).jobs
    assert set(jobs) == {"prepare_corpus", "train"}


@pytest.mark.parametrize(("device", "rule"), [("cuda", "train_qwen_001_004"), ("cpu", "train")])
def test_auto_is_all_runs_on_a_gpu_and_one_on_a_cpu(fresh, device, rule):
    overlay = packed(fresh, "auto", f", device: {device}")
    said = fresh.plan("histories", overlay=overlay, cores=4).said
    job = re.search(rf"^rule {rule}:\n(?:    .*\n)*", said, re.MULTILINE)[0]
    assert f"gpu={int(device == 'cuda')}" in job
    assert "threads" not in job  # one: a GPU needs no more, and on a CPU a run has one


def test_threads_of_packs(fresh):
    overlay = packed(fresh, 4)
    plan = fresh.plan("histories", "--set-resources", "train_qwen_001_004:mem_mb=777", overlay=overlay, cores=16).said
    job = re.search(r"^rule train_qwen_001_004:\n(?:    .*\n)*", plan, re.MULTILINE)[0]
    assert "mem_mb=777" in job
    assert "threads: 4" in job  # one for each run
