"""Which training runs share a job (`training.runs_per_job`). Imports no torch, since rules ask."""

import os

from blackholes.config.model import Config

_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg")  # of NVIDIA's driver: on Linux, in containers; under Windows' Linux


def packs(config: Config) -> dict[str, tuple[str, list[str]]]:
    """Jobs of two and more runs: rule name → (experiment, runs such as `003`).

    With `auto` they are there wherever a GPU may be: a job's own Snakemake, which may run on another machine, has to
    know the rules of the one that started it. Whether they are used says `together`.
    """
    size = config.training.runs_per_job
    if size == "auto":
        size = 1 if config.training.device == "cpu" else 999
    found = {}
    for name, experiment in config.experiments.items():
        numbers = [f"{run:03d}" for run in range(1, experiment.runs + 1)]
        for runs in (numbers[start : start + size] for start in range(0, len(numbers), size)):
            if len(runs) > 1:
                found[f"train_{name}_{runs[0]}_{runs[-1]}"] = (name, runs)
    return found


def together(config: Config) -> bool:
    """Whether runs share a job where they can: as configured; with `auto`, on a GPU, all of them."""
    device, size = config.training.device, config.training.runs_per_job
    if size != "auto":
        return size > 1
    return device in ("cuda", "mps") or (device == "auto" and any(map(os.path.exists, _GPU_FILES)))
