"""End a job with the Snakemake that started it.

`orchestration.forked_jobs` does this for the jobs that it starts. Here it is done for all others on Linux: those of a
cluster, whose Snakemake runs on their own machine, and those with a conda environment. Imports no torch.
"""

import multiprocessing
import os
import select
import signal
import threading
from contextlib import suppress
from pathlib import Path

_GENERATIONS = 4  # between a script and its Snakemake there is a shell, or none


def end_with_snakemake() -> None:
    """Kill this process once the Snakemake among its nearest ancestors is gone, so that no result comes from no call.

    A process is watched by a descriptor of it (pidfd), so not only a direct parent is: between the two may be a shell,
    which outlives a Snakemake that is killed. Does nothing where there is no such Snakemake or no such descriptor.
    """
    if not hasattr(os, "pidfd_open") or multiprocessing.parent_process():
        return
    with suppress(OSError, ValueError, IndexError):  # an ancestor is gone or hidden, or the kernel is old
        ancestors = _up_to_snakemake()
        watched = [os.pidfd_open(pid) for pid in ancestors]
        if watched:
            threading.Thread(target=_end_with, args=(watched,), daemon=True).start()


def _up_to_snakemake() -> list[int]:
    """Process ids from the parent up to the first that is a Snakemake; none where none of the nearest is."""
    found: list[int] = []
    pid = os.getppid()
    while pid > 1 and len(found) < _GENERATIONS:
        found.append(pid)
        process = Path(f"/proc/{pid}")
        if any(os.path.basename(word) == b"snakemake" for word in (process / "cmdline").read_bytes().split(b"\0")[:4]):
            return found
        pid = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return []


def _end_with(watched: list[int]) -> None:
    select.select(watched, [], [])  # readable once a process has ended
    os.kill(os.getpid(), signal.SIGKILL)
