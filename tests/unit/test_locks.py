"""Locks that a killed Snakemake left behind are removed; those of a live one, or of another host, are not."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from blackholes.orchestration import locks

HOLD = (
    "import sys; from blackholes.orchestration import locks; "
    "print(locks.hold(sys.argv[1]), flush=True); sys.stdin.read()"
)


@pytest.fixture
def folder(tmp_path):
    """A folder with the lock of a process that had taken it in use, and died."""
    with user(tmp_path):
        pass
    lock(tmp_path)
    return tmp_path


def user(folder):
    """A process that uses `folder` until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    process.said = process.stdout.readline()
    return process


def lock(folder):
    (folder / "locks").mkdir()
    (folder / "locks" / "0.output.lock").write_text("results/file\n")


def left(folder):
    return [path.name for path in (folder / "locks").iterdir()]


def test_locks_of_dead_processes_are_deleted(folder):
    assert locks.hold(folder) == ["0.output.lock"]
    assert left(folder) == []


def test_a_killed_process_is_dead(tmp_path):
    with user(tmp_path) as process:
        lock(tmp_path)
        process.kill()
    assert locks.hold(tmp_path) == ["0.output.lock"]


def test_locks_of_living_processes_are_kept(folder):
    with user(folder):
        lock_again = folder / "locks" / "1.output.lock"
        lock_again.write_text("results/other\n")
        assert locks.hold(folder) == []
        assert left(folder) == ["1.output.lock"]


def test_two_users_of_a_folder(tmp_path):
    with user(tmp_path), user(tmp_path):
        lock(tmp_path)
        assert locks.hold(tmp_path) == []


def test_the_folder_stays_in_use_until_its_last_user_ends(tmp_path):
    first, second = user(tmp_path), user(tmp_path)
    with second:
        with first:
            pass
        lock(tmp_path)
        assert locks.hold(tmp_path) == []
        assert left(tmp_path) == ["0.output.lock"]


def test_a_lock_older_than_the_first_use_stays(tmp_path):
    lock(tmp_path)
    assert locks.hold(tmp_path) == []
    assert left(tmp_path) == ["0.output.lock"]


def test_no_lock_is_deleted_if_another_host_used_the_folder(folder):
    with open(folder / "in_use", "a") as file:
        file.write("another-host\n")
    assert locks.hold(folder) == []
    assert left(folder) == ["0.output.lock"]


def test_a_folder_that_cannot_be_created_is_ignored(tmp_path):
    (tmp_path / "file").touch()
    assert locks.hold(tmp_path / "file" / "folder") == []


def workflow(dryrun=False):
    return SimpleNamespace(output_settings=SimpleNamespace(dryrun=dryrun))


def test_what_was_removed_is_said(folder, capsys):
    assert locks.release_stale(workflow(), folder) == ["0.output.lock"]
    assert "0.output.lock" in capsys.readouterr().err


def test_a_dry_run_removes_nothing(folder, capsys):
    assert locks.release_stale(workflow(dryrun=True), folder) == []
    assert left(folder) == ["0.output.lock"]
    assert capsys.readouterr().err == ""


def test_alone_is_the_only_user_of_the_folder(tmp_path):
    locks.hold(tmp_path)
    assert locks.alone()
    with user(tmp_path):
        assert not locks.alone()
    assert locks.alone()


def test_nobody_is_alone_in_a_folder_that_another_host_used(folder):
    with open(folder / "in_use", "a") as file:
        file.write("another-host\n")
    locks.hold(folder)
    assert not locks.alone()


def test_asking_who_is_alone_keeps_the_lock(folder):
    locks.hold(folder)
    locks.alone()
    (folder / "locks" / "1.output.lock").touch()
    with user(folder) as process:
        assert process.said == "[]\n"
    assert "1.output.lock" in left(folder)
