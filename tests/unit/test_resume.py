"""Killed at any moment, training goes on from its last saved state and ends with the bytes of an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.training import engine, resume
from reference import settings as make_settings

STATE = resume.NAME
SHAPE = {"vocabulary_size": 20, "context": 16, "width": 16, "layers": 2, "heads": 2}
CODE = """
import json, sys, pathlib
from blackholes.training import engine
from blackholes.training.settings import run_settings
job = json.loads(sys.argv[1])
folders = [pathlib.Path(folder) for folder in job["folders"]]
names = ("embedding_evolution.safetensors", "training_log.csv", "model/config.json", "model/model.safetensors")
runs = [engine.RunFiles(*(folder / name for name in names)) for folder in folders]
def progress(k):
    return lambda done, total, more: print("at", k, done, flush=True)
settings = [run_settings(one, 0) for one in job["settings"]]
engine.write_runs(job["corpus"], runs, settings, threads=job["threads"],
    metadata={"code_digest": job["code"]}, checkpoint_seconds=job["seconds"], progress=progress,
    log=lambda text: print(text, flush=True))
"""


def as_shared(settings):
    """Settings of a run as a mapping, of which `run_settings(…, 0)` makes the same settings again."""
    own = asdict(settings)
    return own | {"base_seed": own.pop("seed")}


class Job:
    """A training job in a process of its own, as a script starts it."""

    def __init__(self, folder, seeds=(43,), seconds=0.05, code="c", threads=1, **changes):
        changes = {"steps": 700, "batch_size": 3, "model": SHAPE} | changes
        self.folders = [folder / f"run_{seed - 42:03d}" for seed in seeds]
        corpus = folder.parent / "tokens.safetensors"
        ids = np.random.default_rng(0).integers(0, 20, 900).astype(np.uint8)
        counts = np.bincount(ids, minlength=20)
        write_tensors(corpus, {"token_ids": ids, "token_counts": counts, "dead_mask": counts == 0})
        self.argument = json.dumps(
            {
                "folders": [str(path) for path in self.folders],
                "corpus": str(corpus),
                "settings": [as_shared(make_settings(seed=seed, **changes)) for seed in seeds],
                "seconds": seconds,
                "code": code,
                "threads": threads,
            }
        )

    def start(self):
        path = ":".join(part for part in sys.path if part)
        return subprocess.Popen(
            [sys.executable, "-c", CODE, self.argument],
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self):
        process = self.start()
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def killed_after_saving(self):
        """Kill it as soon as it has saved a state that it did not start from."""
        state = self.folders[0] / STATE
        before = state.stat().st_ino if state.exists() else None
        process = self.start()
        while not state.exists() or state.stat().st_ino == before:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.001)
        process.kill()
        return process.communicate()[0]

    def bytes(self):
        return {
            path.relative_to(folder.parent).as_posix(): path.read_bytes()
            for folder in self.folders
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def went_on(said):
    """The step that a job says it went on from, or 0."""
    lines = [line for line in said.splitlines() if line.startswith("resumes after step ")]
    return int(lines[0].split()[3].replace(",", "")) if lines else 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("undisturbed") / "runs")
    job.finish()
    return job.bytes()


def test_ten_kills_at_random_moments(tmp_path, undisturbed):
    """A run of some seconds, killed ten times with SIGKILL wherever it happens to be: in its start-up too."""
    job, seed = Job(tmp_path / "runs"), int(os.environ.get("KILL_SEED", random.randrange(2**32)))
    print("KILL_SEED =", seed)  # shown when the test fails
    chance, steps, kills = random.Random(seed), [], 0
    in_training = [chance.random() < 0.8 for _ in range(10)]
    while kills < 10:
        process = job.start()
        first = ""
        while in_training[kills] and "\nat " not in "\n" + first and (line := process.stdout.readline()):
            first += line  # until it trains; else it is killed in what comes before
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        said = first + process.communicate()[0]
        if process.returncode == 0:  # it was faster
            assert job.bytes() == undisturbed
            for folder in job.folders:
                for path in folder.rglob("*.*"):
                    path.unlink()
            continue
        kills += 1
        steps.append(went_on(said))
        visible = {name: data for name, data in job.bytes().items() if not Path(name).name.startswith(".")}
        assert visible.items() <= undisturbed.items()  # what has its final name by now is whole
    last = went_on(job.finish())
    print("it went on after steps", steps, last)
    assert job.bytes() == undisturbed
    assert any(steps) or last  # resumed, and not only begun again


def test_a_killed_job_goes_on_where_it_was(tmp_path, undisturbed):
    job = Job(tmp_path / "runs")
    job.killed_after_saving()
    assert job.bytes().keys() & undisturbed.keys() == set()
    with open_tensors(job.folders[0] / STATE) as file:
        saved = int(file.rows("step"))
    assert 0 < saved < 700
    assert went_on(job.killed_after_saving()) == saved
    said = job.finish()
    assert went_on(said) > saved
    done = [int(line.split()[2]) for line in said.splitlines() if line.startswith("at")]
    assert done[0] > went_on(said)
    assert job.bytes() == undisturbed


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "mixed"},
        {"precision": "fp32", "optimizer": "sgd", "momentum": 0.9},
        {"batch_split": 2, "threads": 2},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_state_is_kept(tmp_path, changes):
    one, other = Job(tmp_path / "one", **changes), Job(tmp_path / "other", **changes)
    one.killed_after_saving()
    assert went_on(one.finish())
    other.finish()
    assert one.bytes() == other.bytes()


def test_runs_that_share_a_job_go_on_each_from_its_own(tmp_path):
    seeds = (43, 44, 45)
    together, alone = Job(tmp_path / "together", seeds, threads=2), Job(tmp_path / "alone", seeds)
    together.killed_after_saving()
    said = together.finish()
    assert went_on(said)
    alone.finish()
    assert together.bytes() == alone.bytes()
    single = Job(tmp_path / "single", seeds[1:2])
    single.finish()
    assert single.bytes() == {name: data for name, data in alone.bytes().items() if name.startswith("run_002")}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"code": "edited"}, "code_digest"),
        ({"learning_rate": 2e-3}, "settings"),
        ({"engine": "torch"}, "engine, settings"),
    ],
)
def test_a_state_of_another_recipe_is_refused(tmp_path, changes, named):
    Job(tmp_path / "runs").killed_after_saving()
    job, other = Job(tmp_path / "runs", **changes), Job(tmp_path / "other", **changes)
    said = job.finish()
    assert f"{STATE}: {named} differ from this job's; training starts from step 0" in said
    assert not went_on(said)
    other.finish()
    assert job.bytes() == other.bytes()


@pytest.mark.parametrize("harm", ["truncated", "empty", "foreign"])
def test_a_state_that_cannot_be_read_is_refused(tmp_path, undisturbed, harm):
    job = Job(tmp_path / "runs")
    job.killed_after_saving()
    state = job.folders[0] / STATE
    state.write_bytes({"truncated": state.read_bytes()[:-1], "empty": b"", "foreign": b"x" * 5000}[harm])
    said = job.finish()
    assert f"checkpoint not used: {state}: not a complete safetensors file" in said
    assert job.bytes() == undisturbed


def test_a_history_that_is_gone_or_short_begins_anew(tmp_path, undisturbed):
    for harm in (lambda path: path.unlink(), lambda path: os.truncate(path, 900)):
        job = Job(tmp_path / "runs")
        job.killed_after_saving()
        (part,) = job.folders[0].glob(".embedding_evolution.safetensors.*.part")
        harm(part)
        assert not went_on(job.finish())
        assert job.bytes() == undisturbed


def test_two_jobs_that_write_the_same_run_at_once(tmp_path, undisturbed):
    """A job that outlives its workflow, and the one that the next call starts."""
    job = Job(tmp_path / "runs")
    one = job.start()
    while not (job.folders[0] / STATE).exists():
        time.sleep(0.001)
    other = job.start()
    for process in (one, other):
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert {name: data for name, data in job.bytes().items() if "/." not in name} == undisturbed


def test_a_job_whose_history_another_recipe_has_taken_stops(tmp_path):
    """Nothing of the old recipe gets a final name."""
    old, new = Job(tmp_path / "runs", steps=2500), Job(tmp_path / "runs", learning_rate=2e-3)
    process = old.start()
    process.stdout.readline()
    new.finish()
    kept = {name: data for name, data in new.bytes().items() if "/." not in name}
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "another job has begun to write it anew; this one stops" in said
    assert {name: data for name, data in new.bytes().items() if "/." not in name} == kept


def test_an_error_in_one_run_stops_the_others_of_its_job(tmp_path):
    corpus = tmp_path / "tokens.safetensors"
    Job(tmp_path / "runs")
    names = ("embedding_evolution.safetensors", "training_log.csv", "model/config.json", "model/model.safetensors")
    runs = [engine.RunFiles(*(tmp_path / f"run_00{k}" / name for name in names)) for k in (1, 2)]
    Path(runs[1].history).mkdir(parents=True)  # a folder where the file is to be: it can never be renamed
    ends = {1: 100_000, 2: 50}  # seed → steps
    settings = [make_settings(seed=seed, steps=end, batch_size=3, model=SHAPE) for seed, end in ends.items()]
    began = time.monotonic()
    with pytest.raises((UserError, OSError)):
        engine.write_runs(str(corpus), runs, settings, threads=2)
    assert time.monotonic() - began < 60
    assert not Path(runs[0].history).exists()


class Killed(BaseException):
    """What no code handles."""


def test_runs_that_go_forward_together_go_on_together(tmp_path, monkeypatch):
    """As on a GPU: one checkpoint for all runs of the job, here with stacked parameters on the CPU."""
    monkeypatch.setattr(engine, "_groups", lambda count, device: [list(range(count))])
    job = Job(tmp_path / "undisturbed")
    settings = [make_settings(seed=seed, steps=60, batch_size=3, model=SHAPE, engine="torch") for seed in (1, 2, 3)]

    def write(folder, die_after=None):
        def progress(k):
            def tick(done, total, more):
                if die_after and done > die_after:
                    raise Killed

            return tick

        files = ("embedding_evolution.safetensors", "training_log.csv", "model/config.json", "model/model.safetensors")
        job.folders = [folder / f"run_00{k}" for k in (1, 2, 3)]
        runs = [engine.RunFiles(*(place / name for name in files)) for place in job.folders]
        corpus, said = str(tmp_path / "tokens.safetensors"), []
        engine.write_runs(corpus, runs, settings, checkpoint_seconds=1e-4, progress=progress, log=said.append)
        return job.bytes(), "\n".join(said)

    expected, said = write(tmp_path / "undisturbed")
    assert not said
    assert len(expected) == 3 * 4
    folder = tmp_path / "killed"
    for die_after in (10, 25):
        with pytest.raises(Killed):
            write(folder, die_after)
    assert sorted(path.name for path in folder.rglob(STATE)) == [STATE]
    (part,) = (folder / "run_003").glob(".*.part")
    part.unlink()  # of one run: all begin anew
    with pytest.raises(Killed):
        write(folder, 30)
    assert part.exists()
    again, said = write(folder)
    assert went_on(said) >= 20
    assert again == expected
