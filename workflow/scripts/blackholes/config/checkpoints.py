"""The configuration of finished checkpoints (row C)."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from blackholes.config.experiments import Experiment
from blackholes.config.fields import InputPath, Integer, Number, Section, refuse, setting


def _limits(pair):
    if pair is not None and any(abs(limit) > 1e6 for limit in pair):
        raise ValueError
    return pair


Limits = Annotated[tuple[Number, Number], AfterValidator(_limits)] | None


class Basis(Section):
    """The principal component, counted from 1, along each axis of the sphere; a negative number reverses it."""

    north: Integer = setting(2, "the axis to the pole, latitude 90°", "non-zero integer", ge=-65536, le=65536)
    meridian: Integer = setting(1, "the axis to longitude 0°", "non-zero integer", ge=-65536, le=65536)
    equinox: Integer = setting(3, "the axis to longitude 90°", "non-zero integer", ge=-65536, le=65536)

    @model_validator(mode="after")
    def _three_axes(self):
        axes = {name: getattr(self, name) for name in ("north", "meridian", "equinox")}
        for name, axis in axes.items():
            if axis == 0 or [abs(other) for other in axes.values()].count(abs(axis)) > 1:
                refuse(name, axis, "a component from 1 up (or its negative) that no other axis uses")
        return self


class Box(Section):
    """The region of the sphere whose tokens' distances are computed, limits included. The word `auto`, or null for all
    three limits: the densest region. One null: no limit. A longitude range may cross 180°, as in [170, -170]."""

    lat: Limits = setting(None, "latitude, in degrees", "null, or two numbers from -90 up to 90, the smaller first")
    lon: Limits = setting(None, "longitude, in degrees", "null, or two numbers from -180 up to 180, from west to east")
    r: Limits = setting(None, "radius", "null, or two numbers ≥ 0, the smaller first")

    @classmethod
    def expand_shorthand(cls, value: Any) -> Any:
        return {} if value == "auto" else value

    @model_validator(mode="after")
    def _possible(self):
        for key, low, high in (("lat", -90, 90), ("lon", -180, 180), ("r", 0, 1e6)):
            limits = getattr(self, key)
            ordered = limits is None or key == "lon" or limits[0] <= limits[1]
            if limits is not None and not (ordered and all(low <= limit <= high for limit in limits)):
                word = "from west to east" if key == "lon" else "the smaller first"
                refuse(key, list(limits), f"two numbers from {low:g} up to {high:g}, {word}")
        return self


class Checkpoint(Section):
    """A finished model; only its embedding is read. Without `run`, `path` and `hub`: run 1 of the first experiment."""

    SOURCES: ClassVar = ("run", "path", "hub")

    run: str | None = setting(
        None, "a run of this workflow", "`<experiment>/run_<NNN>`", pattern=r"^[a-z][a-z0-9_-]*/run_\d{3}$"
    )
    path: InputPath | None = setting(
        None,
        "a folder, a safetensors file or a sharded index (`model.safetensors.index.json`), relative to the folder "
        "Snakemake runs in",
        "a path",
        min_length=1,
    )
    hub: str | None = setting(
        None,
        "a model of the Hugging Face hub",
        "`<owner>/<name>`, with a revision",
        pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$",
    )
    revision: str | None = setting(
        None,
        "the commit to download from the hub; a tag or branch is resolved once",
        "40 hexadecimal digits, or a tag or branch, with hub",
        pattern=r"^[A-Za-z0-9][\w./-]*$",
    )
    tensor: str = setting(
        "auto",
        "name of the embedding tensor; `auto`: the usual names in GPT-2, Llama, Qwen, BERT, …",
        "`auto`, or a tensor's name, which a run of an experiment with model.tied: false needs",
        min_length=1,
    )
    tokenizer: InputPath | None = setting(
        "auto",
        "`auto`: the checkpoint's own tokenizer.json, if it has one; null: none, tokens have no text",
        "`auto`, null, or the path of a tokenizer.json or of its folder",
        min_length=1,
    )
    basis: Basis = setting(Basis(), "the axes of the sphere")
    box: Box = setting(Box(), "the region of the sphere to analyse")
    threshold: Literal["auto"] | Annotated[Number, Field(ge=0)] = setting(
        "auto",
        "tokens in the box are adjacent at this Euclidean distance or less; `auto`: 2⁻⁸ of the median norm of the "
        "tokens in the box, the most that rounding to bfloat16 can put between two copies of one vector",
        "`auto`, or a number ≥ 0",
    )
    memory_budget_gb: Number = setting(4.0, "working memory of a job, in GB of 10⁹ bytes", ge=0.05, le=4096)
    disk_budget_gb: Number = setting(
        10.0, "largest matrix of distances, in GB of 10⁹ bytes: 4 N² bytes for N tokens in the box", ge=0.001, le=1e6
    )

    @model_validator(mode="after")
    def _one_source(self):
        given = [key for key in self.SOURCES if getattr(self, key) is not None]
        for key in given[1:]:
            refuse(key, getattr(self, key), f"null where {given[0]} is given: one of run, path and hub")
        if self.hub is None and self.revision is not None:
            refuse("revision", self.revision, "null where hub is not given")
        if self.hub is not None and self.revision is None:
            refuse("revision", None, "a commit (40 hexadecimal digits) or a tag, since hub is given")
        return self


def checkpoint_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise ValueError("a name that starts with a lower-case letter and contains only a-z, 0-9, _ and -")
    return name


def drop_disabled(entries: Any) -> Any:
    """Named entries without those that an overlay removes with `false`."""
    if not isinstance(entries, Mapping):
        return entries
    return {name: own for name, own in entries.items() if own not in (False, "false")}


def resolve_runs(
    checkpoints: dict[str, Checkpoint], experiments: Mapping[str, Experiment], results: str = "results"
) -> None:
    """Set `run` for checkpoints that a run of these experiments writes: those without a source, or with such a path.

    Called in a validator of the whole configuration; raises for a run that no experiment has.
    """
    for name, checkpoint in checkpoints.items():
        run = checkpoint.run or _run_of(checkpoint.path, experiments, results)
        if run is None and not (checkpoint.path or checkpoint.hub):
            if not experiments:
                refuse(f"checkpoints.{name}", {}, "run, path or hub, since there is no experiment")
            run = f"{next(iter(experiments))}/run_001"
        if run is not None:
            refuse_missing_run(f"checkpoints.{name}", run, experiments)
            experiment = run.partition("/")[0]
            if checkpoint.tensor == "auto" and not experiments[experiment].model.tied:
                which = "transformer.wte.weight (the input) or lm_head.weight (the output)"
                refuse(f"checkpoints.{name}.tensor", "auto", f"{which}, since model.tied of {experiment} is false")
            checkpoints[name] = checkpoint.model_copy(update={"run": run, "path": None})


def refuse_missing_run(entry: str, run: str, experiments: Mapping[str, Experiment]) -> None:
    """Raise, in a validator of the whole configuration, if `run` of `entry` is not a run of these experiments."""
    experiment, _, folder = run.partition("/")
    section, _, name = entry.partition(".")
    if experiment not in experiments:
        hint = f"`{section}: {{{name}: false}}` removes it"
        refuse(f"{entry}.run", run, f"a run of the experiments {', '.join(experiments)}; {hint}")
    names = experiments[experiment].run_names()
    if folder not in names:
        refuse(f"{entry}.run", run, f"{names[0]} to {names[-1]} of {experiment}")


def _run_of(path: str | None, experiments: Mapping[str, Experiment], results: str) -> str | None:
    """`<experiment>/run_<NNN>` if `path` is the model that this run will write, else None."""
    if path is None:
        return None
    relative = os.path.relpath(Path(path).expanduser().absolute(), Path(results).absolute())
    match = re.fullmatch(r"([^/]+)/(run_\d+)/model(/model\.safetensors)?", relative)
    if match and match[1] in experiments and match[2] in experiments[match[1]].run_names():
        return f"{match[1]}/{match[2]}"
    return None


CHECKPOINTS = {"trained": Checkpoint()}
