"""A full disk: refused in one line that names the file, nothing left behind, by everything that writes.

A small tmpfs where this process may mount one; /dev/full and a limit on the size of files everywhere.
"""

import resource
import subprocess
from contextlib import contextmanager

import pytest
import torch
from blackholes.artifacts.files import atomic, write_table, write_text
from blackholes.artifacts.tensors import TensorWriter, write_tensors
from blackholes.errors import UserError
from blackholes.lattice import displacements
from blackholes.runs import distances, statistics, summary
from helpers import ADJACENCY, names, random_history, run_statistics, write_history

FLOATS = torch.float32


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no permission to mount a tmpfs: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@contextmanager
def file_limit(size):
    """No file of this process may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def lead_to_dev_full(path):
    """What is written to `path` goes to a device that is always full."""
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        raise KeyboardInterrupt
    temporary.symlink_to("/dev/full")


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fill(disk, leave):
    (disk / "ballast").write_bytes(b"\0" * ((1 << 20) - leave))


# --- seen before the first byte


def test_a_file_larger_than_the_disk_is_refused_before_it_is_begun(tmp_path):
    with pytest.raises(UserError) as caught, TensorWriter(tmp_path / "a.safetensors", {"x": (FLOATS, (10**9, 10**8))}):
        raise AssertionError
    message = one_line(caught)
    assert message.startswith(f"{tmp_path / 'a.safetensors'}: needs 400,000,000,000.0 MB, but the disk has ")
    assert message.endswith(" MB left")
    assert names(tmp_path) == []


def test_sizes_are_named(small_disk):
    fill(small_disk, leave=512 << 10)
    with pytest.raises(UserError) as caught:
        write_tensors(small_disk / "a.safetensors", {"x": torch.ones(200_000)})
    assert one_line(caught) == f"{small_disk / 'a.safetensors'}: needs 0.8 MB, but the disk has 0.5 MB left"
    assert names(small_disk) == ["ballast"]
    write_tensors(small_disk / "a.safetensors", {"x": torch.ones(100_000)})  # fits


# --- seen in the middle


def test_a_disk_that_fills_in_mid_write(small_disk):
    target = small_disk / "a.safetensors"

    def write():
        with TensorWriter(target, {"x": (FLOATS, (8, 25_000))}) as writer:
            for row in range(8):
                writer.append("x", torch.ones(1, 25_000))
                if row == 3:
                    fill(small_disk, leave=480 << 10)  # 0.40 of the file's 0.80 MB are there, 0.09 MB free

    with pytest.raises(UserError) as caught:
        write()
    assert one_line(caught) == f"{target}: No space left on device after 0.5 MB; the partial file is deleted"
    assert names(small_disk) == ["ballast"]


def test_the_old_file_survives(small_disk):
    target = small_disk / "a.csv"
    write_table(target, ["x"], [[1]])
    fill(small_disk, leave=64 << 10)
    with pytest.raises(UserError, match=r"a\.csv: No space left on device after 0\.1 MB"):
        write_table(target, ["x"], ((number,) for number in range(100_000)))
    assert names(small_disk) == ["a.csv", "ballast"]
    assert target.read_text() == "x\n1\n"


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_tensors(path, {"x": torch.ones(10_000)}),
        lambda path: write_table(path, ["x"], ((number,) for number in range(10_000))),
        lambda path: write_text(path, "x" * 10_000),
    ],
    ids=["tensors", "table", "text"],
)
def test_every_writer(tmp_path, write):
    path = tmp_path / "a"
    lead_to_dev_full(path)
    with pytest.raises(UserError) as caught:
        write(path)
    assert one_line(caught) == f"{path}: No space left on device after 0.0 MB; the partial file is deleted"
    assert names(tmp_path) == []
    with file_limit(4096), pytest.raises(UserError) as caught:
        write(path)
    assert one_line(caught) == f"{path}: File too large after 0.0 MB; the partial file is deleted"
    assert names(tmp_path) == []
    write(path)
    assert names(tmp_path) == ["a"]


# --- the analyses: the file at fault is the output, never the input


@pytest.fixture
def run(tmp_path):
    """A history and what is made of it, with the bytes of each output."""
    history = write_history(tmp_path / "history.safetensors", random_history(S=30, V=32))
    return [history]


ANALYSES = {
    "chebyshev": lambda history, out: distances.write_chebyshev(history, out / "x", budget_gb=1e-9),
    "lattice": lambda history, out: displacements.write(history, motion_in(out)),
}
for _file in statistics.Outputs.__annotations__:
    ANALYSES[_file] = lambda history, out, file=_file: statistics.write(history, ADJACENCY, statistics_in(out, file))


def statistics_in(out, x):
    """The files of a run's statistics, one of them named x."""
    files = statistics.Outputs.__annotations__
    return statistics.Outputs(*(str(out / ("x" if name == x else name)) for name in files))


def motion_in(out):
    """Output files of row E, the large one named x."""
    names = displacements.Outputs.__annotations__
    return displacements.Outputs(*(str(out / ("x" if name == "displacements" else name)) for name in names))


@pytest.mark.parametrize("analysis", ANALYSES)
def test_the_message_names_the_output(tmp_path, run, analysis):
    out = tmp_path / "out"
    out.mkdir()
    lead_to_dev_full(out / "x")
    with pytest.raises(UserError) as caught:
        ANALYSES[analysis](*run, out)
    assert one_line(caught).startswith(f"{out / 'x'}: No space left on device")
    assert names(out) == []
    with file_limit(2048), pytest.raises(UserError) as caught:
        ANALYSES[analysis](*run, out)
    # the file that is too large first; of a run's statistics, the one that is closed first
    blamed = {"lattice": "norms", "counts": "events", "geometry": "events", "graphs": "events"}.get(analysis, "x")
    assert one_line(caught).startswith(f"{out / blamed}: File too large")
    assert names(out) == []


def test_matrices_that_the_disk_has_no_room_for(small_disk, tmp_path):
    history = write_history(tmp_path / "history.safetensors", random_history(S=300, V=32))
    with pytest.raises(UserError) as caught:
        distances.write_chebyshev(history, str(small_disk / "x"))
    assert one_line(caught).startswith(f"{small_disk / 'x'}: needs 1.2 MB, but the disk has 1.0 MB left")
    assert names(small_disk) == []


def test_a_summary(tmp_path, run):
    counts = [run_statistics(run[0], tmp_path).counts]
    log = tmp_path / "log.csv"
    write_table(log, ["step", "loss", "grad_norm", "learning_rate"], [(step, 1, 1, 1) for step in range(1, 30)])
    out = tmp_path / "out"
    out.mkdir()
    lead_to_dev_full(out / "summary.csv")
    with pytest.raises(UserError, match=r"out/summary\.csv: No space left"):
        summary.write([log], [counts], counts, ["run_001"], [0, 29], out / "summary.csv", out / "increases.csv")
    assert names(out) == []
