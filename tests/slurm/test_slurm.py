"""The whole workflow, tiny, through profiles/slurm on a real SLURM: the same bytes as here."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cluster as throwaway
from e2e.checkout import Checkout

PROFILE = ["--profile", "profiles/slurm", "--slurm-status-command", "squeue", "--latency-wait", "10"]
QUICK = ["--slurm-init-seconds-before-status-checks", "2"]
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(throwaway.missing() is not None, reason=str(throwaway.missing())),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with throwaway.cluster(tmp_path_factory.mktemp("slurm") / "cluster"):
        yield


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    checkout = Checkout.fresh(tmp_path_factory.mktemp("local"))
    checkout.run()
    return checkout


def finished_jobs():
    """Name and state of every job that the cluster has seen, and what trackable resources it was given."""
    listed = subprocess.run(
        ["squeue", "--noheader", "--states=all", "--format=%j|%T|%k"], check=True, capture_output=True, text=True
    )
    return [line.split("|") for line in listed.stdout.splitlines()]


def test_the_same_bytes_as_a_local_run(slurm, local, tmp_path):
    checkout = local.clean(tmp_path / "cluster")
    checkout.run(*PROFILE, *QUICK)
    jobs = finished_jobs()
    assert len(jobs) > 30
    assert {state for _, state, _ in jobs} == {"COMPLETED"}
    assert all(name.startswith("blackholes") for name, _, _ in jobs)
    assert {comment.split("_wildcards")[0].removeprefix("rule_") for *_, comment in jobs} >= {
        *("prepare_corpus", "train", "distances", "black_holes", "summarise"),
        "experiments_figure",
    }
    assert checkout.results("logs/", "benchmarks/") == local.results("logs/", "benchmarks/")
    assert checkout.digests() == local.digests()


def test_a_gpu_is_asked_for_where_the_device_is_one(slurm, local, tmp_path):
    """The training asks for one, and is refused by the device itself: these GPUs are pretended."""
    checkout = local.copy(tmp_path / "gpu")
    checkout.path("overlay.yaml").write_text("training: {device: cuda}\nexperiments: {qwen: false}\n")
    for name in ("embedding_evolution.safetensors", "training_log.csv"):
        checkout.path(f"results/normal/run_001/{name}").unlink()
    ran = checkout.run(
        *("histories", *PROFILE, *QUICK, "--retries", "0", "--set-resources", "train:slurm_partition=gpu"),
        overlay="overlay.yaml",
        status=1,
    )
    assert "gpu=1" in ran.log
    shown = subprocess.run(["scontrol", "show", "job", "--oneliner"], check=True, capture_output=True, text=True).stdout
    (job,) = [line for line in shown.splitlines() if "Partition=gpu" in line]
    assert "gres:gpu:1" in job or "gres/gpu:1" in job, job
    assert "cuda" in checkout.path("results/logs/train/normal_001.log").read_text()
    others = [line for line in shown.splitlines() if "Partition=main" in line]
    assert not [line for line in others if "gpu" in line.partition("TresPer")[2]]
