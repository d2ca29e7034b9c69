"""Our runs of a published experiment: their files, and what a measure reads from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import BFloat16, Bool, Float, Int
from torch import Tensor

from blackholes.artifacts import provenance
from blackholes.artifacts.histories import KEY
from blackholes.artifacts.tables import read_training_log
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError

BLOCK = 256  # steps of a history that are read at once: 4 MB of the published shape


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
        files: kind (models, logs, counts, graphs, geometry, histories) → that file of every run.
        corpus: what they were trained on.

    Raises:
        UserError: from here and every method, naming a file that cannot be read or lacks a value.
    """

    def __init__(self, files: Mapping[str, Sequence[str]], corpus: Corpus):
        self.files = files
        self.corpus = corpus
        self.settings: dict = _parameter(files["models"][0], "settings")  # equal for all runs except the seed
        self.devices = sorted({_metadata(path, "device") for path in files["models"]})

    def __len__(self) -> int:
        return len(self.files["models"])

    @property
    def steps(self) -> int:
        return self.settings["steps"]

    @property
    def schedule_steps(self) -> int:
        return self.settings.get("schedule_steps") or self.steps

    @property
    def seeds(self) -> str:
        first = self.settings["base_seed"] + 1
        return f"{first}-{first + len(self) - 1}" if len(self) > 1 else str(first)

    @property
    def touching(self) -> dict:
        """How our graphs define touching: measure, operator, threshold."""
        return _parameter(self.files["graphs"][0], "adjacency")["touching"]

    def rows(self, kind: str, key: str, first: int, last: int) -> list[np.ndarray]:
        """Steps `first` to `last` of a tensor (S, …), for every run."""
        return [self._rows(path, key, first, last).numpy() for path in self.files[kind]]

    def series(self, kind: str, key: str, first: int, last: int) -> Float[np.ndarray, "R steps"]:
        """Steps `first` to `last` of a series (S,), for every run."""
        return np.array(self.rows(kind, key, first, last), float)

    def logged(self, column: str, first: int, last: int) -> Float[np.ndarray, "R steps"]:
        """A column of the training log for the steps `first`, at least 1, to `last` of every run."""
        logs = (read_training_log(path, [column], last)[column] for path in self.files["logs"])
        return np.array([log[first - 1 :] for log in logs])

    def dead_labels(self, first: int, last: int) -> list[Int[np.ndarray, "steps N"]]:
        """Of every run, the label of each dead token at steps `first` to `last`: equal labels are equal vectors."""
        return [rows[:, self.corpus.dead] for rows in self.rows("counts", "labels", first, last)]

    def vectors(self, step: int) -> Iterator[BFloat16[Tensor, "V D"]]:
        """The embedding of each run at a step."""
        for path in self.files["histories"]:
            yield self._rows(path, KEY, step, step)[0]

    def snapshots(self, last: int) -> Iterator[Iterator[BFloat16[Tensor, "s V D"]]]:
        """The embeddings of each run from step 0 to `last`, in blocks of steps."""
        for path in self.files["histories"]:
            yield (self._rows(path, KEY, first, min(first + BLOCK - 1, last)) for first in range(0, last + 1, BLOCK))

    def _rows(self, path: str, key: str, first: int, last: int) -> Tensor:
        with open_tensors(path) as file:
            length = file.shape(key)[0] if key in file.keys() else 0  # noqa: SIM118 - a reader, not a dict
            if length <= last:
                have = f"{key} ends at step {length - 1}" if length else f"no tensor '{key}'"
                raise UserError(f"{path}: {have}, expected {key} up to step {last}")
            return file.rows(key, first, last + 1)


def _metadata(path: str, key: str) -> str:
    with open_tensors(path) as file:
        if key not in file.metadata:
            raise UserError(f"{path}: no '{key}' in its metadata, expected a file made by this workflow")
        return file.metadata[key]


def _parameter(path: str, name: str) -> dict:
    """The parameter of this name of the rule that made a file."""
    parameters = provenance.mapping(path, {"config": _metadata(path, "config")}, "config")
    if not isinstance(parameters.get(name), dict):
        raise UserError(f"{path}: no '{name}' in its 'config', expected a file made by this workflow")
    return parameters[name]
