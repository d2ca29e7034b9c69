"""The configuration: the one place where every key's default, range and meaning is written down.

`load(config)` checks what Snakemake read; `python -m blackholes.config` prints `config/README.md`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from blackholes.config.checkpoints import CHECKPOINTS, Checkpoint, checkpoint_name, present, settle
from blackholes.config.corpus import Corpus, laid_over
from blackholes.config.experiments import EXPERIMENTS, Experiment
from blackholes.config.fields import Integer, Number, Section, Step, inherit, problem_line, refuse, setting
from blackholes.config.lattice import LATTICE, Lattice, settle_runs, with_experiments
from blackholes.config.snowballs import SNOWBALLS, Snowball, refuse_unknown_centroids, snowball_name
from blackholes.errors import UserError

RESERVED = ("benchmarks", "checkpoints", "corpus", "figures", "lattice", "logs", "report", "snowballs")


class Training(Section):
    """How to train: where, and with what. Results are the same, but for `engine` and the kind of device."""

    MOVED: ClassVar = {"threads": "experiments.<name>.batch_split"}

    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "`auto`: a GPU if there is one; results are the same to the bit on one kind of device only"
    )
    engine: Literal["auto", "compiled", "torch"] = setting(
        "auto",
        "what takes the steps. `compiled`: hand-written gradients, on a CPU only; `torch`: torch's autograd, on any "
        "device; `auto`: compiled on a CPU, torch elsewhere. The two round at different places (docs/rounding.md), so "
        "this key enters the bytes, and a change of it trains every run again",
        "auto, compiled or torch; not compiled where device is cuda or mps",
    )
    runs_per_job: Literal["auto"] | Annotated[Integer, Field(ge=1, le=999)] = setting(
        "auto",
        "runs of an experiment that train side by side in one job; `auto`: 1 on a CPU, all of them on a GPU",
        "`auto`, or an integer from 1 up to 999",
    )
    checkpoint_seconds: Number = setting(
        30.0, "time between two checkpoints, from which a killed job resumes", gt=0, le=86400
    )
    progress_seconds: Number = setting(5.0, "time between two lines of progress", gt=0, le=3600)

    @model_validator(mode="after")
    def _engine_runs_there(self):
        if self.engine == "compiled" and self.device in ("cuda", "mps"):
            refuse("engine", self.engine, f"auto or torch where device is {self.device}")
        return self


class Distances(Section):
    """Pairwise Chebyshev matrices of every step of a run, and what is computed from histories and matrices."""

    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "where distances, black holes, geometry and graphs are computed; `auto`: a GPU if there is one"
    )
    store: bool = setting(
        True, "false: compute and discard, the statistics are the same; true: S × V × V float32 a run"
    )
    memory_budget_gb: Number = setting(1.0, "working memory of a job, in GB of 10⁹ bytes", ge=0.01, le=4096)


class Adjacency(Section):
    """Which pairs of tokens a graph joins. On a lattice ties are common, so the operator matters."""

    measure: Literal["chebyshev", "cells"] = setting(
        ..., "`chebyshev`: largest coordinate difference; `cells`: the same counted in bfloat16 lattice steps"
    )
    operator: Literal["<", "<="] = setting(..., "how a pair's distance is compared with the threshold")
    threshold: Number = setting(
        ..., "the distance compared with", "number ≥ 0 (a whole one for cells; above 0 with <)", ge=0
    )

    @model_validator(mode="after")
    def _possible(self):
        if self.operator == "<" and self.threshold == 0:
            refuse("threshold", self.threshold, "above 0 with the operator <, which no pair can meet at 0")
        if self.measure == "cells" and self.threshold != int(self.threshold):
            refuse("threshold", self.threshold, "a whole number where measure is cells")
        return self


class Figures(Section):
    """What figures and the summary table show."""

    key_steps: Annotated[list[Step], Field(min_length=1)] = setting(
        [0, 1, 10, 100, 1000, "last"],
        "snapshots shown where a few are shown; steps beyond an experiment's last are left out",
        "list of steps ≥ 0 and `last`",
    )
    summary_steps: Literal["auto"] | Annotated[list[Step], Field(min_length=1)] = setting(
        "auto",
        "rows of `summary.csv`; `auto`: 0, 1, 2, 5, 10, 20, 50, … and the last",
        "`auto`, or a list of steps ≥ 0 and `last`",
    )
    run: Integer = setting(1, "the run shown where one is shown; every experiment must have it", ge=1, le=999)
    dpi: Integer = setting(160, "dots per inch of the PNG files", ge=50, le=600)


def _experiment_name(name):
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in RESERVED:
        raise ValueError(
            "a name that starts with a lower-case letter, goes on with a-z, 0-9, _ or -, "
            f"and is none of {', '.join(RESERVED)}"
        )
    return name


def _adjacency_name(name):
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError("a name that starts with a lower-case letter and goes on with a-z, 0-9 or _")
    return name


IDENTICAL = Adjacency(measure="chebyshev", operator="<=", threshold=0.0)
ADJACENCY = {
    "identical": IDENTICAL,
    "touching": Adjacency(measure="chebyshev", operator="<", threshold=2 * 2**-7),
    "cells": Adjacency(measure="cells", operator="<=", threshold=1.0),
}


class Config(Section):
    """Everything; `Config()` is the published scale."""

    corpus: Corpus = setting(Corpus(), "the text to train on")
    experiment_defaults: Experiment = setting(Experiment(), "what every experiment inherits")
    experiments: dict[Annotated[str, AfterValidator(_experiment_name)], Experiment] = setting(
        {name: Experiment.model_validate(own) for name, own in EXPERIMENTS.items()},
        "name → the keys in which the experiment differs from `experiment_defaults`",
        "a mapping of experiments, at least one",
        min_length=1,
    )
    training: Training = setting(Training(), "how to run")
    distances: Distances = setting(Distances(), "pairwise distances")
    adjacency: dict[Annotated[str, AfterValidator(_adjacency_name)], Adjacency] = setting(
        ADJACENCY, "name → which pairs are joined", "a mapping of graphs, with identical, touching and cells"
    )
    checkpoints: dict[Annotated[str, AfterValidator(checkpoint_name)], Checkpoint] = setting(
        CHECKPOINTS, "name → a finished model to look into", "a mapping of checkpoints ({} for none)"
    )
    snowballs: dict[Annotated[str, AfterValidator(snowball_name)], Snowball] = setting(
        SNOWBALLS, "name → synthetic tokens around a centroid", "a mapping of snowballs ({} for none)"
    )
    lattice: dict[Annotated[str, AfterValidator(checkpoint_name)], Lattice] = setting(
        {name: Lattice(**own) for name, own in LATTICE.items()},
        "name → a history whose motion is counted in steps of the lattice",
        "a mapping of histories ({} for none)",
    )
    figures: Figures = setting(Figures(), "what is shown")

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, config):
        """Lay each experiment over the defaults; `false` leaves one out."""
        if not isinstance(config, Mapping):
            return config
        config, defaults = dict(config), config.get("experiment_defaults", {})
        for section in {"checkpoints", "snowballs", "lattice"} & set(config):
            config[section] = present(config[section])
        experiments = config.get("experiments", EXPERIMENTS)
        if isinstance(defaults, Mapping) and isinstance(experiments, Mapping):
            corpus = config.get("corpus", {})
            defaults = config["experiment_defaults"] = laid_over(corpus, defaults)
            config["experiments"] = {
                name: laid_over(defaults.get("corpus", {}), inherit(Experiment, {**defaults, "corpus": {}}, own))
                for name, own in experiments.items()
                if own not in (False, "false")
            }
            lattice = config.get("lattice", {name: {} for name in LATTICE if name in config["experiments"]})
            config["lattice"] = with_experiments(lattice, experiments)
        return config

    def corpora(self) -> dict[str, Corpus]:
        """Every corpus that an experiment trains on, by name."""
        return {experiment.corpus.name: experiment.corpus for experiment in self.experiments.values()}

    @model_validator(mode="after")
    def _fits_together(self):
        named: dict[str, Corpus] = {}
        for name, experiment in self.experiments.items():
            experiment.set_engine(self.training.engine)
            if self.figures.run > experiment.runs:
                refuse("figures.run", self.figures.run, f"1 to {experiment.runs}, the runs of {name}")
            corpus = experiment.corpus
            if named.setdefault(corpus.name, corpus) != corpus:
                other = next(other for other, it in self.experiments.items() if it.corpus is named[corpus.name])
                key = f"experiments.{name}.corpus.name"
                refuse(key, corpus.name, f"a name of its own, since the corpus of {other} is another one of that name")
        settle(self.checkpoints, self.experiments)
        settle_runs(self.lattice, self.experiments)
        refuse_unknown_centroids(self.snowballs, self.checkpoints)
        for name in ADJACENCY:
            if name not in self.adjacency:
                refuse(f"adjacency.{name}", None, "a graph: identical, touching and cells are always there")
        if self.adjacency["identical"] != IDENTICAL:
            value = self.adjacency["identical"].model_dump()
            refuse("adjacency.identical", value, f"{IDENTICAL.model_dump()}, which black holes are defined by")
        return self


def steps_at(chosen: Literal["auto"] | list[int | str], last: int) -> list[int]:
    """The configured steps of an experiment whose last step is `last`: ascending, each once, none beyond it."""
    if chosen == "auto":
        tens = [10**k for k in range(len(str(last)))]
        chosen = [0, *(m * ten for ten in tens for m in (1, 2, 5)), last]
    return sorted({last if step == "last" else step for step in chosen if step == "last" or step <= last})


def load(config: Mapping) -> Config:
    """Check a configuration and fill in what it leaves out.

    Values may be text, as Snakemake hands on what `--config` says. Raises UserError with one line a problem: the
    dotted key, the value given, and what is allowed.
    """
    try:
        return Config.model_validate(_nulls(config))
    except ValidationError as error:
        lines = dict.fromkeys(problem_line(problem, Config) for problem in error.errors(include_url=False))
    # what is wrong in corpus or experiment_defaults is said there, and not of all that inherit it
    corpus = {f".{line.partition(':')[0]}" for line in lines if line.startswith("corpus")}
    defaults = {line.removeprefix("experiment_defaults") for line in lines if line.startswith("experiment_defaults")}
    experiment = re.compile(r"experiments\.[^.]*")

    def inherited(line: str) -> bool:
        if line.startswith("experiment_defaults"):
            return line.removeprefix("experiment_defaults").partition(":")[0] in corpus
        own = experiment.sub("", line, count=1)
        return own in defaults or own.partition(":")[0] in corpus

    raise UserError("\n".join(line for line in lines if not inherited(line)))


def _nulls(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {key: _nulls(value) for key, value in config.items()}
    return None if config == "null" else config
