"""kill -9 of a job, and of Snakemake itself: the same command again ends with the same bytes."""

import os
import signal
import time

import pytest

TARGET = "results/normal/run_001/training_log.csv"
FOLDER = "results/normal/run_001"
LONG = "experiments: {normal: {steps: 30000}}\n"  # long enough to be killed in its middle


@pytest.fixture(scope="module")
def undisturbed(finished, tmp_path_factory):
    checkout = finished.copy(tmp_path_factory.mktemp("undisturbed"))
    checkout.path("overlay.yaml").write_text(LONG)
    checkout.run(TARGET, overlay="overlay.yaml", cores=1)
    return {name: digest for name, digest in checkout.digests().items() if name.startswith("normal/run_001/")}


def start(checkout):
    """Start the training; return Snakemake and the job's process id once it writes its history."""
    for name in ("embedding_evolution.safetensors", "training_log.csv"):
        checkout.path(f"{FOLDER}/{name}").unlink(missing_ok=True)
    checkout.path("overlay.yaml").write_text(LONG)
    process = checkout.start(TARGET, overlay="overlay.yaml", cores=1)
    pattern = ".embedding_evolution.safetensors.*.tmp"
    deadline = time.monotonic() + 120
    while not (found := list(checkout.path(FOLDER).glob(pattern))):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, int(found[0].suffixes[-2][1:])


def finals(checkout):
    return [
        name
        for name in ("embedding_evolution.safetensors", "training_log.csv")
        if checkout.path(f"{FOLDER}/{name}").exists()
    ]


def ends_the_same(checkout, expected):
    checkout.run(TARGET, overlay="overlay.yaml", cores=1)
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
    assert not [name for name in checkout.results() if name.endswith(".tmp")]


def test_a_killed_job_and_then_a_killed_snakemake_with_all_its_jobs(clone, undisturbed):
    snakemake, job = start(clone)
    os.kill(job, signal.SIGKILL)
    said, _ = snakemake.communicate(timeout=60)
    assert snakemake.returncode == 1
    assert "Error in rule train_run" in said
    assert finals(clone) == []

    snakemake, _ = start(clone)
    beside = clone.run(TARGET, overlay="overlay.yaml", cores=1, status=1)
    assert "cannot be locked" in beside.said  # a live one's lock holds
    os.killpg(snakemake.pid, signal.SIGKILL)
    snakemake.communicate(timeout=60)
    assert finals(clone) == []
    assert list(clone.path(".snakemake/locks").iterdir())
    ends_the_same(clone, undisturbed)  # no --unlock


def test_a_killed_snakemake_whose_job_lives_on(clone, undisturbed):
    """The job that is left alone and the one that a second call starts write the same file, each its own."""
    snakemake, job = start(clone)
    os.kill(snakemake.pid, signal.SIGKILL)
    snakemake.wait(timeout=60)
    ends_the_same(clone, undisturbed)
    assert not os.path.exists(f"/proc/{job}") or os.kill(job, signal.SIGKILL) is None
