"""Each published quantity as our runs have it, read from their files."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from blackholes.artifacts.tables import read_training_log
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError
from blackholes.runs.black_holes import increases

DISTINCT = "distinct vectors among dead tokens"


@dataclass
class Corpus:
    """Our corpus: its length in tokens, and which tokens of the vocabulary are dead."""

    tokens: int
    dead: Bool[np.ndarray, "V"]

    @classmethod
    def read(cls, path: str) -> "Corpus":
        """From tokens.safetensors."""
        with open_tensors(path) as file:
            (size,) = file.expect("token_counts", torch.int64, ("V",))
            file.expect("dead_mask", torch.bool, (size,))
            return cls(int(file.rows("token_counts").sum()), file.rows("dead_mask").numpy())


class Runs:
    """Our runs of one experiment.

    Args:
        files: kind (models, logs, counts, graphs, geometry) → that file of every run.

    Raises:
        UserError: from here and every method, naming a file that cannot be read or lacks a value.
    """

    def __init__(self, files: Mapping[str, Sequence[str]]):
        self.files = files
        self.settings: dict = _parameter(files["models"][0], "settings")  # equal for all runs except the seed
        self.devices = sorted({_metadata(path, "device") for path in files["models"]})

    def __len__(self) -> int:
        return len(self.files["models"])

    @property
    def touching(self) -> dict:
        """How our graphs define touching: measure, operator, threshold."""
        return _parameter(self.files["graphs"][0], "adjacency")["touching"]

    def at(self, kind: str, key: str, step: int) -> Float[np.ndarray, "R"]:
        """The value of a series (S,) at one step, for every run."""
        return np.array([float(rows[0]) for rows in self.rows(kind, key, step, step)])

    def rows(self, kind: str, key: str, first: int, last: int) -> list[np.ndarray]:
        """Steps `first` to `last` of a tensor (S, …), for every run."""
        of_runs = []
        for path in self.files[kind]:
            with open_tensors(path) as file:
                length = file.shape(key)[0] if key in file.keys() else 0  # noqa: SIM118 - a reader, not a dict
                if length <= last:
                    have = f"{key} ends at step {length - 1}" if length else f"no tensor '{key}'"
                    raise UserError(f"{path}: {have}, expected {key} up to step {last}")
                of_runs.append(file.rows(key, first, last + 1).numpy())
        return of_runs

    def losses(self, first: int, last: int) -> Float[np.ndarray, "R steps"]:
        """Training losses of the steps `first` to `last` of every run."""
        return np.array([read_training_log(path, ["loss"], last)["loss"][first - 1 :] for path in self.files["logs"]])


def _at(kind: str, key: str) -> Callable:
    return lambda runs, step, corpus: runs.at(kind, key, step)


def _loss_of_the_trainer(runs: Runs, step: int, corpus: Corpus) -> np.ndarray:
    """Mean over 100 steps of the loss as the Trainer logs it.

    With labels shifted twice, a window of T tokens has T − 1 targets, but the Trainer divides the sum of their losses
    by the T labels it was given (huggingface/transformers, pull request 46204): equal logits are logged as
    127/128 ln 128. Our logs have the mean over the targets.
    """
    context = runs.settings["model"]["context"]
    return runs.losses(step - 99, step).mean(1) * (context - 1) / context


def _tokens_a_hole(runs: Runs, step: int, corpus: Corpus) -> np.ndarray:
    holes, population = (runs.at("counts", key, step) for key in ("counts", "populations"))
    return population[holes > 0] / holes[holes > 0]  # a run without a hole has no such number


def _increases(runs: Runs, step: int, corpus: Corpus) -> np.ndarray:
    return np.array([float(len(increases(holes))) for holes in runs.rows("counts", "counts", 0, step)])


def _distinct(runs: Runs, step: int, corpus: Corpus) -> np.ndarray:
    labels = runs.rows("counts", "labels", step, step)
    return np.array([float(len(np.unique(rows[0][corpus.dead]))) for rows in labels])


# published quantity → (runs, step, corpus) → its value in every run
MEASURES: dict[str, Callable[[Runs, int, Corpus], Float[np.ndarray, "R"]]] = {
    "mean loss of 100 steps": _loss_of_the_trainer,
    "token norm": _at("geometry", "token_norm_mean"),
    "touching clusters": _at("graphs", "touching.n_components"),
    "largest touching cluster": _at("graphs", "touching.largest_component_size"),
    "isolated tokens": _at("graphs", "touching.n_isolated"),
    "duplicates": lambda runs, step, corpus: len(corpus.dead) - runs.at("counts", "n_unique", step),
    "holes": _at("counts", "counts"),
    "population": _at("counts", "populations"),
    "tokens a hole": _tokens_a_hole,
    "largest hole": _at("counts", "largest_bh_size"),
    "increases a run": _increases,
    DISTINCT: _distinct,
}


def _metadata(path: str, key: str) -> str:
    with open_tensors(path) as file:
        if key not in file.metadata:
            raise UserError(f"{path}: no '{key}' in its metadata, expected a file made by this workflow")
        return file.metadata[key]


def _parameter(path: str, name: str) -> dict:
    """The parameter of this name of the rule that made a file."""
    return json.loads(_metadata(path, "config"))[name]
