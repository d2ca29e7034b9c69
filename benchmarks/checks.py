"""The cost of `check_inputs`, which compares inputs with what was recorded of them: each job with it and without.

The two take turns. Seconds of the processors, which other programs of the machine disturb little, and of the clock.

python benchmarks/checks.py [--rounds 5] [--scale 1.0] [distances] [training] [lattice]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import torch
from _harness import machine, walking_tokens
from blackholes.artifacts.histories import KEY, history_writer
from blackholes.artifacts.job import Job, open_job
from blackholes.config.model import Experiment
from blackholes.lattice import displacements
from blackholes.runs import distances
from blackholes.training import corpus, engine
from snakemake import iocontainers


def job(folder: Path, inputs: dict[str, str], outputs: dict[str, str], checks: bool) -> SimpleNamespace:
    """What Snakemake gives to a script."""

    def named(kind, items):
        made = kind()
        for name, value in items.items():
            made.append(value)
            made._add_name(name)
        return made

    return SimpleNamespace(
        input=named(iocontainers.InputFiles, inputs),
        output=named(iocontainers.OutputFiles, outputs),
        params=iocontainers.Params(),
        wildcards=iocontainers.Wildcards(),
        resources=iocontainers.ResourceList(),
        log=iocontainers.Log([str(folder / "logs" / "job.log")]),
        threads=1,
        rule="job",
        config={"training": {"progress_seconds": 60}, "check_inputs": checks},
    )


def timed(folder, inputs, outputs, streamed, body: Callable[[Job], object], checks: bool) -> tuple[float, float]:
    """(seconds of the processors, of the clock)."""
    for path in outputs.values():
        Path(path).unlink(missing_ok=True)
    os.sync()
    clock, processor = time.perf_counter(), time.process_time()
    with open_job(job(folder, inputs, outputs, checks), streamed) as frame:
        body(frame)
    return time.process_time() - processor, time.perf_counter() - clock


def pairs(name, folder, inputs, outputs, streamed, body, rounds: int) -> float:
    """Print the medians of both, and the median of the pairs' ratios; returns that of the processors' seconds."""
    timed(folder, inputs, outputs, streamed, body, True)  # compiles
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for turn in range(rounds):
        for checks in (True, False) if turn % 2 else (False, True):
            found[checks].append(timed(folder, inputs, outputs, streamed, body, checks))
    cells, ratios = [], []
    for kind in (0, 1):
        with_, without = ([times[kind] for times in found[checks]] for checks in (True, False))
        ratios.append(median(a / b for a, b in zip(with_, without, strict=True)))
        cells += [f"{median(with_):.3g}", f"{median(without):.3g}", f"{100 * (ratios[-1] - 1):+.1f} %"]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return ratios[0]


def history(folder: Path, shape: tuple[int, int, int]) -> str:
    """A history, made by a job, so that there is a record of it."""
    path = folder / "history.safetensors"
    with open_job(job(folder, {}, {"history": str(path)}, True)), history_writer(path, shape, {}) as writer:
        for start in range(0, shape[0], 100):
            writer.append(KEY, walking_tokens(min(100, shape[0] - start), *shape[1:], seed=start))
    return str(path)


def of_distances(folder: Path, scale: float, rounds: int) -> float:
    shape = (int(10_000 * scale) + 1, 128, 64)
    out = {"distances": str(folder / "distances.safetensors")}
    return pairs(
        f"distances, {shape[0]:,} × 128 × 64",
        folder,
        {"history": history(folder, shape)},
        out,
        ["history"],
        lambda job: distances.write_chebyshev(job.input.history, job.output.distances, metadata=job.metadata),
        rounds,
    )


def of_lattice(folder: Path, scale: float, rounds: int) -> float:
    shape = (int(400 * scale) + 1, 10_000, 64)
    tables = {"steps", "overall", "validation", "integers", "samples", "lifecycle", "medians"}
    out = {
        name: str(folder / f"{name}.{'csv' if name in tables else 'safetensors'}")
        for name in displacements.Outputs.__annotations__
    }
    return pairs(
        f"lattice, {shape[0]:,} × 10,000 × 64",
        folder,
        {"history": history(folder, shape)},
        out,
        ["history"],
        lambda job: displacements.write(
            job.input.history, displacements.Outputs(**dict(job.output.items())), metadata=job.metadata
        ),
        rounds,
    )


def of_training(folder: Path, scale: float, rounds: int) -> float:
    made = {name: str(folder / name) for name in ("tokens.safetensors", "tokens.csv", "tokenizer.json")}
    settings = Experiment(steps=max(10, int(1000 * scale)))
    with open_job(job(folder, {}, made, True)):
        corpus.write(settings.corpus.model_dump(mode="json"), *made.values())
    out = {name: str(folder / name) for name in ("history.safetensors", "log.csv", "config.json", "model.safetensors")}
    files = engine.RunFiles(*out.values())
    return pairs(
        f"training, {settings.steps:,} steps",
        folder,
        {"corpus": made["tokens.safetensors"]},
        out,
        [],
        lambda job: engine.write_runs(job.input.corpus, [files], [settings.run_settings(1)], metadata=job.metadata),
        rounds,
    )


JOBS = {"distances": of_distances, "training": of_training, "lattice": of_lattice}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="*", metavar="job", help=f"of {', '.join(JOBS)} (all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"\nMedians of {arguments.rounds} pairs; the cost is the median of the pairs' ratios\n\n{machine()}\n")
    print("| job | processors: with (s) | without (s) | cost | clock: with (s) | without (s) | cost |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for name in arguments.jobs or JOBS:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            JOBS[name](Path(folder), arguments.scale, arguments.rounds)


if __name__ == "__main__":
    main()
