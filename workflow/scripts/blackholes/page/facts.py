"""What a page says of each experiment, read from the files of its runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from blackholes.artifacts import tables
from blackholes.figures import data
from blackholes.page.results import Results

SERIES = ("counts", "populations", "largest_bh_size", "n_unique", "n_singletons")


@dataclass
class Tokens:
    """The vocabulary of a corpus."""

    names: list[str]
    counts: np.ndarray  # (V,) occurrences
    dead: np.ndarray  # bool (V,)
    word: str  # what one of them is called: character, or token where some are longer

    @property
    def words(self) -> str:
        return f"{self.word}s"


@dataclass
class Facts:
    """An experiment of R runs and S snapshots."""

    name: str
    tokens: Tokens
    runs: list[str]
    series: dict[str, np.ndarray]  # of black_holes_counts.safetensors: key → (R, S)
    at_end: np.ndarray  # (R, V): labels of the last step
    losses: np.ndarray  # (R,): mean of the last 100 steps
    settings: Mapping[str, Any]
    lineages: list[dict[str, str]] = field(default_factory=list)  # rows of lineages.csv

    @property
    def last(self) -> int:
        """The last step."""
        return self.series["counts"].shape[1] - 1

    @property
    def has_holes(self) -> bool:
        return bool(self.series["counts"].any())


def read_tokens(results: Results, corpus: str) -> Tokens:
    """tokens.csv of a corpus."""
    path = results.path(f"corpus/{corpus}/tokens.csv")
    table = tables.read_tokens(path)
    word = "character" if "character" in results.table(f"corpus/{corpus}/tokens.csv").columns else "token"
    return Tokens(list(table["character"]), np.asarray(table["count"]), np.asarray(table["status"] == "dead"), word)


def read(results: Results, name: str, settings: Mapping[str, Any], tokens: Tokens) -> Facts:
    """An experiment, of whose settings the number of runs is read."""
    runs = [f"run_{run:03d}" for run in range(1, settings["runs"] + 1)]
    files = [results.path(f"{name}/{run}/black_hole_counts.safetensors") for run in runs]
    series = data.read_series(files, SERIES)
    last = series["counts"].shape[1] - 1
    labels = data.read_rows(files, "labels", [last])[:, 0]
    logs = [tables.read_training_log(results.path(f"{name}/{run}/training_log.csv"), ["loss"])["loss"] for run in runs]
    losses = np.array([log[-100:].mean() for log in logs])
    lineages = results.table(f"{name}/lineages.csv").records() if f"{name}/lineages.csv" in results else []
    return Facts(name, tokens, runs, series, labels, losses, settings, lineages)
