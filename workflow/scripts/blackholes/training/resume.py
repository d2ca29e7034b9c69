"""Checkpoints of training jobs, from which a killed job resumes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blackholes.artifacts.provenance import digest
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError

NAME = ".training_state.safetensors"


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

    def save(self, step: int, state: Mapping[str, Tensor], series: Tensor) -> None:
        """Write the state after `step`, and losses and gradient norms (2, K, step). Flush the histories first."""
        tensors = {f"state.{name}": value.detach().cpu() for name, value in state.items()}
        tensors |= {"step": torch.tensor(step), "log": series.contiguous()}
        write_tensors(self.path, tensors, {"recipe": json.dumps(dict(self.recipe), sort_keys=True)})

    def load(self, log: Callable[[str], None]) -> tuple[int, dict[str, Tensor], Tensor] | None:
        """What `save` was given, or None. `log` says why a file is not used; such a file is deleted."""
        if not self.path.exists():
            return None
        try:
            with open_tensors(self.path) as file:
                recipe = json.loads(file.metadata.get("recipe", "{}"))
                values = {key: file.rows(key).clone() for key in file.keys()}  # noqa: SIM118 - no mapping
        except (UserError, ValueError) as error:
            log(f"checkpoint not used: {error}; training starts from step 0")
            self.forget()
            return None
        if recipe != self.recipe:
            keys = sorted(key for key in {*recipe, *self.recipe} if recipe.get(key) != self.recipe.get(key))
            differ = ", ".join(keys)
            log(f"checkpoint not used: {self.path}: {differ} differ from this job's; training starts from step 0")
            self.forget()
            return None
        state = {name.removeprefix("state."): value for name, value in values.items() if name.startswith("state.")}
        return int(values["step"]), state, values["log"]

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
