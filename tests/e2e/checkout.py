"""A copy of the checkout in a folder of its own, and Snakemake run in it as a user runs it."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from e2e import forked_snakemake
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
TINY = "tests/e2e/tiny.yaml"
_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", re.MULTILINE)
_LOG = re.compile(r"^Complete log\(s\): (\S+)$", re.MULTILINE)


@dataclass
class Ran:
    """How a call of Snakemake ended, what it printed, and its log, which says more about its jobs."""

    status: int
    said: str

    @property
    def log(self) -> str:
        """Snakemake's log of a call that ran jobs; of a dry run, which has none, what it printed."""
        path = _LOG.search(self.said)
        return Path(path[1]).read_text() if path else self.said

    @property
    def jobs(self) -> dict[str, list[str]]:
        """Rule → output files of its jobs, but for rules that only collect."""
        found: dict[str, list[str]] = {}
        for rule, lines in _JOB.findall(self.log):
            output = re.search(r"^    output: (.*)$", lines, re.MULTILINE)
            if output:
                found.setdefault(rule, []).extend(output[1].split(", "))
        return {rule: sorted(set(files)) for rule, files in found.items()}

    @property
    def files(self) -> list[str]:
        """The output files of all jobs."""
        return sorted(file for files in self.jobs.values() for file in files)


class Checkout:
    """A working tree in `folder`: `fresh` from this one, or a `copy` of another with all that was made there."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    @classmethod
    def fresh(cls, folder: Path) -> "Checkout":
        """What a clone has: no ignored file but the compiled kernels, which only save time."""
        for path in tracked():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path)
        for cache in (ROOT / "workflow/scripts/blackholes").rglob("__pycache__"):
            shutil.copytree(cache, folder / cache.relative_to(ROOT))
        return cls(folder)

    def copy(self, folder: Path) -> "Checkout":
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Checkout(folder)

    def clean(self, folder: Path) -> "Checkout":
        """A copy in which nothing has run, but whose kernels are compiled."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("results", ".snakemake"), dirs_exist_ok=True)
        return Checkout(folder)

    def command(self, *arguments: str, cores: int = 2, overlay: str | None = None) -> list[str]:
        files = [TINY, overlay] if overlay else [TINY]
        return [sys.executable, "-m", "snakemake", *arguments, "--cores", str(cores), "--configfile", *files]

    def start(self, *arguments: str, through: Sequence[str] = (), **options) -> subprocess.Popen:
        """Start Snakemake as the head of a process group of its own, by the command `through` if there is one."""
        return subprocess.Popen(
            [*through, *self.command(*arguments, **options)],
            cwd=self.folder,
            env=environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *arguments: str, status: int | None = 0, seconds: float = 900, **options) -> Ran:
        """Run Snakemake to its end; `status` is what it has to end with (None: anything but 0)."""
        command = self.command(*arguments, **options)
        ended, said = forked_snakemake.call(command[3:], self.folder, environment(), seconds)
        expected = ended != 0 if status is None else ended == status
        assert expected, f"exit status {ended} of {command}:\n{said}"
        return Ran(ended, said)

    def plan(self, *arguments: str, **options) -> Ran:
        """What Snakemake would do."""
        return self.run(*arguments, "--dry-run", **options)

    def path(self, name: str) -> Path:
        return self.folder / name

    def edit(self, name: str, text: str) -> None:
        """Append a line to a file."""
        with open(self.folder / name, "a") as file:
            file.write(text + "\n")

    def results(self, *left_out: str) -> list[str]:
        """Every file under results/, hidden ones too, but for these folders and files."""
        top = self.folder / "results"
        files = sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if not path.is_dir())
        return [file for file in files if not file.startswith(left_out)]

    def digests(self, *left_out: str) -> dict[str, str]:
        """File → digest of its bytes: all results but logs, benchmarks, report and page, which tell the time."""
        files = self.results("logs/", "benchmarks/", "report.html", "index.html", *left_out)
        return {file: _digest(self.folder / "results" / file) for file in files}


def tracked() -> list[str]:
    """The files of this working tree that git does not ignore, new ones too."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return sorted(path for path in set(listed.stdout.split("\0")) if path and (ROOT / path).is_file())


def environment() -> dict[str, str]:
    """This process' environment, less what would show in a run: threads, proxies, a Snakemake around the tests."""
    hide = ("SNAKEMAKE", "OMP_", "MKL_", "PYTHONPATH", "SLURM_", "HTTP_PROXY", "http_proxy")
    return {name: value for name, value in os.environ.items() if not name.startswith(hide)}


def tensors(path: Path) -> dict[str, tuple]:
    """Key → dtype, shape and bytes of every tensor of a file."""
    with safe_open(path, framework="pt") as file:
        values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    return {
        key: (value.dtype, tuple(value.shape), value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        for key, value in values.items()
    }


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
