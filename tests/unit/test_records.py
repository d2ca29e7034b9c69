"""What jobs know of files: whose a file is while it is written, and what is in it afterwards."""

import json
import os
import select
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from blackholes.artifacts import digests, tables
from blackholes.artifacts.files import guarded, write_table, write_text
from blackholes.artifacts.histories import open_history, write_hdf5
from blackholes.artifacts.job import open_job
from blackholes.artifacts.records import Records
from blackholes.artifacts.tensors import TensorWriter, open_tensors, write_tensors
from blackholes.errors import DamagedFile, UserError
from blackholes.lattice import displacements
from blackholes.runs import distances
from helpers import names, random_history, run_statistics, write_history
from safetensors.torch import save_file
from test_disk_full import motion_in
from test_job import fake, log_of
from test_marked_files import MARKED, rows

READERS = {
    "distances": lambda history, out: distances.write_chebyshev(history, str(out / "x"), budget_gb=1e-9),
    "statistics": lambda history, out: run_statistics(history, out),
    "lattice": lambda history, out: displacements.write(history, motion_in(out), budget_gb=1e-4),
    "hdf5": lambda history, out: write_hdf5(history, out / "x"),
}
SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def job_for(folder, name="qwen", file="a.csv", **options):
    """A job that is to write one file below `folder`."""
    return open_job(fake(folder, output={"a": str(folder / file)}, wildcards={"experiment": name}, **options))


# --- a job that was left behind


def test_a_job_left_behind_does_not_overwrite_a_newer_result(tmp_path, capsys):
    """Its Snakemake was killed; a job of another configuration began after it, and has ended."""
    path = tmp_path / "a.csv"

    def left_behind():
        with job_for(tmp_path, "old"):
            with job_for(tmp_path, "new"):
                write_table(path, ["x"], [["new"]])
            write_table(path, ["x"], [["old"]])

    with pytest.raises(SystemExit) as ended:
        left_behind()
    assert ended.value.code == 1
    line = f"train old: error: {path}: another job (train new) has begun to write it since; this one stops\n"
    assert line == capsys.readouterr().err
    assert path.read_text() == "x\nnew\n"
    assert names(tmp_path) == ["a.csv", "logs"]


def test_nor_does_it_write_while_the_newer_job_is_at_work(tmp_path):
    path = tmp_path / "a.safetensors"
    old = Records(tmp_path)
    old.claim([str(path)], "old")
    with job_for(tmp_path, "new", path.name):
        with guarded([str(path)], old.check_owner), pytest.raises(UserError, match=r"another job \(train new\)"):
            write_tensors(path, {"x": [1.0]})
        assert names(tmp_path) == ["logs"]
        write_tensors(path, {"x": [2.0]})
    with open_tensors(path) as file:
        assert file.rows("x").tolist() == [2.0]


def test_a_history_that_another_job_has_claimed_is_not_renamed(tmp_path):
    """Same content, so the partial file is shared; it is the newer job's."""
    path = tmp_path / "a.safetensors"

    def overtaken():
        with job_for(tmp_path, "old", path.name):
            with TensorWriter(path, MARKED, {}, mark="m") as writer:
                writer.append("embedding_history", rows(0, 6))
                Records(tmp_path).claim([str(path)], "new")

    with pytest.raises(SystemExit):
        overtaken()
    assert names(tmp_path) == [".a.safetensors.m.part", "logs"]
    assert "another job (new) has begun to write it since" in log_of(tmp_path)


def test_a_job_that_was_overtaken_leaves_no_record_even_if_it_has_nothing_left_to_write(tmp_path):
    with pytest.raises(SystemExit), job_for(tmp_path, "old"):
        Records(tmp_path).claim([str(tmp_path / "a.csv")], "new")
    assert not (tmp_path / "logs" / "deep" / "a.json").exists()
    assert "another job (new)" in log_of(tmp_path)


def test_without_records_a_job_goes_on(tmp_path):
    """They were deleted while it ran: nobody else has claimed its files."""
    with job_for(tmp_path):
        (tmp_path / "logs" / "records" / "a.csv.json").unlink()
        write_text(tmp_path / "a.csv", "x\n")
    assert (tmp_path / "a.csv").read_text() == "x\n"
    with job_for(tmp_path):
        (tmp_path / "logs" / "records" / "a.csv.json").write_text("")  # as a power cut may leave it
        write_text(tmp_path / "a.csv", "y\n")
    assert (tmp_path / "a.csv").read_text() == "y\n"


def test_files_outside_the_results_have_no_record(tmp_path):
    inside = tmp_path / "results"
    with open_job(fake(inside, output={"a": str(tmp_path / "a.csv")})):
        write_text(tmp_path / "a.csv", "x\n")
    assert names(tmp_path) == ["a.csv", "results"]
    assert names(inside / "logs") == ["deep"]
    assert Records.beside(tmp_path / "elsewhere" / "a.log") is None


# --- a job whose Snakemake is gone

SNAKEMAKE = """
    import subprocess, sys
    subprocess.run(["sh", "-c", f"{sys.executable} job.py; true"])
"""
JOB = """
    import os, time
    from types import SimpleNamespace
    from blackholes.artifacts.job import open_job
    from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards, Log
    snakemake = SimpleNamespace(
        input=InputFiles(), output=OutputFiles(), params=Params(), wildcards=Wildcards(), log=Log(), threads=1,
        rule="one", config={"training": {"progress_seconds": 1}}, resources={},
    )
    with open_job(snakemake):
        open("pid", "w").write(str(os.getpid()))
        os.rename("pid", "started")
        time.sleep(90)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs descriptors of processes: Linux")
def test_a_job_ends_with_its_snakemake_though_a_shell_is_between(tmp_path):
    """As the jobs of a cluster do, which no fork of a server runs."""
    (tmp_path / "snakemake").write_text(textwrap.dedent(SNAKEMAKE))
    (tmp_path / "job.py").write_text(textwrap.dedent(JOB))
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    parent = subprocess.Popen([sys.executable, "snakemake"], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 120
    while not (tmp_path / "started").exists():
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    job = os.pidfd_open(int((tmp_path / "started").read_text()))
    parent.kill()
    parent.wait()
    assert select.select([job], [], [], 60)[0]


# --- what is in a file


def made(folder, name, **tensors):
    """A file that a job wrote, with its record."""
    path = folder / name
    with job_for(folder, file=name):
        if path.suffix == ".safetensors":
            write_tensors(path, tensors or {"x": torch.arange(100.0), "y": torch.arange(7)}, {"config_digest": "c0de"})
        elif path.suffix == ".csv":
            write_table(path, ["a", "text"], [[1, "one\nline, and two"], [2, ""], [3, "x"]])
        else:
            path.write_bytes(bytes(range(256)) * 20)
    return path


def read_by(folder, path, config=None, use=lambda job: None, **options):
    """A job that reads it, whose exit status is returned; what it said is in its log."""
    snakemake = fake(folder, input={"it": str(path)}, rule="next", **(config or {}))
    try:
        with open_job(snakemake, **options) as job:
            use(job)
    except SystemExit as ended:
        return ended.code
    return 0


def flip(path, at=None):
    """Change one bit, and keep the time of the file."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


KINDS = ["a.safetensors", "a.csv", "a.json", "a.png", "a.svg", "a.h5", "a.html"]


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_of_an_input_is_an_error_that_names_it(tmp_path, name):
    path = made(tmp_path, name)
    before = path.read_bytes()
    assert read_by(tmp_path, path) == 0
    flip(path)
    assert read_by(tmp_path, path, {"check_inputs": False}) == 0
    assert read_by(tmp_path, path) == 1
    kept = tmp_path / f".{name}.damaged"
    said = log_of(tmp_path)
    assert said.startswith(f"next: error: {path}: damaged: ")
    assert said.endswith(f"; it is kept as {kept}, and the next call makes it anew\n")
    assert not path.exists()  # so that Snakemake runs the job that makes it
    assert made(tmp_path, name).read_bytes() == before
    assert not kept.exists()
    assert read_by(tmp_path, path) == 0


def read_to_a_damaged_end(job):
    raise DamagedFile(job.input.it, "damaged: its tensors are not those that were written")


USES = {
    "provenance": lambda job: job.metadata,
    "table": lambda job: tables.read_tokens(job.input.it),
    "bytes": lambda job: Path(job.input.it).read_bytes(),
    "stream": read_to_a_damaged_end,  # opened before the other job took its name
}


@pytest.mark.parametrize("use", [*USES.values()], ids=USES)
def test_an_input_that_another_job_sets_aside_meanwhile_is_one_line(tmp_path, use):
    """Two jobs read a damaged file: one sets it aside after the start of the other."""
    path, kept = made(tmp_path, "a.csv"), tmp_path / ".a.csv.damaged"

    def late(job):
        Records(tmp_path).set_aside(path)
        use(job)

    assert read_by(tmp_path, path, use=late) == 1
    said = log_of(tmp_path)
    assert said.startswith(f"next: error: {path}: ")
    assert said.endswith(f"; it is kept as {kept}, and the next call makes it anew\n")
    assert said.count("\n") == 1


def test_an_input_that_is_set_aside_while_it_is_compared_passes(tmp_path, monkeypatch):
    path = made(tmp_path, "a.csv")
    monkeypatch.setattr(digests, "own_header", lambda file: os.unlink(file))
    Records(tmp_path).check(path)
    assert not path.exists()


def test_an_input_that_is_deleted_meanwhile_is_one_line(tmp_path):
    path = made(tmp_path, "a.csv")

    def late(job):
        path.unlink()
        assert job.metadata

    assert read_by(tmp_path, path, use=late) == 1
    assert log_of(tmp_path) == f"next: error: {path}: no such file\n"


def test_another_file_that_is_missing_keeps_its_traceback(tmp_path):
    path = made(tmp_path, "a.csv")
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        read_by(tmp_path, path, use=lambda job: (tmp_path / "elsewhere").read_bytes())
    assert "Traceback" in log_of(tmp_path)


def test_every_byte_of_a_file_counts(tmp_path):
    """The header of a tensor file too, and what stands in its metadata."""
    for name in ("a.safetensors", "a.csv"):
        path = made(tmp_path, name)
        records, whole = Records(tmp_path), path.read_bytes()
        for at in range(0, len(whole), 1 + len(whole) // 100):
            flip(path, at)
            with pytest.raises(DamagedFile, match=name):
                records.check(path)
            path.write_bytes(whole)
        for changed in (whole[:-1], whole + b"x", b""):
            path.write_bytes(changed)
            with pytest.raises(DamagedFile, match=name):
                records.check(path)
        path.write_bytes(whole)
        records.check(path)


def test_a_table_that_lost_rows_says_how_many_it_had(tmp_path):
    path = made(tmp_path, "a.csv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(DamagedFile) as caught:
        Records(tmp_path).check(path)
    assert str(caught.value) == f"{path}: damaged: train qwen wrote 3 rows, here are 1"


def test_a_complete_file_of_another_job_is_called_foreign(tmp_path):
    path, other = made(tmp_path, "a.safetensors"), tmp_path / "b.safetensors"
    write_tensors(other, {"x": torch.arange(100.0), "y": torch.arange(7)}, {"config_digest": "0f0f"})
    os.replace(other, path)
    with pytest.raises(DamagedFile) as caught:
        Records(tmp_path).check(path)
    foreign = "foreign: a complete file, but not the one that train qwen wrote (its config_digest is 0f0f)"
    assert str(caught.value) == f"{path}: {foreign}"


def test_a_file_without_a_reliable_record_is_not_judged(tmp_path):
    """Nothing is thrown away since a record is damaged."""
    path = made(tmp_path, "a.csv")
    record = tmp_path / "logs" / "records" / "a.csv.json"
    flip(record)
    flip(path)
    assert read_by(tmp_path, path) == 0
    record.unlink()
    assert read_by(tmp_path, path) == 0
    (tmp_path / "b.csv").write_text("x\n")
    assert read_by(tmp_path, tmp_path / "b.csv") == 0
    assert read_by(tmp_path, tmp_path / "missing.csv") == 0  # which the reader of it reports


def test_a_job_records_what_it_read(tmp_path):
    path = made(tmp_path, "a.csv")
    assert read_by(tmp_path, path) == 0
    record = json.loads((tmp_path / "logs" / "deep" / "a.json").read_text())
    assert record["inputs"] == {"a.csv": Records(tmp_path).digest(path)}


# --- what is checked while it is read


def history(folder, D=4):
    path = folder / "history.safetensors"
    with job_for(folder, file=path.name):
        write_history(path, random_history(S=40, V=9, D=D))
    return path


def flip_last_snapshot(path):
    flip(path, path.stat().st_size - 3)


@pytest.mark.parametrize("harm", [flip, flip_last_snapshot])
@pytest.mark.parametrize("analyse", [*READERS.values()], ids=READERS)
def test_a_damaged_history_is_an_error_of_the_job_that_streams_it(tmp_path, analyse, harm):
    """The job's start has not read it; nothing that it wrote has a final name."""
    path, out = history(tmp_path), tmp_path / "out"
    out.mkdir()
    harm(path)
    assert read_by(tmp_path, path, streamed=["it"]) == 0
    with pytest.raises(DamagedFile) as caught:
        analyse(str(path), out)
    assert str(caught.value) == f"{path}: damaged: its tensors are not those that were written"
    assert names(out) == []


def test_rows_in_another_order_are_checked_too(tmp_path):
    path = history(tmp_path)

    def read_backwards():
        with open_history(str(path)) as source:
            for step in reversed(range(source.steps)):
                source.rows(step, step + 1)

    read_backwards()
    flip_last_snapshot(path)
    with pytest.raises(DamagedFile):
        read_backwards()


def test_check_inputs_false_checks_no_stream(tmp_path, monkeypatch):
    path = history(tmp_path)
    flip_last_snapshot(path)
    monkeypatch.setattr(digests, "checking", False)
    with open_history(str(path)) as source:
        assert sum(len(rows) for _, rows in source.chunks(7)) == 40


def test_a_history_of_others_has_no_digest_to_compare(tmp_path):
    save_file({"embedding_history": random_history()}, tmp_path / "h.safetensors")
    with open_history(str(tmp_path / "h.safetensors")) as source:
        assert source.rows(0, 5).shape == (5, 9, 2)
