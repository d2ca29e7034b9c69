"""Leases of GPUs that do not exist: a process has one for itself until it ends, and sees no other."""

import os
import signal
import subprocess
import sys
import uuid

import pytest
from blackholes.artifacts import gpu_leases
from blackholes.errors import UserError

HOLD = """
import os, sys
from blackholes.artifacts import gpu_leases
gpus = gpu_leases.take(int(sys.argv[1]), lambda line: print(line, flush=True))
print(*gpus, os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.readline()
"""
# makes a file while it has a GPU, which nobody else may have made
BRIEFLY = """
import pathlib, sys, time
from blackholes.artifacts import gpu_leases
gpu, = gpu_leases.take(1, lambda line: None)
mark = pathlib.Path(sys.argv[2], gpu)
mark.touch(exist_ok=False)
time.sleep(0.05)
mark.unlink()
"""


@pytest.fixture
def gpus(monkeypatch):
    """Names of two GPUs, offered to jobs."""
    names = [f"pretended-{uuid.uuid4()}" for _ in range(2)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(names))
    monkeypatch.delenv("BLACKHOLES_GPUS", raising=False)
    gpu_leases.offer(gpu_leases.visible())
    return names


@pytest.fixture
def job():
    """Starts processes that take a lease, and ends them."""
    running = []

    def start(number=1, program=HOLD, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(number), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()  # waits, and closes what is open


def leased(process):
    """The one GPU that a process says it has, which is what it sees."""
    held, seen = process.stdout.readline().split()
    assert held == seen
    return held


def test_two_jobs_have_a_gpu_each_and_a_third_waits_for_a_killed_one(gpus, job):
    first, second = job(), job()
    assert {leased(first), leased(second)} == set(gpus)
    third = job()
    assert third.stdout.readline() == f"waits for a GPU: others use {','.join(gpus)}\n"
    os.kill(second.pid, signal.SIGKILL)
    assert leased(third) in gpus
    fourth = job()
    assert fourth.stdout.readline().startswith("waits")
    print(file=first.stdin, flush=True)  # lets it end by itself
    assert leased(fourth) in gpus


def test_twelve_jobs_share_two_gpus_and_never_one(gpus, job, tmp_path):
    jobs = [job(1, BRIEFLY, tmp_path) for _ in range(12)]
    assert [(process.wait(60), process.stderr.read()) for process in jobs] == [(0, "")] * 12


def test_a_job_for_both_waits_for_both_and_holds_none_meanwhile(gpus, job):
    first = job()
    leased(first)
    both = job(2)
    assert both.stdout.readline().startswith("waits")
    beside = job()
    leased(beside)  # the waiting one has not taken the other
    first.kill()
    beside.kill()
    assert both.stdout.readline().split() == [*gpus, ",".join(gpus)]


def test_a_job_that_asks_for_none_sees_none(gpus):
    assert gpu_leases.take(0, print) == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_more_than_there_are_are_refused(gpus):
    with pytest.raises(UserError, match=r"gpu=3 is not available on this machine; expected at most 2"):
        gpu_leases.take(3, print)


def test_where_none_are_offered_nothing_changes(gpus, monkeypatch):
    monkeypatch.delenv("BLACKHOLES_GPUS")
    assert gpu_leases.take(1, print) == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus)


@pytest.mark.parametrize(
    ("value", "names"),
    [("0,1", ["0", "1"]), (" 2 , GPU-ab", ["2", "GPU-ab"]), ("", []), ("-1", []), ("0,-1,1", ["0"]), ("0,,1", ["0"])],
)
def test_visible_gpus_are_those_that_cuda_sees(monkeypatch, value, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert gpu_leases.visible() == names


TOUCHES = """
import importlib, pkgutil, sys
import torch

def touched(*args, **kwargs):
    raise AssertionError("CUDA was started by an import")

for name in ("is_available", "device_count", "init", "_lazy_init", "current_device", "get_device_name"):
    setattr(torch.cuda, name, touched)
from blackholes.orchestration.forked_jobs import IMPORTED
for name in IMPORTED:
    importlib.import_module(name)
import blackholes
for module in pkgutil.walk_packages(blackholes.__path__, "blackholes."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("nothing did")
"""


def test_no_import_starts_cuda():
    """Which reads CUDA_VISIBLE_DEVICES once, and cannot be used in a fork of a process that has started it."""
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", TOUCHES], capture_output=True, text=True, env=environment)
    assert ran.stdout == "nothing did\n", ran.stderr
