"""profiles/gpu-node with GPUs that do not exist, in a small workflow of its own whose jobs say which one they see."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SNAKEFILE = """
import sys
sys.path.insert(0, {package!r})
from blackholes.orchestration import forked_jobs, gpu_node
if workflow.is_main_process:
    forked_jobs.install(workflow)

onstart:
    gpu_node.start(workflow)

rule all:
    input: expand("{{n}}.json", n=range(5)), "none.json"

rule one:
    output: "{{n}}.json"
    resources: gpu=lambda wildcards: int(wildcards.n != "none")
    script: "one.py"
"""

# the first attempt of job 0 stays until it is killed
ONE = """
import json, os, time
from pathlib import Path
from blackholes.artifacts import gpu_leases
gpu_leases.take(snakemake.resources.gpu, print)
began, mark = time.monotonic(), Path("first.pid")
if snakemake.wildcards.n == "0" and not mark.exists():
    mark.write_text(str(os.getpid()))
    time.sleep(600)
time.sleep(0.3)
Path(snakemake.output[0]).write_text(json.dumps([os.environ["CUDA_VISIBLE_DEVICES"], began, time.monotonic()]))
"""


@pytest.fixture
def start(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(package=str(ROOT / "workflow/scripts")))
    (tmp_path / "one.py").write_text(ONE)

    def start(visible):
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--profile", str(ROOT / "profiles/gpu-node"), "--cores", "8"],
            cwd=tmp_path,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": visible},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return start


def test_a_gpu_for_each_job_and_no_more_jobs_than_gpus(start, tmp_path):
    gpus = [f"pretended-{uuid.uuid4()}" for _ in range(2)]
    snakemake, first = start(",".join(gpus)), tmp_path / "first.pid"
    deadline = time.monotonic() + 600
    while not first.exists() or not first.read_text():
        assert snakemake.poll() is None, snakemake.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(int(first.read_text()), signal.SIGKILL)
    said, _ = snakemake.communicate(timeout=600)
    assert snakemake.returncode == 0, said
    assert f"GPUs {', '.join(gpus)}: one for a job, at most 2 such jobs at a time" in said
    jobs = [json.loads((tmp_path / f"{n}.json").read_text()) for n in range(5)]
    assert {gpu for gpu, _, _ in jobs} == set(gpus)
    for gpu, began, ended in jobs:
        beside = [other for other, start, end in jobs if start < ended and began < end]
        assert beside.count(gpu) == 1  # itself
    assert json.loads((tmp_path / "none.json").read_text())[0] == ""


def test_without_a_gpu_one_line_says_so(start):
    snakemake = start("")
    said, _ = snakemake.communicate(timeout=600)
    assert snakemake.returncode == 1
    assert "resources: gpu=64: no GPU is visible on this machine (CUDA_VISIBLE_DEVICES is '')" in said
    assert "Traceback" not in said
