"""What is done to a run of the workflow: processes killed, files harmed, disks filled."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.checkout import Checkout, Ran

OBEYS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]  # a root that obeys the permissions of files
TRACEBACK = "Traceback (most recent call last)"


def processes(head: subprocess.Popen) -> dict[int, str]:
    """Process id → name of all in the group that a process heads."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        state, _, group = rest.split()[:3]
        if int(group) == head.pid and state != "Z":
            found[int(folder.name)] = name.partition("(")[2]
    return found


def killed(head: subprocess.Popen, chance: random.Random, after: float) -> str:
    """Kill one process of the group some seconds from now, and wait for the end of all; its name, or how it ended."""
    deadline = time.monotonic() + after
    while time.monotonic() < deadline and head.poll() is None:
        time.sleep(0.02)
    running = processes(head)
    if head.poll() is not None or not running:
        return ""
    victim = chance.choice(sorted(running))
    os.kill(victim, signal.SIGKILL)
    head.communicate(timeout=300)
    gone(head)
    return "snakemake" if victim == head.pid else running[victim]


def gone(head: subprocess.Popen) -> None:
    """Wait until nothing of a group is left: a job does not outlive its Snakemake."""
    deadline = time.monotonic() + 60
    while left := processes(head):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)


def clear(ran: Ran) -> list[str]:
    """The error lines of a call that failed: there are some, and no traceback of ours."""
    assert TRACEBACK not in ran.said, ran.said
    lines = [line for line in ran.said.splitlines() if ": error: " in line]
    assert lines, ran.said
    return lines


def files(checkout: Checkout) -> list[Path]:
    """Every file of the results that has a record, as a path in the checkout."""
    records = checkout.path("results/logs/records")
    names = [path.relative_to(records).as_posix().removesuffix(".json") for path in records.rglob("*.json")]
    return sorted(path for name in names if (path := checkout.path(f"results/{name}")).is_file())


def kinds(checkout: Checkout) -> list[Path]:
    """One file of every kind: of each name, in each folder of the results."""
    top = checkout.path("results")
    chosen = {}
    for path in files(checkout):
        where = path.relative_to(top).parts
        chosen[where[0] if where[0] in ("checkpoints", "snowballs", "lattice", "corpus") else "", path.name] = path
    return sorted(chosen.values())


# --- harm to one file


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def flip_and_keep_the_time(path: Path, chance: random.Random) -> None:
    status = path.stat()
    flip(path, chance)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def exchange(path: Path, other: Path) -> None:
    """Put the file of the same name of another tree in its place, with a new time; true if it is another."""
    path.write_bytes(other.read_bytes())


# --- disks


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """The contents of a folder on a disk (tmpfs) of its own; they are there again when the context ends."""
    aside = folder.with_name(f"{folder.name}.aside")
    folder.rename(aside)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        shutil.rmtree(aside)
        yield folder
    finally:
        shutil.copytree(folder, aside, dirs_exist_ok=True)
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()
        aside.rename(folder)


def fill(folder: Path, leave: int) -> Path:
    """A file that leaves so many bytes of a disk free."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with open(ballast, "wb") as file:
        while free > leave:
            free -= file.write(b"\0" * min(1 << 20, free - leave))
    return ballast


def may_mount() -> bool:
    """Whether this process may mount a disk."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
