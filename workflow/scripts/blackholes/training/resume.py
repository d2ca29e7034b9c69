"""Checkpoints of training jobs, from which a killed job resumes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from blackholes.artifacts.provenance import digest
from blackholes.artifacts.tensors import write_tensors
from blackholes.artifacts.whole import read_whole
from blackholes.errors import UserError

NAME = ".training_state.safetensors"
LOCK = ".training_state.lock"  # held by the one process that writes the run (see `artifacts.files.sole_writer`)


class Saved(NamedTuple):
    """What a checkpoint holds (see Checkpoint.save)."""

    step: int
    state: dict[str, Tensor]
    series: Tensor  # (2, K, step)
    histories: list[str]
    forces: list[dict[str, str]]


@dataclass
class Checkpoint:
    """The checkpoint file of K runs, in the folder of the first.

    Args:
        folder: of the first run.
        recipe: all that enters the runs' bytes, text → text; a checkpoint with another recipe is not used.
    """

    folder: Path
    recipe: Mapping[str, str]

    @property
    def path(self) -> Path:
        return self.folder / NAME

    @property
    def mark(self) -> str:
        """Names the histories that belong to this recipe (see `artifacts.files.resumable`)."""
        return digest(dict(self.recipe))

    def save(
        self,
        step: int,
        state: Mapping[str, Tensor],
        series: Tensor,
        histories: Sequence[str],
        forces: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Write the state after `step`. Flush histories and forces first.

        Args:
            series: losses and gradient norms (2, K, step).
            histories: of each run the digest of its history's rows up to this step.
            forces: of each run that is recorded the same of its forces: key → digest.
        """
        tensors = {f"state.{name}": value.detach().cpu() for name, value in state.items()}
        tensors |= {"step": torch.tensor(step), "log": series.contiguous()}
        recipe = json.dumps(dict(self.recipe), sort_keys=True)
        write_tensors(
            self.path,
            tensors,
            {
                "recipe": recipe,
                "histories": json.dumps(list(histories)),
                "forces": json.dumps(list(map(dict, forces))),
            },
        )

    def load(self, log: Callable[[str], None]) -> Saved | None:
        """What `save` was given, or None. `log` says why a file is not used; such a file is deleted.

        The file is read once, through one descriptor, and checked: another process may replace it meanwhile.
        """
        if not self.path.exists():
            return None
        try:
            return self._read()
        except (UserError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            why = str(error) if isinstance(error, UserError) else f"{self.path}: not a training state"
            log(f"checkpoint not used: {why}; training starts from step 0")
            self.forget()
            return None

    def _read(self) -> Saved:
        values, metadata = read_whole(self.path)
        recipe = json.loads(metadata.get("recipe", "{}"))
        if recipe != self.recipe:
            keys = sorted(key for key in {*recipe, *self.recipe} if recipe.get(key) != self.recipe.get(key))
            raise UserError(f"{self.path}: {', '.join(keys)} differ from this job's")
        step, series, histories = int(values["step"]), values["log"], json.loads(metadata["histories"])
        if tuple(series.shape) != (2, len(histories), step):
            shape, expected = tuple(series.shape), (2, len(histories), step)
            raise UserError(f"{self.path}: its log has shape {shape}, expected {expected} after step {step}")
        state = {name.removeprefix("state."): value for name, value in values.items() if name.startswith("state.")}
        return Saved(step, state, series, histories, json.loads(metadata["forces"]))

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
