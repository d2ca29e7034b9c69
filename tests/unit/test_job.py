"""The frame of a script: errors, log, progress and provenance, with Snakemake's own containers and object."""

import errno
import json
import os
import pickle
import re
import subprocess
import sys
import uuid
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from blackholes.artifacts import files
from blackholes.artifacts import job as frame
from blackholes.artifacts.job import open_job
from blackholes.artifacts.provenance import file_digest
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError
from helpers import ADJACENCY, names, random_history, write_history
from snakemake import iocontainers

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
ANSI = re.compile(r"\x1b\[")


def named(kind, items):
    """One of Snakemake's containers; a list is a named part of it, as in a rule."""
    made = kind()
    for name, value in items.items():
        if isinstance(value, list) and kind is not iocontainers.Params:
            made.extend(value)
            made._set_name(name, len(made) - len(value), end=len(made))
        else:
            made.append(value)
            made._add_name(name)
    return made


def fake(
    folder, input=(), output=(), params=(), wildcards=(), rule="train", log=True, seconds=5.0, resources=(), **config
):
    return SimpleNamespace(
        input=named(iocontainers.InputFiles, dict(input)),
        output=named(iocontainers.OutputFiles, dict(output)),
        params=named(iocontainers.Params, dict(params)),
        wildcards=named(iocontainers.Wildcards, dict(wildcards)),
        resources=named(iocontainers.ResourceList, dict(resources)),
        log=iocontainers.Log([str(folder / "logs" / "deep" / "a.log")] if log else []),
        threads=2,
        rule=rule,
        config={"training": {"progress_seconds": seconds}} | config,
    )


def log_of(folder):
    return (folder / "logs" / "deep" / "a.log").read_text(encoding="utf-8")


# --- what a script sees


def test_a_script_sees_its_job(tmp_path):
    snakemake = fake(tmp_path, {"history": "h"}, {"out": "o"}, {"steps": 3}, {"experiment": "qwen", "run": "003"})
    with open_job(snakemake) as job:
        assert (job.input.history, job.output.out, job.params.steps, job.threads) == ("h", "o", 3, 2)
        assert job.wildcards.run == "003"
        assert job.config["training"]
        assert (tmp_path / "logs" / "deep" / "a.log").exists()  # its folder was made
    assert re.fullmatch(r"train qwen/run_003: done in \d+\.\d s, without its start-up\n", log_of(tmp_path))


@pytest.mark.parametrize(
    ("wildcards", "name"),
    [
        ({}, "train"),
        ({"experiment": "qwen"}, "train qwen"),
        ({"experiment": "qwen", "run": "003"}, "train qwen/run_003"),
        ({"run": "003"}, "train run_003"),
    ],
)
def test_names_of_jobs(tmp_path, wildcards, name):
    with open_job(fake(tmp_path, wildcards=wildcards)) as job:
        assert job.name == name


def test_log_lines_go_to_terminal_and_file(tmp_path, capsys):
    with open_job(fake(tmp_path)) as job:
        job.log("51 dead tokens: “é”")
    assert capsys.readouterr().err == "train: 51 dead tokens: “é”\n"
    assert log_of(tmp_path).startswith("train: 51 dead tokens: “é”\n")


def test_without_a_log(tmp_path, capsys):
    with open_job(fake(tmp_path, log=False)) as job:
        job.log("hello")
    assert capsys.readouterr().err == "train: hello\n"
    assert names(tmp_path) == []


def test_a_new_log_replaces_the_old(tmp_path):
    for word in ("first", "second"):
        with open_job(fake(tmp_path)) as job:
            job.log(word)
    assert "first" not in log_of(tmp_path)


def test_provenance_of_a_job(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    files = {"one": str(tmp_path / "a"), "many": [str(tmp_path / "b"), str(tmp_path / "c")], "none": []}
    params = {"settings": {"seed": 45}, "code": "c0de"}
    with open_job(fake(tmp_path, files, params=params)) as job:
        found = job.metadata
    assert list(json.loads(found["input_digests"])) == ["many[0]", "many[1]", "one"]
    assert found["seed"] == "45"
    assert not {"c0de", "2"} & set(found.values())  # neither code nor threads, which may change where no value does


def test_the_record_of_a_job_has_what_its_files_leave_out(tmp_path):
    (tmp_path / "a").write_text("a")
    params = {"settings": {"seed": 45}, "code": "c0de"}
    with open_job(fake(tmp_path, output={"a": str(tmp_path / "a")}, params=params)) as job:
        (tmp_path / "a").write_text("made")
    record = json.loads((tmp_path / "logs" / "deep" / "a.json").read_text())
    assert (record["job"], record["code_digest"], record["threads"]) == ("train", "c0de", 2)
    assert record["config_digest"] == job.metadata["config_digest"]
    assert record["outputs"] == {str(tmp_path / "a"): file_digest(tmp_path / "a")}
    assert record["versions"]["torch"] == torch.__version__


def test_a_job_that_asks_for_a_gpu_sees_the_one_that_it_leases(tmp_path, monkeypatch):
    gpu = f"pretended-{uuid.uuid4()}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "all")
    monkeypatch.setenv("BLACKHOLES_GPUS", gpu)
    with open_job(fake(tmp_path, resources={"gpu": 1})):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == gpu


def test_a_gpu_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BLACKHOLES_GPUS", "0")
    with pytest.raises(SystemExit), open_job(fake(tmp_path, resources={"gpu": 2})):
        raise AssertionError
    assert capsys.readouterr().err.startswith("train: error: resources: gpu=2 is not available")


# --- errors


def test_bad_input_is_one_line_and_exit_status_1(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught, open_job(fake(tmp_path, wildcards={"experiment": "qwen"})):
        raise UserError("results/a.safetensors: no such file")
    assert caught.value.code == 1
    line = "train qwen: error: results/a.safetensors: no such file\n"
    assert capsys.readouterr().err == line
    assert log_of(tmp_path) == line


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("a bug"), KeyError("a bug")])
def test_a_bug_keeps_its_traceback(tmp_path, error):
    with pytest.raises(type(error), match="a bug"), open_job(fake(tmp_path)):
        raise error
    log = log_of(tmp_path)
    assert log.startswith("Traceback (most recent call last):")
    assert log.endswith(f"{type(error).__name__}: {error}\n")
    assert "done in" not in log


def test_warnings_are_lines_of_the_job_and_only_while_it_runs(tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before = warnings.showwarning
        with open_job(fake(tmp_path)):
            warnings.warn("slow path", UserWarning, stacklevel=1)
        assert warnings.showwarning is before
        with pytest.raises(RuntimeError), open_job(fake(tmp_path)):
            raise RuntimeError
        assert warnings.showwarning is before
    assert capsys.readouterr().err == "train: UserWarning: slow path\n"


# --- progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told to."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(frame, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_progress_every_few_seconds_and_at_the_end(tmp_path, capsys, clock):
    with open_job(fake(tmp_path, wildcards={"experiment": "qwen", "run": "003"})) as job:
        tick = job.progress("step")
        for done in range(1, 1501):
            clock.seconds += 1 / 128
            tick(done, 1500, lambda done=done: {"loss": 2.123456 - done / 1e4, "holes": 7})
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "train qwen/run_003: step 640/1,500 · 128.0 steps/s · 0:07 left · loss 2.059 · holes 7",
        "train qwen/run_003: step 1,280/1,500 · 128.0 steps/s · 0:02 left · loss 1.995 · holes 7",
        "train qwen/run_003: step 1,500/1,500 · 128.0 steps/s · 0:00 left · loss 1.973 · holes 7",
    ]
    assert log_of(tmp_path).splitlines()[:3] == lines
    assert not ANSI.search(log_of(tmp_path))


@pytest.mark.parametrize("seconds", [0.5, 2, 60])
def test_the_interval_is_configured(tmp_path, capsys, clock, seconds):
    with open_job(fake(tmp_path, seconds=seconds)) as job:
        tick = job.progress("step")
        for done in range(100):  # never the end
            clock.seconds += 0.25
            tick(done, 1000)
    assert len(capsys.readouterr().err.splitlines()) == int(25 / seconds)


def test_start_up_does_not_count_in_the_rate(tmp_path, capsys, clock):
    with open_job(fake(tmp_path)) as job:
        tick = job.progress("step")
        clock.seconds += 3600  # compiling
        tick(1000, 10000)  # resumed: these were there before
        for done in range(1001, 1051):
            clock.seconds += 0.1
            tick(done, 10000)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "train: step 1,000/10,000"  # no rate is known yet
    assert last.startswith("train: step 1,050/10,000 · 10.0 steps/s · 14:55 left")


def test_the_rate_of_less_than_a_second(tmp_path, capsys, clock):
    with open_job(fake(tmp_path)) as job:
        tick = job.progress("step")
        tick(0, 2)
        clock.seconds += 0.25
        tick(2, 2)
    assert capsys.readouterr().err == "train: step 2/2 · 8.0 steps/s · 0:00 left\n"


def test_long_times_are_in_hours_and_a_single_piece_has_no_rate(tmp_path, capsys, clock):
    with open_job(fake(tmp_path)) as job:
        tick = job.progress("trial")
        tick(0, 100_000)
        clock.seconds += 10
        tick(10, 100_000)
        job.progress("matrix")(1, 1)
    assert capsys.readouterr().err.splitlines() == [
        "train: trial 10/100,000 · 1.0 trials/s · 27:46:30 left",
        "train: matrix 1/1",
    ]


# --- the real scripts


def run_script(folder, name, snakemake):
    """Run a script as Snakemake does, in a process of its own, with `snakemake` in its globals."""
    code = (
        "import pickle, sys; snakemake = pickle.load(sys.stdin.buffer); "
        f"exec(compile(open({str(SCRIPTS / name)!r}).read(), {name!r}, 'exec'))"
    )
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, input=pickle.dumps(snakemake), capture_output=True, env=environment, cwd=folder)
    return run.returncode, run.stderr.decode()


def test_statistics_of_a_run(tmp_path):
    history = write_history(tmp_path / "history.safetensors", random_history())
    snakemake = fake(
        tmp_path,
        {"history": history},
        {name: str(tmp_path / f"{name}.safetensors") for name in ("counts", "events", "geometry", "graphs")},
        {"adjacency": ADJACENCY, "code": "c0de"},
        {"experiment": "qwen", "run": "003"},
        rule="black_holes",
        distances={"device": "cpu", "memory_budget_gb": 0.5},
    )
    status, said = run_script(tmp_path, "black_holes.py", snakemake)
    assert status == 0
    far, left, end = said.split("\n")
    assert (far, end) == ("black_holes qwen/run_003: step 5/5", "")
    assert re.fullmatch(r"black_holes qwen/run_003: step 4: \d holes? with \d of 9 tokens, \d distinct vectors", left)
    with open_tensors(tmp_path / "graphs.safetensors") as file:
        assert file.expect("cells.labels", torch.int32, ("S", "V")) == (5, 9)
        assert file.metadata["device"] == "cpu"


def test_a_script_refuses_a_text_file_as_history(tmp_path):
    history = tmp_path / "embedding_evolution.safetensors"
    history.write_text("this is no tensor file, whatever its name says")
    snakemake = fake(
        tmp_path,
        {"history": str(history)},
        {"distances": str(tmp_path / "out" / "pairwise_distances.safetensors")},
        {"code": "c0de"},
        rule="distances",
        distances={"device": "cpu", "memory_budget_gb": 0.5},
    )
    status, said = run_script(tmp_path, "distances.py", snakemake)
    assert status == 1
    assert said == f"distances: error: {history}: not a complete safetensors file\n"
    assert said.count("\n") == 1
    assert log_of(tmp_path) == said
    assert not (tmp_path / "out").exists()


# --- text from anywhere


def test_nothing_that_a_job_says_is_a_command_to_the_terminal(tmp_path, capfd):
    hostile = "a\x1b[2J\x07\x9b1A\r\nforged: line\u2028\u202e\ud800\t−σ"
    shown = "a\\x1b[2J\\x07\\x9b1A\\r\\nforged: line\\u2028\\u202e\\ud800\\t−σ"

    def work():
        with open_job(fake(tmp_path)) as job:
            job.log(hostile)
            raise UserError(f"{hostile}: no")

    with pytest.raises(SystemExit):
        work()
    said = capfd.readouterr().err
    assert said == f"train: {shown}\ntrain: error: {shown}: no\n"
    assert log_of(tmp_path) == said


def test_a_message_has_no_end_of_its_own():
    said = str(UserError("x" * 16_000_000, "second"))
    assert len(said) < 5000
    assert said.endswith("\nsecond")


# --- a log that cannot be written


def test_a_log_that_cannot_be_opened_is_one_line(tmp_path, capsys):
    (tmp_path / "logs").write_text("no folder")
    with pytest.raises(SystemExit) as ended, open_job(fake(tmp_path)):
        raise AssertionError("a job without its log has begun")
    assert ended.value.code == 1
    line = f"train: error: {tmp_path / 'logs' / 'deep' / 'a.log'}: cannot be written: Not a directory\n"
    assert capsys.readouterr().err == line


def test_a_full_disk_takes_no_more_lines_and_hides_no_error(tmp_path, capsys):
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    (tmp_path / "logs" / "deep" / "a.log").symlink_to("/dev/full")
    fails = UserError("out.csv: No space left on device")
    with pytest.raises(SystemExit), open_job(fake(tmp_path)) as job:
        raise fails if job.log("halfway") is None else AssertionError
    assert capsys.readouterr().err == "train: halfway\ntrain: error: out.csv: No space left on device\n"
    with pytest.raises(ZeroDivisionError), open_job(fake(tmp_path)):
        1 / 0  # noqa: B018


def test_a_disk_that_turned_read_only_is_one_line(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=r"a\.csv: cannot be written: Read-only file system$"):
        files.write_text(tmp_path / "a.csv", "x")
