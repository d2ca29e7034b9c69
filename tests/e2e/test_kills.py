"""kill -9 of a job, and of Snakemake itself: the same command again ends with the same bytes."""

import os
import signal
import time
from pathlib import Path

import pytest

TARGET = "results/normal/run_001/training_log.csv"
FOLDER = "results/normal/run_001"
# long enough to be killed in its middle
LONG = "overwrite: true\nexperiments: {normal: {steps: 6000}}\ntraining: {checkpoint_seconds: 0.2}\n"
STATE = f"{FOLDER}/.training_state.safetensors"


@pytest.fixture(scope="module")
def undisturbed(finished, tmp_path_factory):
    checkout = finished.copy(tmp_path_factory.mktemp("undisturbed"))
    checkout.path("overlay.yaml").write_text(LONG)
    checkout.run(TARGET, overlay="overlay.yaml", cores=1)
    return {name: digest for name, digest in checkout.digests().items() if name.startswith("normal/run_001/")}


def start(checkout, *arguments):
    """Start the training; return Snakemake and the job's process id once it has saved a state of its own."""
    for name in ("embedding_evolution.safetensors", "training_log.csv"):
        checkout.path(f"{FOLDER}/{name}").unlink(missing_ok=True)
    checkout.path("overlay.yaml").write_text(LONG)
    process = checkout.start(TARGET, *arguments, overlay="overlay.yaml", cores=1)
    state, deadline = checkout.path(STATE), time.monotonic() + 120
    before = state.stat().st_ino if state.exists() else None
    while not state.exists() or state.stat().st_ino == before:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (job,) = [pid for pid in descendants(process.pid) if name_of(pid) == "train"]
    return process, job


def descendants(pid):
    """Process ids of the children of a process, and of theirs."""
    children = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        children += map(int, (thread / "children").read_text().split())
    return children + [below for child in children for below in descendants(child)]


def name_of(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def finals(checkout):
    return [
        name
        for name in ("embedding_evolution.safetensors", "training_log.csv")
        if checkout.path(f"{FOLDER}/{name}").exists()
    ]


def ends_the_same(checkout, expected):
    """The same command goes on where the last state was saved, and leaves what was to be made and nothing else."""
    said = checkout.run(TARGET, overlay="overlay.yaml", cores=1).said
    is_the_same(checkout, expected, said)


def is_the_same(checkout, expected, said):
    assert "resumes after step " in said
    digests = checkout.digests()
    files = [
        f"normal/run_001/{name}"
        for name in (
            "embedding_evolution.safetensors",
            "training_log.csv",
            "model/config.json",
            "model/model.safetensors",
        )
    ]
    assert {name: digests[name] for name in files} == {name: expected[name] for name in files}
    assert not [name for name in checkout.results() if "/." in name]


def test_a_killed_job_and_then_a_killed_snakemake_with_all_its_jobs(clone, undisturbed):
    snakemake, job = start(clone)
    os.kill(job, signal.SIGKILL)
    said, _ = snakemake.communicate(timeout=60)
    assert snakemake.returncode == 1
    assert "Error in rule train:" in said
    assert finals(clone) == []

    snakemake, _ = start(clone)
    beside = clone.run(TARGET, overlay="overlay.yaml", cores=1, status=1)
    assert "cannot be locked" in beside.said  # a live one's lock holds
    os.killpg(snakemake.pid, signal.SIGKILL)
    snakemake.communicate(timeout=60)
    assert finals(clone) == []
    assert list(clone.path(".snakemake/locks").iterdir())
    ends_the_same(clone, undisturbed)  # no --unlock


@pytest.mark.slow
def test_a_job_ends_with_its_snakemake(clone, undisturbed):
    """Else it would put its result over that of a later call, which may have another configuration."""
    snakemake, job = start(clone)
    os.kill(snakemake.pid, signal.SIGKILL)
    snakemake.wait(timeout=60)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{job}"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ends_the_same(clone, undisturbed)


@pytest.mark.slow
def test_a_killed_job_that_snakemake_retries(clone, undisturbed):
    snakemake, job = start(clone, "--retries", "1")
    os.kill(job, signal.SIGKILL)
    said, _ = snakemake.communicate(timeout=300)
    assert snakemake.returncode == 0, said
    assert "Trying to restart job" in said
    is_the_same(clone, undisturbed, said)
