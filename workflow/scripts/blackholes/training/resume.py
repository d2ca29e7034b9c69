"""What a training job keeps so that it can be killed: its state, now and then, beside what it writes."""

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
    """The state file of one job's K runs, in the folder of the first.

    Args:
        folder: of the first run.
        recipe: all that enters the runs' bytes, text → text; a state made by another recipe is refused.
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

    def save(self, step: int, state: Mapping[str, Tensor], log: Tensor) -> None:
        """Write the state after `step` and the log (2, K, step): losses, gradient norms. Flush the histories first."""
        tensors = {f"state.{name}": value.detach().cpu() for name, value in state.items()}
        tensors |= {"step": torch.tensor(step), "log": log.contiguous()}
        write_tensors(self.path, tensors, {"recipe": json.dumps(dict(self.recipe), sort_keys=True)})

    def load(self, say: Callable[[str], None]) -> tuple[int, dict[str, Tensor], Tensor] | None:
        """(step, state, log) as they were saved, or None; a state that does not belong to this recipe is removed."""
        if not self.path.exists():
            return None
        try:
            with open_tensors(self.path) as file:
                theirs = json.loads(file.metadata.get("recipe", "{}"))
                values = {key: file.rows(key).clone() for key in file.keys()}  # noqa: SIM118 - no mapping
        except (UserError, ValueError) as error:
            say(f"refused: {error}; training starts from step 0")
            self.forget()
            return None
        if theirs != self.recipe:
            keys = sorted(key for key in {*theirs, *self.recipe} if theirs.get(key) != self.recipe.get(key))
            say(f"refused: {self.path} is of another recipe ({', '.join(keys)} differ); training starts from step 0")
            self.forget()
            return None
        state = {name.removeprefix("state."): value for name, value in values.items() if name.startswith("state.")}
        return int(values["step"]), state, values["log"]

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
