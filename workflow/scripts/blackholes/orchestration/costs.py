"""What jobs will cost, from what jobs of the same rule took: seconds, megabytes of memory and of disk.

Seconds are start + (seconds recorded − start) × work / work recorded, where work is of `orchestration.work`. A job that
ran before is judged by itself, another by the job of its rule that was nearest in work, and where none was recorded, by
`DEFAULTS`.
"""

import csv
import math
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackholes.orchestration.work import noted

START = 0.1  # seconds that any job takes: a fork of a process that has imported torch
CALL = 8.0  # seconds that a call takes beside its jobs: Snakemake's own, and the import of torch
BASE = 250.0  # megabytes of memory of a job that does nothing
MEASURED_ON = "two cores of an AMD EPYC (Zen 4)"
DEFAULTS = {  # rule → (seconds, work, megabytes of memory) of the quick configuration, on MEASURED_ON
    "train": (51.0, 7.55e11, 407.0),
    "distances": (1.4, 3.15e9, 512.0),
    "black_holes": (1.15, 3.15e9, 492.0),
    "lineage": (1.2, 3.84e5, 280.0),
    "freeze": (0.65, 2.46e7, 272.0),
    "summarise": (0.1, 1.5e6, 250.0),
    "lineages": (0.1, 1.5e6, 250.0),
    "answer": (1.0, 1.0, 350.0),
    "history_hdf5": (1.0, 2.5e7, 350.0),
    "hole_members": (1.95, 3.84e5, 287.0),
    "lattice_displacements": (8.5, 6.4e7, 790.0),
    "prepare_corpus": (0.6, 1.0, 307.0),
    "read_checkpoint": (0.15, 8192.0, 250.0),
    "census": (0.6, 8192.0, 352.0),
    "overdensity": (0.65, 8192.0, 283.0),
    "overdensity_distances": (6.8, 1.0, 426.0),
    "token_table": (0.15, 8192.0, 248.0),
    "snowball_trials": (0.7, 50.0, 380.0),
    "snowball_permutations": (3.0, 300.0, 302.0),
    "snowball_latent": (1.5, 1.0, 323.0),
    "snowball_sweep": (0.65, 1.0, 347.0),
    "experiment_figures": (5.2, 1.0, 300.0),
    "lineage_figure": (1.3, 1.0, 260.0),
    "experiments_figure": (1.7, 1.0, 280.0),
    "checkpoint_figures": (3.2, 1.0, 296.0),
    "snowball_figures": (3.0, 1.0, 305.0),
    "lattice_figures": (3.1, 1.0, 293.0),
    "questions_figure": (1.5, 1.0, 280.0),
    "report": (3.8, 1.0, 148.0),
    "escape_filmstrip": (1.5, 1.0, 260.0),
    "film": (6.0, 1.0, 280.0),
    "explorer": (0.2, 1.0, 300.0),
    "page": (4.0, 1.0, 300.0),
}
AT_MOST = {"overdensity_distances"}  # rules that may need far less disk: what they compare is not known before
_OTHER = (2.0, 350.0)  # seconds and megabytes of a rule that is not in the list, whatever its work


@dataclass(frozen=True)
class Past:
    """What a job took that ended."""

    benchmark: str
    rule: str
    work: float
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Cost:
    """What a job will take, and what that is judged by."""

    seconds: float
    memory_mb: float
    disk_mb: float
    by: str  # `itself`, `its rule`, or `default`


def recorded(results: Path) -> dict[str, Past]:
    """Benchmark → what its job took, of all jobs whose benchmark and work are known."""
    found = {}
    for path in sorted((results / "benchmarks").rglob("*.tsv")):
        known = noted(path)
        with suppress(OSError, ValueError, LookupError, TypeError, csv.Error):
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
            seconds, megabytes = float(rows[-1]["s"]), float(rows[-1]["max_rss"])
            if known and math.isfinite(seconds) and math.isfinite(megabytes) and known[1] > 0:
                found[str(path)] = Past(str(path), known[0], known[1], seconds, megabytes)
    return found


def cost(job: Mapping[str, Any], past: Mapping[str, Past]) -> Cost:
    """The cost of a job, as `orchestration.planning.described`."""
    rule = _kind(job["rule"])
    own = past.get(job["benchmark"])
    alike = [one for one in past.values() if _kind(one.rule) == rule]
    if own and _kind(own.rule) == rule:
        seconds, work, megabytes, by = own.seconds, own.work, own.megabytes, "itself"
    elif alike:
        one = min(alike, key=lambda one: (abs(math.log(one.work / job["work"])), one.benchmark))
        seconds, work, megabytes, by = one.seconds, one.work, one.megabytes, "its rule"
    else:
        (seconds, work, megabytes), by = DEFAULTS.get(rule, (_OTHER[0], job["work"], _OTHER[1])), "default"
    ratio = job["work"] / work
    limit = job["resources"].get("mem_mb", math.inf)
    memory = min(BASE + max(0.0, megabytes - BASE) * max(1.0, ratio), max(limit, megabytes))
    return Cost(START + max(0.0, seconds - START) * ratio, memory, _disk(job, ratio), by)


def _kind(rule: str) -> str:
    """The name of a rule; one that trains several runs in a job is a kind of `train`."""
    return "train" if rule.startswith("train_") else rule


def _disk(job: Mapping[str, Any], ratio: float) -> float:
    """What its outputs take now, if all are there, and as much more as it has to do; else what the rule says."""
    sizes = [os.path.getsize(file) for file in job["outputs"] if os.path.isfile(file)]
    if sizes and len(sizes) == len(job["outputs"]):
        return sum(sizes) / 1e6 * max(1.0, ratio)
    rule = job["resources"].get("disk_mb", 0)
    return max(0.0, rule - 50.0)  # which leaves 50 for what is small


def wall_clock(
    jobs: Sequence[Mapping[str, Any]], seconds: Iterable[float], cores: int, running: Container[int] = ()
) -> float:
    """Seconds until all jobs have ended: each starts once those before it have, and its threads are free.

    Of jobs that could start, the one with the longest way to the end is first, about as Snakemake chooses.

    Args:
        running: indices of jobs that have started; they are first.
    """
    times = list(seconds)
    makes = {file: index for index, job in enumerate(jobs) for file in job["outputs"]}
    before = [{makes[file] for file in job["after"] if file in makes} for job in jobs]
    after: list[list[int]] = [[] for _ in jobs]
    for index, those in enumerate(before):
        for one in those:
            after[one].append(index)
    way = dict[int, float]()

    def longest(index: int) -> float:
        if index not in way:
            way[index] = times[index] + max((longest(one) for one in after[index]), default=0.0)
        return way[index]

    now, free, started, done = 0.0, cores, list[tuple[float, int]](), set[int]()
    waiting = sorted(range(len(jobs)), key=lambda index: (index not in running, -longest(index)))
    while waiting or started:
        for index in list(waiting):
            threads = min(cores, jobs[index]["threads"])
            if before[index] <= done and threads <= free:
                started.append((now + times[index], index))
                waiting.remove(index)
                free -= threads
        now, ended = min(started)
        started.remove((now, ended))
        done.add(ended)
        free += min(cores, jobs[ended]["threads"])
    return now
