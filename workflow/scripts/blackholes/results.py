"""Finished results, read from Python: `blackholes.open("results")["qwen"][1].holes(step=10)`.

Nothing is written and nothing is computed anew; a file is read when it is asked for. Tables are pandas' DataFrames,
tensors are read row by row (`artifacts.arrays`). Imports no torch.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from blackholes.artifacts import provenance, tables
from blackholes.artifacts.arrays import Array, arrays
from blackholes.artifacts.safetensors_header import read_header
from blackholes.errors import UserError

_RUN = re.compile(r"run_(\d{3,})")
_TEXT = ("text", "character", "last_texts")  # columns of words: a token may be called NA, or 1
_NUMBERS = {  # table → columns of numbers with spaces between them
    "events": ("parents", "children", "tokens"),
    "lineage": ("parents", "children", "tokens"),
    "lineage_events": ("parents", "children"),
    "black_holes": ("token_ids",),
}
_COUNTS = "black_hole_counts"


class Hole(NamedTuple):
    """Tokens with equal vectors."""

    label: int  # the smallest token id of them
    population: int
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]  # their names, in the same order


class Folder:
    """A folder of results: its tables, as `table("summary")`, and its tensors, as `tensors("forces")`."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def files(self) -> list[str]:
        """The files in it, not those of folders below."""
        if not self.path.is_dir():
            return []
        return sorted(file.name for file in self.path.iterdir() if file.is_file() and file.name[0] != ".")

    def file(self, name: str) -> Path:
        """The path of a file in it.

        Raises:
            UserError: there is none; the message names those that are there.
        """
        path = self.path / name
        if not path.is_file():
            raise UserError(f"{path}: no such file; the folder has {', '.join(self.files()) or 'none yet'}")
        return path

    def table(self, name: str) -> pd.DataFrame:
        """A CSV table, by its name without `.csv`; lists of token ids are tuples. docs/files.md explains the columns.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        path = self.file(f"{name}.csv")
        try:
            columns = pd.read_csv(path, nrows=0).columns
            as_text: dict[str, Callable[[str], Any]] = {column: str for column in columns if column in _TEXT}
            as_text |= dict.fromkeys(_NUMBERS.get(name, ()), _numbers)
            missing = {column: ["", "nan"] for column in columns if column not in as_text}
            return pd.read_csv(path, converters=as_text, na_values=missing, keep_default_na=False)
        except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
            raise UserError(f"{path}: cannot be read as CSV: {error}") from error

    def tensors(self, name: str) -> dict[str, Array]:
        """Key → tensor, of a safetensors file, by its name without `.safetensors`; none is read yet.

        Raises:
            UserError: there is no such file, or it is not complete.
        """
        return arrays(self.file(f"{name}.safetensors"))

    def metadata(self, name: str) -> dict[str, str]:
        """Where a safetensors file comes from: digests of configuration and inputs, seed, device, versions.

        Raises:
            UserError: as `tensors`.
        """
        return dict(read_header(self.file(f"{name}.safetensors")).metadata)

    def _tensor(self, name: str, key: str) -> Array:
        found = self.tensors(name)
        if key not in found:
            raise UserError(f"{self.path / name}.safetensors: no tensor '{key}'; the file has {', '.join(found)}")
        return found[key]


_Part = TypeVar("_Part", bound=Folder)


class Parts(Generic[_Part]):
    """Folders by name, as `results.checkpoints`."""

    def __init__(self, path: Path, what: str, kind: type[_Part]):
        self._path, self._what, self._kind = path, what, kind

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(folder.name for folder in self._path.glob("[!.]*") if folder.is_dir()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> _Part:
        if name not in self:
            raise UserError(f"{self._path}: no {self._what} '{name}'; there are {', '.join(self) or 'none'}")
        return self._kind(self._path / name)

    def __repr__(self) -> str:
        return f"<{self._path}: {', '.join(self) or 'none'}>"

    _ipython_key_completions_ = __iter__


class Run(Folder):
    """A run of an experiment. S is the number of its snapshots, one more than its steps; V that of its tokens."""

    @property
    def number(self) -> int:
        return int(self.name.removeprefix("run_"))

    @cached_property
    def history(self) -> Array:
        """(S, V, D): the embedding after every step, from step 0 on. `history[10]` reads one step."""
        return self._tensor("embedding_evolution", "embedding_history")

    @cached_property
    def labels(self) -> Array:
        """(S, V): the smallest token id with the same vector. Tokens with equal labels are in one black hole."""
        return self._tensor(_COUNTS, "labels")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The experiment's settings, every default included."""
        metadata = self.metadata("embedding_evolution")
        path = self.path / "embedding_evolution.safetensors"
        return provenance.mapping(path, metadata, "config").get("settings", {})

    @property
    def seed(self) -> int:
        return int(self.metadata("embedding_evolution")["seed"])

    @cached_property
    def tokens(self) -> pd.DataFrame:
        """A row for each token: `name`, `count` in the training text, `dead`. The index is its id.

        Raises:
            UserError: the corpus that the run was trained on is not in the results.
        """
        path = self.path / "embedding_evolution.safetensors"
        trained_on = provenance.mapping(path, self.metadata("embedding_evolution"), "input_digests").get("corpus")
        corpora = sorted((self.path.parent.parent / "corpus").glob("*/tokens.safetensors"))
        for corpus in corpora:
            if provenance.file_digest(corpus) == trained_on:
                table = tables.read_tokens(corpus.with_name("tokens.csv"))
                columns = {"name": table["character"], "count": table["count"], "dead": table["status"] == "dead"}
                return pd.DataFrame(columns, pd.Index(table["token_id"], name="token_id"))
        there = ", ".join(corpus.parent.name for corpus in corpora) or "none"
        raise UserError(f"{self.path}: its corpus is not in these results; there are {there}")

    def holes(self, step: int = -1) -> list[Hole]:
        """The black holes at a step, the largest first; by default at the last one, and −2 is the one before.

        Raises:
            UserError: the run has no such step, or its holes are not computed yet.
        """
        names = self.tokens["name"].to_numpy()
        labels = self.labels[self._step(step)]
        found, where = np.unique(labels, return_inverse=True)
        sizes = np.bincount(where)
        order = sorted((index for index in range(len(found)) if sizes[index] > 1), key=lambda index: -sizes[index])
        members = [np.flatnonzero(where == index) for index in order]
        return [
            Hole(int(found[index]), len(ids), tuple(ids.tolist()), tuple(names[ids]))
            for index, ids in zip(order, members, strict=True)
        ]

    def counts(self) -> pd.DataFrame:
        """A row for each step: `counts` (holes), `populations`, `largest_bh_size`, `n_unique`, `n_singletons`."""
        series = {key: np.asarray(array) for key, array in self.tensors(_COUNTS).items() if len(array.shape) == 1}
        return pd.DataFrame(series).rename_axis("step")

    def loss(self) -> pd.Series:
        """The loss of each step, from step 1 on."""
        log = tables.read_training_log(self.file("training_log.csv"), ["loss"])
        return pd.Series(log["loss"], pd.Index(log["step"], name="step"), name="loss")

    def events(self) -> pd.DataFrame:
        """A row for each event: `step`, `kind`, and as tuples of token ids `parents`, `children`, `tokens`."""
        return self.table("events")

    def lineage(self) -> pd.DataFrame:
        """A row for each hole that ever was, by its number: when and by what it was born and died, its tokens."""
        return self.table("lineage").set_index("hole")

    def escapes(self) -> pd.DataFrame:
        """A row for each live token: the step from which on it shares its vector with no dead one."""
        table = self.table("escapes")
        return table.assign(censored=table["censored"].astype(bool)).set_index("token_id")

    def _step(self, step: int) -> int:
        last = len(self.labels) - 1
        if not -last - 1 <= step <= last:
            raise UserError(f"{self.path}: no step {step}; it has steps 0 to {last:,}")
        return step if step >= 0 else last + 1 + step


class Experiment(Folder):
    """An experiment, whose runs have the numbers of their folders: `experiment[1]` is run_001."""

    @property
    def runs(self) -> list[int]:
        """The numbers of its runs."""
        return sorted(int(found[1]) for path in self.path.glob("run_*") if (found := _RUN.fullmatch(path.name)))

    def __getitem__(self, number: int) -> Run:
        if number not in self.runs:
            raise UserError(f"{self.path}: no run {number}; there are {', '.join(map(str, self.runs)) or 'none'}")
        return Run(self.path / f"run_{number:03d}")

    def __iter__(self) -> Iterator[Run]:
        return (self[number] for number in self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def summary(self) -> pd.DataFrame:
        """Mean, deviation, minimum and maximum over the runs of every series at some steps."""
        return self.table("summary")


class Checkpoint(Folder):
    """A finished model whose embedding was looked at."""

    @cached_property
    def embedding(self) -> Array:
        """(V, D), as it is in the checkpoint."""
        return self._tensor("W", "W")

    @cached_property
    def census(self) -> dict[str, Any]:
        """How many tokens, holes and distinct vectors it has."""
        return json.loads(self.file("census.json").read_text(encoding="utf-8"))

    @cached_property
    def tokens(self) -> pd.DataFrame:
        """A row for each token: its text, hole, category, rank among the tokens that look unused, …"""
        return self.table("tokens").set_index("token_id")

    def holes(self) -> list[Hole]:
        """Its black holes, the largest first. Without a tokenizer their tokens have no names, but numbers."""
        table = self.table("black_holes")
        texts = [tuple(json.loads(text)) if text else () for text in table["text"]]
        return [
            Hole(int(hole), len(ids), ids, names or tuple(map(str, ids)))
            for hole, ids, names in zip(table["hole"], table["token_ids"], texts, strict=True)
        ]


class Results(Folder):
    """A folder of results: `results["qwen"]` is an experiment; what else there is are the parts below."""

    @property
    def experiments(self) -> list[str]:
        """The names of the experiments: folders that have runs."""
        return sorted({path.parent.name for path in self.path.glob("*/run_*") if _RUN.fullmatch(path.name)})

    @property
    def checkpoints(self) -> Parts[Checkpoint]:
        return Parts(self.path / "checkpoints", "checkpoint", Checkpoint)

    @property
    def snowballs(self) -> Parts[Folder]:
        return Parts(self.path / "snowballs", "snowball", Folder)

    @property
    def lattice(self) -> Parts[Folder]:
        return Parts(self.path / "lattice", "entry", Folder)

    def __getitem__(self, name: str) -> Experiment:
        if name not in self.experiments:
            raise UserError(f"{self.path}: no experiment '{name}'; there are {', '.join(self.experiments) or 'none'}")
        return Experiment(self.path / name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.experiments)

    def __len__(self) -> int:
        return len(self.experiments)

    _ipython_key_completions_ = __iter__


def open(folder: str | os.PathLike = "results") -> Results:
    """The results in a folder, for reading.

    Raises:
        UserError: there is no such folder, or it has neither an experiment nor a checkpoint; what is there is named.
    """
    results = Results(Path(folder))
    if not results.path.is_dir():
        above = results.path.absolute().parent
        beside = sorted(path.name for path in above.glob("[!.]*") if path.is_dir()) if above.is_dir() else []
        raise UserError(f"{folder}: no such folder; beside it there are {', '.join(beside[:10]) or 'none'}")
    if not len(results) + len(results.checkpoints) + len(results.lattice):
        has = sorted(path.name for path in results.path.glob("[!.]*"))
        raise UserError(
            f"{folder}: no results in this folder, such as qwen/run_001; it has {', '.join(has[:10]) or 'nothing'}"
        )
    return results


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


__all__ = ["Checkpoint", "Experiment", "Folder", "Hole", "Parts", "Results", "Run", "open"]
