"""Snakemake's lock on a working folder, released when the Snakemake that held it was killed.

Snakemake locks with files, which a SIGKILL or a power cut leaves behind: the next call refuses to start until someone
says `--unlock`. Here every call also holds a lock of the kernel's (flock), which ends with its process. If no other
process is using the folder, stale lock files are deleted.
"""

import contextlib
import fcntl
import os
import socket
import sys
from pathlib import Path
from typing import Any, TextIO

_open_files: list[TextIO] = []  # one for every locked folder, for as long as this process lives


def release_stale(workflow: Any, folder: str | os.PathLike = ".snakemake") -> list[str]:
    """Lock `folder` until this process ends; delete stale lock files and print which. A dry run does neither."""
    if workflow.output_settings.dryrun:
        return []
    removed = hold(folder)
    if removed:
        names = ", ".join(removed)
        print(f"locks of a Snakemake that was killed, removed from {folder}/locks: {names}", file=sys.stderr)
    return removed


def hold(folder: str | os.PathLike = ".snakemake") -> list[str]:
    """Lock `folder` until this process ends; if no other process has, delete the lock files in it, and return them.

    Another host may not see a kernel's lock. So nothing is deleted once the folder was used from two hosts.
    """
    folder, host, removed = Path(folder), socket.gethostname(), []
    with contextlib.suppress(OSError):  # a read-only folder, or a file system without locks: nothing is deleted
        folder.mkdir(exist_ok=True)
        file = open(folder / "in_use", "a+", encoding="utf-8")  # noqa: SIM115 - stays open
        _open_files.append(file)
        file.seek(0)
        hosts = set(file.read().split())
        if host not in hosts:
            file.write(f"{host}\n")
            file.flush()
        with contextlib.suppress(BlockingIOError):  # another process uses the folder
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if hosts == {host}:
                for lock in sorted(folder.glob("locks/*.lock")):
                    lock.unlink(missing_ok=True)
                    removed.append(lock.name)
        fcntl.flock(file, fcntl.LOCK_SH)
    return removed


def alone() -> bool:
    """Whether the folder that this process locked last is used by no other process, and never was by another host."""
    if not _open_files:
        return False
    file = _open_files[-1]
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        fcntl.flock(file, fcntl.LOCK_SH)
    file.seek(0)
    return file.read().split() == [socket.gethostname()]
