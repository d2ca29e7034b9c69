"""How much work a job is, in a unit of its rule's own, so that what one took says what another will take.

The work of every job that ends is noted beside its benchmark, `results/benchmarks/<job>.json`. Imports no torch.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Wildcards = Mapping[str, str]


def work(rule: str, wildcards: Wildcards, config: Mapping[str, Any]) -> float:
    """The work of a job; 1 for a rule whose jobs take about the same time whatever the configuration."""
    if rule.startswith("train_") and rule.endswith("_recorded"):  # one run, with its forces
        name = rule.removeprefix("train_").removesuffix("_recorded")
        return _training(config["experiments"][name])
    if rule.startswith("train_"):  # several runs in a job
        first, last = rule.split("_")[-2:]
        name = rule.removeprefix("train_").removesuffix(f"_{first}_{last}")
        return (int(last) - int(first) + 1) * _training(config["experiments"][name])
    if rule not in WORK:
        return 1.0
    with suppress(KeyError, TypeError, AttributeError):  # an entry of another kind, as a history from a file
        return max(1.0, float(WORK[rule](wildcards, config)))
    return 1.0


def _training(it: Mapping[str, Any]) -> float:
    """Products in the forward pass of a run, about."""
    model = it["model"]
    width, context = model["width"], model["context"]
    a_token = model["layers"] * (12 * width**2 + context * width) + model["vocabulary_size"] * width
    return it["steps"] * it["batch_size"] * context * a_token


def _run(power_of_v: int, times_d: bool) -> Callable[[Wildcards, Mapping], float]:
    """Snapshots × tokens, or pairs of tokens, × dimensions, of the run in the wildcards."""

    def of(wildcards: Wildcards, config: Mapping) -> float:
        it = config["experiments"][wildcards["experiment"]]
        return _history(it, power_of_v, times_d)

    return of


def _history(it: Mapping[str, Any], power_of_v: int = 1, times_d: bool = True) -> float:
    model = it["model"]
    return (it["steps"] + 1) * model["vocabulary_size"] ** power_of_v * (model["width"] if times_d else 1)


def _black_holes(wildcards: Wildcards, config: Mapping) -> float:
    """With matrices of all pairs, where the vocabulary is small enough for them."""
    it = config["experiments"][wildcards["experiment"]]
    return _history(it, 2 if it["model"]["vocabulary_size"] <= 1024 else 1)


def _experiment(wildcards: Wildcards, config: Mapping) -> float:
    it = config["experiments"][wildcards["experiment"]]
    return it["runs"] * _history(it, 1, False)


def _lattice(wildcards: Wildcards, config: Mapping) -> float:
    run = config["lattice"][wildcards["lattice"]]["run"]
    return _history(config["experiments"][run.partition("/")[0]])


def _checkpoint(wildcards: Wildcards, config: Mapping) -> float:
    run = config["checkpoints"][wildcards["checkpoint"]]["run"]
    model = config["experiments"][run.partition("/")[0]]["model"]
    return model["vocabulary_size"] * model["width"]


def _snowballs(key: str) -> Callable[[Wildcards, Mapping], float]:
    return lambda wildcards, config: config["snowballs"][wildcards["snowball"]][key]


WORK: dict[str, Callable[[Wildcards, Mapping], float]] = {
    "train": lambda wildcards, config: _training(config["experiments"][wildcards["experiment"]]),
    "distances": _run(2, True),
    "black_holes": _black_holes,
    "lineage": _run(1, False),
    "freeze": _run(1, True),
    "history_hdf5": _run(1, True),
    "hole_members": _run(1, False),
    "summarise": _experiment,
    "lineages": _experiment,
    "lattice_displacements": _lattice,
    **dict.fromkeys(("read_checkpoint", "census", "overdensity", "token_table"), _checkpoint),
    "snowball_trials": _snowballs("n_trials"),
    "snowball_permutations": _snowballs("permutations"),
}


def note(benchmark: str | os.PathLike, rule: str, wildcards: Wildcards, config: Mapping[str, Any]) -> None:
    """Write the work of a job that has ended beside its benchmark. What cannot be written is left out."""
    place = Path(benchmark).with_suffix(".json")
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        temporary.write_text(json.dumps({"rule": rule, "work": work(rule, wildcards, config)}) + "\n", "utf-8")
        os.replace(temporary, place)


def noted(benchmark: str | os.PathLike) -> tuple[str, float] | None:
    """(rule, work) of the job that a benchmark is of; None where that is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        found = json.loads(Path(benchmark).with_suffix(".json").read_text("utf-8"))
        return str(found["rule"]), float(found["work"])
    return None
