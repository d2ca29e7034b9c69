"""Snakemake's lock on a working folder, released when the Snakemake that held it was killed.

Snakemake locks with files, which a SIGKILL or a power cut leaves behind: the next call refuses to start until someone
says `--unlock`. Here every call also holds a lock of the kernel's, which ends with its process, however it ends. A call
that finds itself alone removes what the dead have left.
"""

import contextlib
import fcntl
import os
import socket
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []  # the open file of every folder, for as long as this process lives


def hold(folder: str | os.PathLike = ".snakemake") -> list[str]:
    """Say that this process uses `folder`, until it ends; where no other does, remove stale locks.

    The lock of a kernel may not be seen by another host. So nothing is removed once the folder was used from two.

    Returns:
        The names of the lock files that were removed.
    """
    folder, host, removed = Path(folder), socket.gethostname(), []
    with contextlib.suppress(OSError):  # a read-only folder, or a file system without locks: all is left as it is
        folder.mkdir(exist_ok=True)
        file = open(folder / "in_use", "a+", encoding="utf-8")  # noqa: SIM115 - stays open
        _held.append(file)
        file.seek(0)
        hosts = set(file.read().split())
        if host not in hosts:
            file.write(f"{host}\n")
            file.flush()
        with contextlib.suppress(BlockingIOError):  # in use: another call's locks are its own
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if hosts == {host}:
                for lock in sorted(folder.glob("locks/*.lock")):
                    lock.unlink(missing_ok=True)
                    removed.append(lock.name)
        fcntl.flock(file, fcntl.LOCK_SH)
    return removed
