"""The configuration of motion on the lattice (row E)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, model_validator

from blackholes.config.checkpoints import refuse_missing_run
from blackholes.config.fields import Integer, Number, Section, refuse, setting

Large = Literal["delta_W_prime", "U", "exponent_crossings"]


def _once(names):
    if len(set(names)) < len(names):
        raise ValueError
    return names


class Lattice(Section):
    """A history whose motion is counted in steps of bfloat16's lattice. Neither `run` nor `path`: run 1 of the
    experiment of the same name."""

    OF_A_PATH: ClassVar = ("key", "dead_mask")

    run: str | None = setting(
        None, "a run of this workflow", "`<experiment>/run_<NNN>`", pattern=r"^[a-z][a-z0-9_-]*/run_\d{3}$"
    )
    path: str | None = setting(
        None,
        "a history of your own, from the folder Snakemake runs in: bfloat16 (S, V, D) in a safetensors file, or its "
        "bits as uint16 in an HDF5 file",
        "a path, without run",
        min_length=1,
    )
    key: str | None = setting(
        None,
        "the history's name in that file; null: `embedding_history` (safetensors) or `W` (HDF5)",
        "a name, with path",
        min_length=1,
    )
    dead_mask: str | None = setting(
        None,
        "safetensors file with `dead_mask` (V,), such as a corpus' `tokens.safetensors`; null: `dead_mask` of the "
        "history's own file, and where it has none, tokens are not told apart",
        "a path, with path",
        min_length=1,
    )
    dtype: Literal["auto", "int8", "int16", "int32", "int64"] = setting(
        "auto",
        "integers that displacements are stored in; `auto`: the smallest that hold them; others have to hold all",
    )
    keep: Annotated[list[Large], AfterValidator(_once)] = setting(
        ["delta_W_prime", "exponent_crossings"],
        "the large tensors to write, each with a number for every step, token and dimension; `U` is the ULP",
        "list of delta_W_prime, U and exponent_crossings, each once",
    )
    token: Integer | None = setting(
        None,
        "the token of the raster; null: the dead one of smallest id, or token 0 if none is dead",
        "null, or a token's id",
        ge=0,
        le=10_000_000,
    )
    memory_budget_gb: Number = setting(2.0, "working memory of the job, in GB of 10⁹ bytes", ge=0.05, le=4096)

    @model_validator(mode="after")
    def _one_source(self):
        if self.run is not None and self.path is not None:
            refuse("path", self.path, "null where run is given")
        for key in self.OF_A_PATH if self.path is None else []:
            if getattr(self, key) is not None:
                refuse(key, getattr(self, key), "null where path is not given")
        return self


def with_experiments(lattice: Any, experiments: Mapping) -> Any:
    """Entries but for those that go with an experiment of their name which an overlay leaves out with `false`."""
    if not isinstance(lattice, Mapping):
        return lattice
    left_out = [name for name, own in experiments.items() if own in (False, "false")]
    return {
        name: own
        for name, own in lattice.items()
        if not (name in left_out and isinstance(own, Mapping) and not {"run", "path"} & set(own))
    }


def settle_runs(lattice: dict[str, Lattice], experiments: Mapping) -> None:
    """Fill in the run of entries that name none.

    Raises, in a validator of the whole configuration, for a run that no experiment has.
    """
    for name, entry in lattice.items():
        if entry.path is None:
            run = entry.run or f"{name}/run_001"
            refuse_missing_run(f"lattice.{name}", run, experiments)
            lattice[name] = entry.model_copy(update={"run": run})


LATTICE = {"qwen": {}, "thimble": {}}
