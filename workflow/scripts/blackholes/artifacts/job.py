"""The frame of every script: its inputs, outputs and parameters, its log, provenance and progress.

Imports no torch, so that a script that draws figures starts quickly.
"""

import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from blackholes.artifacts import digests, gpu_leases, provenance
from blackholes.artifacts.files import guarded
from blackholes.artifacts.parents import end_with_snakemake
from blackholes.artifacts.records import Records, aside, write_json
from blackholes.errors import DamagedFile, UserError, printable


@dataclass
class Job:
    """What a script sees of its Snakemake job."""

    input: Any
    output: Any
    params: Any
    wildcards: Any
    config: dict
    threads: int
    rule: str
    name: str  # what the terminal calls it, e.g. "train qwen/run_003"
    log_file: TextIO | None = None
    _seconds: float = field(default=5.0)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """Provenance of the outputs, text → text (see provenance.describe)."""
        inputs = {}
        for name, paths in self._inputs.items():
            for index, path in enumerate(paths):
                inputs[name if len(paths) == 1 else f"{name}[{index}]"] = path
        return provenance.describe(self._settings, inputs)

    @property
    def _inputs(self) -> dict[str, list[str]]:
        """Name → paths."""
        return {name: [value] if isinstance(value, str) else list(value) for name, value in self.input.items()}

    def check_inputs(self, records: Records, streamed: Sequence[str] = ()) -> None:
        """Compare the input files with what is recorded of them.

        Args:
            streamed: names of inputs whose tensors are checked while they are read (see `histories.open_history`).

        Raises:
            DamagedFile: naming the first that differs.
        """
        for name, paths in self._inputs.items():
            for path in paths:
                records.check(path, whole=name not in streamed)

    def lost_input(self) -> str:
        """An input that is no longer there, and what became of it; empty if all are. Snakemake starts no job without
        its inputs, but another job that reads one may find it damaged, and set it aside."""
        for path in (path for paths in self._inputs.values() for path in paths):
            if not Path(path).exists():
                kept = aside(path)
                found = f": another job found it damaged; it is kept as {kept}, and the next call makes it anew"
                return f"{path}: no such file{found if kept.exists() else ''}"
        return ""

    @property
    def _settings(self) -> dict[str, Any]:
        """The rule's parameters but for the digest of its code, which may change where no value does, and for `forces`,
        which adds a file to those of a training and changes none."""
        return {key: value for key, value in self.params.items() if key not in ("code", "forces")}

    def record(self, records: Records) -> dict[str, Any]:
        """What the outputs' own metadata leaves out, since it may change where their bytes do not."""
        paths = [path for paths in self._inputs.values() for path in paths]
        return {
            "job": self.name,
            "code_digest": self.params.get("code", ""),
            "config_digest": provenance.digest(self._settings),
            "threads": self.threads,
            "versions": provenance.versions(),
            "inputs": {records.name(path): digest for path in paths if (digest := records.digest(path))},
            "outputs": {path: provenance.file_digest(path) for path in self.output if Path(path).exists()},
        }

    def log(self, text: str) -> None:
        """One line for the terminal and the log. Whatever the text comes from, it is no command to the terminal."""
        line = printable(f"{self.name}: {text}")
        print(line, file=sys.stderr, flush=True)
        self.note(line)

    def note(self, line: str) -> None:
        """One line for the log alone; none where the disk is full, since then something else is worth saying."""
        if self.log_file:
            with suppress(OSError):
                print(line, file=self.log_file, flush=True)

    def progress(self, unit: str, label: str = "") -> Callable[..., None]:
        """A function `tick(done, total, more)` that says, every few seconds, how far, how fast, how long still.

        `more()`, if given, is asked for further numbers to show (a loss, a count of holes) whenever a line is due;
        `label` names one of several things that a job does side by side. Lines and no moving bar: several jobs share
        one terminal and each has a log.
        """
        began, first = time.monotonic(), None
        said = began

        def tick(done: int, total: int, more: Callable[[], dict] = dict) -> None:
            nonlocal said, first
            now = time.monotonic()
            if first is None:
                first = (now, done)  # what came before is start-up, and says nothing of the speed
            if now - said < self._seconds and done != total:
                return
            said = now
            rate = (done - first[1]) / max(now - first[0], 1e-9)
            parts = [label] if label else []
            parts += [f"{unit} {done:,}/{total:,}"]
            if rate:
                parts += [f"{rate:,.1f} {unit}s/s", f"{clock((total - done) / rate)} left"]
            parts += [
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in more().items()
            ]
            self.log(" · ".join(parts))

        return tick


@contextmanager
def open_job(snakemake, streamed: Sequence[str] = ()) -> Iterator[Job]:
    """Run a script's body: a UserError ends it with one clear line and exit status 1, any other with its traceback.

    The job ends with the Snakemake that started it. It claims its outputs, and stops where it would write one that
    another job has claimed since (see `artifacts.records`). It compares its inputs with what was recorded of them when
    they were written, unless `check_inputs` of the configuration is false. One that differs is an error, and gets
    another name, so that the next call makes it anew.

    Args:
        streamed: as `Job.check_inputs`.
    """
    end_with_snakemake()
    name = job_name(snakemake.rule, dict(snakemake.wildcards.items()))
    job = Job(
        snakemake.input,
        snakemake.output,
        snakemake.params,
        snakemake.wildcards,
        snakemake.config,
        snakemake.threads,
        snakemake.rule,
        name,
        _seconds=float(snakemake.config["training"]["progress_seconds"]),
    )
    if snakemake.log:
        try:
            Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
            job.log_file = open(snakemake.log[0], "w", encoding="utf-8")  # noqa: SIM115 - closed below
        except OSError as error:  # a full disk, a folder that turned read-only
            job.log(f"error: {snakemake.log[0]}: cannot be written: {error.strerror}")
            sys.exit(1)
    records = Records.beside(snakemake.log[0]) if snakemake.log else None
    began, show, checking = time.monotonic(), warnings.showwarning, digests.checking
    if job.log_file:
        warnings.showwarning = lambda message, category, *_: job.log(
            f"{category.__name__}: {' '.join(str(message).split())}"
        )
    try:
        digests.checking = bool(snakemake.config.get("check_inputs", True))
        if records:
            records.claim(job.output, job.name)
            if digests.checking:
                job.check_inputs(records, streamed)
        gpu_leases.take(snakemake.resources.get("gpu", 0), job.log)
        with guarded(job.output, records.check_owner if records else lambda path: None):
            yield job
        if records and job.log_file:
            for path in job.output:
                records.check_owner(path)
            record = Path(job.log_file.name).with_suffix(".json")
            write_json(record, job.record(records))
            records.complete(job.output, job.name, record)
        job.note(f"{job.name}: done in {time.monotonic() - began:.1f} s, without its start-up")
    except DamagedFile as error:
        job.log(f"error: {error}{records.set_aside(error.path) if records else ''}")
        sys.exit(1)
    except (UserError, FileNotFoundError) as error:
        lost = job.lost_input()
        if not lost and not isinstance(error, UserError):
            job.note(traceback.format_exc().rstrip())
            raise
        job.log(f"error: {lost or error}")
        sys.exit(1)
    except Exception:
        job.note(traceback.format_exc().rstrip())
        raise
    finally:
        digests.checking = checking
        warnings.showwarning = show
        if job.log_file:
            with suppress(OSError):
                job.log_file.close()


def job_name(rule: str, wildcards: Mapping[str, str]) -> str:
    """What the terminal calls a job, e.g. `train qwen/run_003`."""
    kinds = ("experiment", "corpus", "checkpoint", "snowball", "sigma", "part", "lattice")
    parts = [*map(wildcards.get, kinds), f"run_{wildcards['run']}" if "run" in wildcards else None]
    return " ".join([rule, "/".join(part for part in parts if part)]).strip()


def clock(seconds: float) -> str:
    """`3:07` (minutes, seconds) or `1:03:07`"""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
