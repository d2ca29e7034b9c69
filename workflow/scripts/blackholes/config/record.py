"""The configuration of what is recorded of a run beside its history (row F)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from blackholes.config.fields import Integer, Section, refuse, setting


class Record(Section):
    """What is recorded of runs beside their histories. A single word sets the forces: `record: summary`."""

    WORD: ClassVar = "forces"
    UNUSED: ClassVar = {("forces", "none"): ["runs"]}

    forces: Literal["none", "summary", "full"] = setting(
        "none",
        "forces on every token at every step, in `forces.safetensors`. `summary`: norms, cells and shares; `full`: "
        "also the intended update of every coordinate, 8 bytes for each at every step, with which the law of the next "
        "weights is checked to the bit. The other files of a run do not depend on it",
    )
    runs: Annotated[list[Integer], Field(min_length=1)] = setting(
        [1], "the runs that are recorded", "list of runs from 1 up to `runs`, each once"
    )

    @model_validator(mode="after")
    def _runs_once(self):
        if len(set(self.runs)) < len(self.runs) or min(self.runs) < 1:
            refuse("runs", self.runs, "list of runs from 1 up, each once")
        return self
