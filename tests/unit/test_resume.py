"""Killed at any moment, training goes on from its last saved state and ends with the bytes of an undisturbed run.

A run has one writer at a time.
"""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import asdict
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from blackholes.artifacts import files
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.training import engine, resume
from blackholes.training.settings import run_settings
from reference import settings as make_settings

STATE = resume.NAME
SHAPE = {"vocabulary_size": 20, "context": 16, "width": 16, "layers": 2, "heads": 2}
CODE = """
import json, sys, pathlib
from blackholes.artifacts import files
from blackholes.artifacts.records import Records
from blackholes.training import engine
from blackholes.training.settings import run_settings
job = json.loads(sys.argv[1])
runs = [engine.RunFiles(*map(pathlib.Path, files)) for files in job.pop("files")]
job["settings"] = [run_settings(one, 0) for one in job["settings"]]
def progress(k):
    return lambda done, total, more: print("at", k, done, flush=True)
records = Records(pathlib.Path(runs[0].history).parents[1])
names = [str(path) for run in runs for path in vars(run).values() if path]
records.claim(names, sys.argv[2])
with files.guarded(names, records.check_owner):
    engine.write_runs(runs=runs, **job, progress=progress, log=lambda text: print(text, flush=True))
"""
FORCES = "forces.safetensors"
FILES = ("embedding_evolution.safetensors", "training_log.csv", "model/config.json", "model/model.safetensors")


def as_shared(settings):
    """Settings of a run as a mapping, of which `run_settings(…, 0)` makes the same settings again."""
    own = asdict(settings)
    return own | {"base_seed": own.pop("seed")}


class Job:
    """A training job: in a process of its own, as a script starts it, or in this one."""

    def __init__(self, folder, seeds=(43,), code="c", threads=1, **changes):
        changes = {"steps": 700, "batch_size": 3, "model": SHAPE} | changes
        self.folders = [folder / f"run_{seed - 42:03d}" for seed in seeds]
        corpus = folder.parent / "tokens.safetensors"
        ids = np.random.default_rng(0).integers(0, 20, 900).astype(np.uint8)
        counts = np.bincount(ids, minlength=20)
        write_tensors(corpus, {"token_ids": ids, "token_counts": counts, "dead_mask": counts == 0})
        self.arguments = {
            "corpus": str(corpus),
            "settings": [as_shared(make_settings(seed=seed, **changes)) for seed in seeds],
            "code": code,
            "checkpoint_seconds": 0.05,
            "threads": threads,
        }

    def files(self):
        recorded = [FORCES] if self.arguments["settings"][0]["forces"] != "none" else []
        return [[str(folder / name) for name in (*FILES, *recorded)] for folder in self.folders]

    def start(self, name="a job"):
        """In a process of its own, which claims its files."""
        path = ":".join(part for part in sys.path if part)
        return subprocess.Popen(
            [sys.executable, "-c", CODE, json.dumps(self.arguments | {"files": self.files()}), name],
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, tick: Callable[[], None] = lambda: None):
        """Here, and not in a process of its own: what it says. tick: called after every block."""
        said = []

        def progress(k):
            return lambda done, total, more: (said.append(f"at {k} {done}"), tick())

        runs = [engine.RunFiles(*map(Path, files)) for files in self.files()]
        settings = [run_settings(one, 0) for one in self.arguments["settings"]]
        engine.write_runs(runs=runs, **self.arguments | {"settings": settings}, progress=progress, log=said.append)
        return "\n".join(said)

    def copied(self, folder):
        """The same job, and all that it has written so far, in another folder."""
        other = copy(self)
        other.folders = [folder / path.name for path in self.folders]
        for path, place in zip(self.folders, other.folders, strict=True):
            if path.exists():
                shutil.copytree(path, place)
        return other

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
            if path.is_file() and path.name != resume.LOCK  # which a kill leaves behind
        }


def end(process):
    """Wait for the process of a job: what it said."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def went_on(said):
    """The step that a job says it went on from, or 0."""
    lines = [line for line in said.splitlines() if line.startswith("resumes after step ")]
    return int(lines[0].split()[3].replace(",", "")) if lines else 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("undisturbed") / "runs")
    job.finish()
    return job.bytes()


VARIANTS = {
    "bf16": {},
    "mixed": {"precision": "mixed", "forces": "full"},
    "fp32-sgd-0.9": {"precision": "fp32", "optimizer": "sgd", "momentum": 0.9},
    "2 threads": {"batch_split": 2, "threads": 2},
    "three runs": {"seeds": (43, 44, 45), "threads": 2, "forces": "summary"},
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Jobs whose processes were killed after they had saved a state. For tests to copy."""
    jobs = {name: Job(tmp_path_factory.mktemp("killed") / "runs", **changes) for name, changes in VARIANTS.items()}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(Job.killed_after_saving, jobs.values()))
    return jobs


@pytest.mark.slow
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
    last = went_on(end(job.start()))
    print("it went on after steps", steps, last)
    assert job.bytes() == undisturbed
    assert any(steps) or last  # resumed, and not only begun again


def test_a_killed_job_goes_on_where_it_was(tmp_path, killed, undisturbed):
    """Killed twice, then left alone: three processes."""
    job = killed["bf16"].copied(tmp_path)
    assert job.bytes().keys() & undisturbed.keys() == set()
    with open_tensors(job.folders[0] / STATE) as file:
        saved = int(file.rows("step"))
    assert 0 < saved < 700
    assert went_on(job.killed_after_saving()) == saved
    said = end(job.start())
    assert went_on(said) > saved
    done = [int(line.split()[2]) for line in said.splitlines() if line.startswith("at")]
    assert done[0] > went_on(said)
    assert job.bytes() == undisturbed


@pytest.mark.parametrize("variant", ["mixed", "fp32-sgd-0.9", "2 threads"])
def test_every_state_is_kept(tmp_path, killed, variant):
    one, other = killed[variant].copied(tmp_path / "one"), Job(tmp_path / "other", **VARIANTS[variant])
    assert went_on(one.finish())
    other.finish()
    assert one.bytes() == other.bytes()


def test_runs_that_share_a_job_go_on_each_from_its_own(tmp_path, killed):
    seeds = VARIANTS["three runs"]["seeds"]
    together = killed["three runs"].copied(tmp_path / "together")
    alone = Job(tmp_path / "alone", seeds, forces="summary")
    said = together.finish()
    assert went_on(said)
    alone.finish()
    assert together.bytes() == alone.bytes()
    single = Job(tmp_path / "single", seeds[1:2], forces="summary")
    single.finish()
    assert single.bytes() == {name: data for name, data in alone.bytes().items() if name.startswith("run_002")}
    plain = Job(tmp_path / "plain", seeds[1:2])  # which records no forces
    plain.finish()
    assert single.bytes() == plain.bytes() | {f"run_002/{FORCES}": single.bytes()[f"run_002/{FORCES}"]}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"code": "edited"}, "code_digest"),
        ({"learning_rate": 2e-3}, "settings"),
        ({"engine": "torch"}, "engine, settings"),
    ],
)
def test_a_state_of_another_recipe_is_refused(tmp_path, killed, changes, named):
    killed["bf16"].copied(tmp_path / "runs")
    job, other = Job(tmp_path / "runs", **changes), Job(tmp_path / "other", **changes)
    said = job.finish()
    assert f"{STATE}: {named} differ from this job's; training starts from step 0" in said
    assert not went_on(said)
    other.finish()
    assert job.bytes() == other.bytes()


@pytest.mark.parametrize("harm", ["truncated", "empty", "foreign"])
def test_a_state_that_cannot_be_read_is_refused(tmp_path, killed, undisturbed, harm):
    job = killed["bf16"].copied(tmp_path)
    state = job.folders[0] / STATE
    state.write_bytes({"truncated": state.read_bytes()[:-1], "empty": b"", "foreign": b"x" * 5000}[harm])
    said = job.finish()
    assert f"checkpoint not used: {state}: not a complete safetensors file" in said
    assert not went_on(said)
    assert job.bytes() == undisturbed


def flip(path, at):
    """Change one bit of a file."""
    with open(path, "r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 4]))


@pytest.mark.parametrize(
    "harm",
    [Path.unlink, lambda path: os.truncate(path, 900), lambda path: flip(path, 400)],
    ids=["gone", "short", "flipped"],
)
def test_a_history_that_is_gone_short_or_damaged_begins_anew(tmp_path, killed, undisturbed, harm):
    job = killed["bf16"].copied(tmp_path)
    (part,) = job.folders[0].glob(".embedding_evolution.safetensors.*.part")
    harm(part)
    said = job.finish()
    assert "checkpoint not used: the history it is of is not there as it was; training starts from step 0" in said
    assert not went_on(said)
    assert job.bytes() == undisturbed


def test_forces_that_were_damaged_begin_anew(tmp_path, killed):
    job, other = killed["mixed"].copied(tmp_path / "runs"), Job(tmp_path / "other", **VARIANTS["mixed"])
    (part,) = job.folders[0].glob(f".{FORCES}.*.part")
    flip(part, 8 + int.from_bytes(part.read_bytes()[:8], "little") + 10)  # in the first row of its first tensor
    assert "checkpoint not used: the history it is of is not there" in job.finish()
    other.finish()
    assert job.bytes() == other.bytes()


def test_forces_and_history_have_to_fit_on_the_disk_together(tmp_path, monkeypatch):
    """Each alone would: it is said before the first step."""
    job = Job(tmp_path / "runs", forces="full")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2.7e6))
    with pytest.raises(
        UserError, match=r"run_001: record.forces full: history and forces need 2\.9 MB.*has 2\.7 MB"
    ) as e:
        job.finish()
    assert "\n" not in str(e.value)
    assert not list(tmp_path.rglob("training_log.csv"))


def test_a_state_with_a_flipped_bit_is_refused(tmp_path, killed, undisturbed):
    job = killed["bf16"].copied(tmp_path)
    state = job.folders[0] / STATE
    flip(state, state.stat().st_size - 5000)  # a weight, or a moment of Adam's
    said = job.finish()
    assert f"checkpoint not used: {state}: damaged: its tensors are not those that were written" in said
    assert job.bytes() == undisturbed


def test_a_state_whose_step_and_log_differ_is_refused(tmp_path):
    """As two jobs that wrote one file made it: step 698 with a log of 666."""
    checkpoint, said = resume.Checkpoint(tmp_path, {"seeds": "43"}), []
    checkpoint.save(698, {"x": torch.zeros(3)}, torch.zeros(2, 1, 666, dtype=torch.float64), ["0" * 32])
    assert checkpoint.load(said.append) is None
    why = f"{tmp_path / STATE}: its log has shape (2, 1, 666), expected (2, 1, 698) after step 698"
    assert said == [f"checkpoint not used: {why}; training starts from step 0"]


def test_a_state_that_is_replaced_while_it_is_read_is_one_of_the_two(tmp_path):
    """Opened by name twice, it would now and then be the header of one and the data of the other."""
    checkpoint, stop, said, kept = resume.Checkpoint(tmp_path, {}), Event(), [], []
    for step in (3, 4):
        checkpoint.save(step, {}, torch.full((2, 1, step), float(step), dtype=torch.float64), [""])
        kept.append(checkpoint.path.read_bytes())

    def replace_on_and_on():
        while not stop.is_set():
            for data in kept:
                (tmp_path / "next").write_bytes(data)
                os.replace(tmp_path / "next", checkpoint.path)

    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(replace_on_and_on)
        try:
            states = [checkpoint.load(said.append) for _ in range(1500)]
        finally:
            stop.set()
    replacing.result()
    assert not said
    assert all((saved.series == saved.step).all() and saved.series.shape[2] == saved.step for saved in states)
    assert {saved.step for saved in states} == {3, 4}


def test_a_second_job_of_a_run_takes_over(tmp_path, undisturbed):
    """A job that outlives its workflow, and the one that the next call starts: it waits, and goes on where that was."""
    job = Job(tmp_path / "runs")
    old = job.start("old")
    while not (job.folders[0] / STATE).exists():
        time.sleep(0.001)
    old.send_signal(signal.SIGSTOP)  # until the other waits for it
    new = job.start("new")
    waits = new.stdout.readline()
    assert waits.startswith(f"waits for process {old.pid} on ")
    assert waits.endswith(f", which is writing in {job.folders[0]}\n")
    old.send_signal(signal.SIGCONT)
    said, _ = old.communicate(timeout=300)
    assert old.returncode != 0
    assert "another job (new) has begun to write it since; this one stops" in said
    assert went_on(end(new))
    assert job.bytes() == undisturbed


def test_a_job_of_another_recipe_takes_over(tmp_path):
    """Nothing of the old recipe gets a final name."""
    old, new = Job(tmp_path / "runs", steps=1500), Job(tmp_path / "runs", learning_rate=2e-3)
    process = old.start("old")
    process.stdout.readline()
    said = end(new.start("new"))
    assert not went_on(said)
    kept = new.bytes()
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "another job (new) has begun to write it since; this one stops" in said
    alone = Job(tmp_path / "alone", learning_rate=2e-3)
    alone.finish()
    assert new.bytes() == kept == alone.bytes()


def test_where_files_cannot_be_locked_a_job_says_so_and_goes_on(tmp_path, monkeypatch, undisturbed):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    job = Job(tmp_path / "runs")
    lock = job.folders[0] / resume.LOCK
    line = f"{lock}: cannot be locked: No locks available. Make sure that no other process writes in this folder"
    assert line in job.finish().splitlines()
    assert job.bytes() == undisturbed


def test_an_error_in_one_run_stops_the_others_of_its_job(tmp_path):
    corpus = tmp_path / "tokens.safetensors"
    Job(tmp_path / "runs")
    runs = [engine.RunFiles(*(tmp_path / f"run_00{k}" / name for name in FILES)) for k in (1, 2)]
    Path(runs[1].history).mkdir(parents=True)  # a folder where the file is to be: it can never be renamed
    ends = {1: 10_000, 2: 50}  # seed → steps
    settings = [make_settings(seed=seed, steps=end, batch_size=3, model=SHAPE) for seed, end in ends.items()]
    with pytest.raises((UserError, OSError)):
        engine.write_runs(str(corpus), runs, settings, threads=2)
    assert not Path(runs[0].history).exists()


class Killed(BaseException):
    """What no code handles."""


def test_stacked_runs_resume_together(tmp_path, monkeypatch):
    """The way of a GPU: one state for all runs of the job, here with stacked parameters on the CPU."""
    monkeypatch.setattr(engine, "_groups", lambda count, device: [list(range(count))])
    job = Job(tmp_path / "undisturbed")
    settings = [make_settings(seed=seed, steps=60, batch_size=3, model=SHAPE, engine="torch") for seed in (1, 2, 3)]

    def write(folder, die_after=None):
        def progress(k):
            def tick(done, total, more):
                if die_after and done > die_after:
                    raise Killed

            return tick

        job.folders = [folder / f"run_00{k}" for k in (1, 2, 3)]
        runs = [engine.RunFiles(*(place / name for name in FILES)) for place in job.folders]
        corpus, said = str(tmp_path / "tokens.safetensors"), []
        engine.write_runs(corpus, runs, settings, checkpoint_seconds=1e-4, progress=progress, log=said.append)
        return job.bytes(), "\n".join(said)

    expected, said = write(tmp_path / "undisturbed")
    assert "resumes" not in said
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
