"""From asking Snakemake what it would run to the lines that say so."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blackholes.config import files
from blackholes.errors import UserError
from blackholes.orchestration import costs, inputs, reasons
from blackholes.orchestration.planning import ASK, digests, in_order
from blackholes.verify.plan import refusal


def ask(arguments: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """What a call of Snakemake with these arguments would run: the jobs, in an order that it could run them in.

    Also what the digests of code stand for that it has: digest → module → digest of its statements.

    Raises:
        UserError: Snakemake refuses the call; with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "plan.json"
        command = [sys.executable, "-m", "snakemake", *arguments, "--dry-run", "--quiet", "rules", "--nolock"]
        ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {ASK: str(place)})
        if ended.returncode:  # a dry run logs to its standard output
            raise UserError(f"Snakemake cannot say what it would run: {refusal(ended.stderr + ended.stdout)}")
        said = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {"jobs": [], "digests": {}}
    return in_order(said["jobs"]), said["digests"]


def run(results: Path, arguments: Sequence[str], cores: int, log: Callable[[str], None]) -> float:
    """Say what a call would run, why, and what it will cost. Returns the seconds that it will take, about.

    Raises:
        UserError: as `ask`.
    """
    jobs, now = ask(arguments)
    if not jobs:
        log("nothing would run: all that this configuration makes is there, and up to date")
        return 0.0
    for line in texts(arguments):
        log(line)
    past, known = costs.recorded(results), digests() | now
    of = [costs.cost(job, past) for job in jobs]
    for (rule, why), members in reasons.grouped(jobs, known).items():
        log(_line(rule, [jobs[index] for index in members], [of[index] for index in members]))
        for line in why:
            log(f"    {line}")
    seconds = costs.CALL + costs.wall_clock(jobs, (one.seconds for one in of), cores)
    busy = sum(one.seconds for one in of)
    most = max(of, key=lambda one: one.memory_mb).memory_mb
    log(
        f"{len(jobs)} jobs: about {_time(seconds)} on {cores} cores ({_time(busy)} of jobs), "
        f"{_disk(jobs, of)} of files, up to {_size(most)} of memory a job"
    )
    log(_judged_by([one.by for one in of]))
    return seconds


def texts(arguments: Sequence[str]) -> list[str]:
    """A line for each text of the call's configuration that was looked at: its tokens, and how many of V are dead."""
    surveyed = inputs.survey(files.load(arguments))
    return [
        f"corpus {name}: {found['tokens']:,} tokens; {found['dead']:,} of the {found['size']:,} kinds are dead"
        for name, found in surveyed.items()
        if "tokens" in found
    ]


def _line(rule: str, jobs: Sequence[Mapping[str, Any]], of: Sequence[costs.Cost]) -> str:
    each = f"{_time(max(one.seconds for one in of))}{' each at most' if len(of) > 1 else ''}"
    return (
        f"{reasons.named(rule, jobs)}: {each}, {_disk(jobs, of)} of files, "
        f"{_size(max(one.memory_mb for one in of))} of memory"
    )


def _disk(jobs: Sequence[Mapping[str, Any]], of: Sequence[costs.Cost]) -> str:
    most = any(job["rule"] in costs.AT_MOST and one.by != "itself" for job, one in zip(jobs, of, strict=True))
    return f"{'up to ' if most else ''}{_size(sum(one.disk_mb for one in of))}"


def _judged_by(by: Sequence[str]) -> str:
    words = {
        "itself": "the time that they took before",
        "its rule": "other jobs of their rule, by the work",
        "default": f"what such jobs took on {costs.MEASURED_ON}, by the work",
    }
    return "judged by " + "; ".join(f"{words[one]}: {by.count(one)}" for one in words if one in by)


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60}:{minutes % 60:02d} h"
        if minutes >= 60
        else f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    )


def _size(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"
