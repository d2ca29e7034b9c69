"""The configuration of motion on the lattice (row E)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, model_validator

from blackholes.config.checkpoints import refuse_missing_run
from blackholes.config.experiments import Experiment
from blackholes.config.fields import InputPath, Integer, Number, Section, refuse, setting

Large = Literal["delta_ordinal", "delta_W_prime", "U", "exponent_crossings"]


def _once(names):
    if len(set(names)) < len(names):
        raise ValueError
    return names


class Lattice(Section):
    """A history whose motion is measured in steps of the bfloat16 lattice. Without `run` and `path`: run 1 of the
    experiment of the same name."""

    OF_A_PATH: ClassVar = ("key", "dead_mask")

    run: str | None = setting(
        None, "a run of this workflow", "`<experiment>/run_<NNN>`", pattern=r"^[a-z][a-z0-9_-]*/run_\d{3}$"
    )
    path: InputPath | None = setting(
        None,
        "a history of your own, relative to the folder Snakemake runs in: bfloat16 (S, V, D) in a safetensors file, "
        "or its bits as uint16 in an HDF5 file",
        "a path, without run",
        min_length=1,
    )
    key: str | None = setting(
        None,
        "name of the history in that file; null: `embedding_history` (safetensors) or `W` (HDF5)",
        "a name, with path",
        min_length=1,
    )
    dead_mask: InputPath | None = setting(
        None,
        "safetensors file with `dead_mask` (V,), such as a corpus' `tokens.safetensors`; null: `dead_mask` of the "
        "history's own file; if it has none, dead and live tokens are not distinguished",
        "a path, with path",
        min_length=1,
    )
    dtype: Literal["auto", "int8", "int16", "int32", "int64"] = setting(
        "auto",
        "integer type of the stored `delta_W_prime`, which must hold every value; `auto`: the smallest that does",
    )
    keep: Annotated[list[Large], AfterValidator(_once)] = setting(
        ["delta_ordinal", "delta_W_prime", "exponent_crossings"],
        "the large tensors to write, each with one value per step, token and dimension: the displacement in cells "
        "(exact) and in ULP (rounded), changes of the exponent, and `U`, the ULP of each snapshot",
        "list of delta_ordinal, delta_W_prime, U and exponent_crossings, each once",
    )
    token: Integer | None = setting(
        None,
        "the token shown in the raster figure; null: the dead token with the smallest id, or token 0 if none is dead",
        "null, or a token's id",
        ge=0,
        le=10_000_000,
    )
    seed: Integer = setting(42, "which coordinates of each unusual kind odd_samples.csv shows", ge=0, le=2**63 - 1)
    memory_budget_gb: Number = setting(2.0, "working memory of the job, in GB of 10⁹ bytes", ge=0.05, le=4096)

    @model_validator(mode="after")
    def _one_source(self):
        if self.run is not None and self.path is not None:
            refuse("path", self.path, "null where run is given")
        for key in self.OF_A_PATH if self.path is None else []:
            if getattr(self, key) is not None:
                refuse(key, getattr(self, key), "null where path is not given")
        return self


def drop_with_experiments(lattice: Any, experiments: Mapping) -> Any:
    """Entries without those whose experiment, that of the same name, an overlay removes with `false`."""
    if not isinstance(lattice, Mapping):
        return lattice
    disabled = [name for name, own in experiments.items() if own in (False, "false")]
    return {
        name: own
        for name, own in lattice.items()
        if not (name in disabled and isinstance(own, Mapping) and not {"run", "path"} & set(own))
    }


def resolve_runs(lattice: dict[str, Lattice], experiments: Mapping[str, Experiment]) -> None:
    """Set `run` for entries without `run` and `path`.

    Called in a validator of the whole configuration; raises for a run that no experiment has.
    """
    for name, entry in lattice.items():
        if entry.path is None:
            run = entry.run or f"{name}/run_001"
            refuse_missing_run(f"lattice.{name}", run, experiments)
            lattice[name] = entry.model_copy(update={"run": run})


LATTICE: dict[str, dict[str, Any]] = {"qwen": {}}
