"""The published numbers that a reproduction is compared with, and the conditions they were measured under.

Three tables beside this module hold the facts: `published.csv` (a row for each number, list or curve, with its source),
`conditions.csv` (a row for each experiment) and `quantities.csv` (a row for each quantity: its unit, and the margin
within which a difference is taken to be none). The values of a finished checkpoint are at the end. Imports no torch.
"""

import csv
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
FILES = [FOLDER / f"{name}.csv" for name in ("published", "conditions", "quantities")]
CORPUS = "corpus"  # the experiment of the values that are facts of the text
WHOLE = "_whole"  # added to an experiment's name: fewer runs of it that go on to its last step

# Of the notebook's download. Gutenberg corrects the text now and then: a length within 0.1 % is taken as the same book.
TOKENS, DEAD = 265_905, 51
TOLERANCE = 0.001

SHARED: dict[str, Any] = {  # settings of every published experiment, by our keys
    "target_offset": 2,
    "precision": "bf16",
    "momentum": 0,
    "betas": [0.9, 0.999],
    "epsilon": 1e-8,
    "clip": 1.0,
    "schedule": "linear",
    "model": {"vocabulary_size": 128, "context": 128, "width": 64, "layers": 2, "heads": 2},
}
OF_TOUCHING = ("touching clusters", "largest touching cluster", "second touching cluster", "isolated tokens")
TOUCHING = {"measure": "chebyshev", "operator": "<", "threshold": 2 * 2**-7}


@dataclass(frozen=True)
class Quantity:
    """What is compared: its unit, and the largest difference that is taken to be none."""

    name: str
    unit: str
    margin: float
    relative: bool  # whether the margin is a fraction of the published value
    why: str

    def margin_of(self, value: float) -> float:
        return self.margin * abs(value) if self.relative else self.margin


@dataclass(frozen=True)
class Condition:
    """How an experiment was published: its runs, and what has to be the same in ours."""

    experiment: str
    runs: int
    seeds: str
    device: str
    steps: int  # the learning rate falls to 0 over these
    settings: dict  # by our keys
    note: str


@dataclass(frozen=True)
class Value:
    """One published number, curve, or list of numbers."""

    experiment: str
    quantity: str
    step: str  # a step; the first and last of a range, as 0-1000; or the steps of a curve; empty for the text
    values: tuple[float, ...]
    form: str  # mean: over the runs, or of the one run; runs: a value for each; curve: a value for each step
    runs: int  # that the numbers are of
    spread: float | None  # standard deviation over these, dividing by their number; None: not published
    by_construction: str  # why it could not have come out otherwise; empty: it could
    missing: str  # why we have nothing to set beside it; empty: we have
    note: str
    source: str

    @cached_property
    def points(self) -> list[int]:
        """The steps of a curve; else the one step. Of a range, the last step; none for the text."""
        if self.form == "curve" and "-" in self.step:
            last = int(self.step.partition("-")[2])
            return [last * (i + 1) // len(self.values) for i in range(len(self.values))]
        return [int(step) for step in self.step.split()] if "-" not in self.step else [self.last]

    @property
    def first(self) -> int:
        """The first step of a range, or the step itself."""
        return int(self.step.partition("-")[0])

    @property
    def last(self) -> int:
        """The last step that it needs; 0 for the text."""
        return int(self.step.replace("-", " ").split()[-1]) if self.step else 0


def _read(name: str) -> list[dict[str, str]]:
    with open(FOLDER / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _condition(row: dict[str, str]) -> Condition:
    unit = row["norm"] == "1"
    init = {
        "mode": row["mode"],
        "unit_norm": unit,
        "norm": None if unit else float(row["norm"]),
        "sigma": float(row["sigma"]) if row["sigma"] else None,
        "drawn_in": row["drawn_in"] or None,
    }
    settings = SHARED | {
        "batch_size": int(row["batch_size"] or 0),  # 0: not published
        "loss_divisor": row["loss_divisor"],
        "optimizer": row["optimizer"],
        "learning_rate": float(row["learning_rate"]),
        "weight_decay": float(row["weight_decay"]),
        "init": init,
    }
    return Condition(
        row["experiment"], int(row["runs"]), row["seeds"], row["device"], int(row["steps"]), settings, row["note"]
    )


def _value(row: dict[str, str]) -> Value:
    return Value(
        experiment=row["experiment"],
        quantity=row["quantity"],
        step=row["step"],
        values=tuple(map(float, row["values"].split())),
        form=row["form"],
        runs=int(row["runs"]),
        spread=float(row["spread"]) if row["spread"] else None,
        by_construction=row["by_construction"],
        missing=row["missing"],
        note=row["note"],
        source=row["source"],
    )


def _quantity(row: dict[str, str]) -> Quantity:
    """A margin such as 5 or 2%; empty where nothing is judged."""
    margin, relative = row["margin"].rstrip("%"), row["margin"].endswith("%")
    size = float(margin) / (100 if relative else 1) if margin else math.nan
    return Quantity(row["quantity"], row["unit"], size, relative, row["why"])


QUANTITIES = {row["quantity"]: _quantity(row) for row in _read("quantities")}
CONDITIONS = {row["experiment"]: _condition(row) for row in _read("conditions")}
VALUES = [_value(row) for row in _read("published")]
# what can be run here: something of it is comparable
RUNNABLE = [name for name in CONDITIONS if any(v.experiment == name and not v.missing for v in VALUES)]


def experiment_of(name: str) -> str | None:
    """The published experiment that an experiment of ours repeats, by its name; None: none."""
    name = name.removesuffix(WHOLE)
    return name if name in RUNNABLE else None


# The overdensity of one finished checkpoint. Nothing here is random: the same file and box give the same numbers.
CHECKPOINT = "qwen3"
CHECKPOINT_WORDS = "Qwen3-4B-Instruct-2507"
CHECKPOINT_SETTINGS = {
    "tokens": 151_936,
    "dimensions": 2_560,
    "dtype": "bfloat16",
    "box": {"lat": [-15, 5], "lon": [-10, 20], "r": [0.2, 0.5]},
    "threshold": 0.002,  # of adjacent tokens
}


@dataclass(frozen=True)
class CheckpointValue:
    """One published number of the checkpoint, and where to find ours."""

    quantity: str
    unit: str
    value: float
    file: str  # census (census.json) or overdensity (overdensity.csv)
    key: str  # its key in that file


CHECKPOINT_VALUES = [
    CheckpointValue("black holes", "holes", 13, "census", "holes"),
    CheckpointValue("tokens in black holes", "tokens", 2_100, "census", "hole_tokens"),
    CheckpointValue("tokens in the largest", "tokens", 814, "census", "largest"),
    CheckpointValue("zero pairs", "pairs", 651_034, "census", "zero_pairs"),
    CheckpointValue("tokens in the box", "tokens", 20_373, "overdensity", "tokens"),
    CheckpointValue("pairs in the box", "pairs", 207_519_378, "overdensity", "pairs"),
    CheckpointValue("lower median distance", "embedding units", 1.2463527918, "overdensity", "lower median"),
    CheckpointValue("mean distance", "embedding units", 1.1983120441, "overdensity", "mean"),
    CheckpointValue("largest distance", "embedding units", 2.0540900230, "overdensity", "max"),
    CheckpointValue("edges", "pairs", 2_445_366, "overdensity", "edges"),
    CheckpointValue("components", "components", 18_162, "overdensity", "components"),
    CheckpointValue("largest component", "tokens", 2_212, "overdensity", "largest component"),
]
