"""The whole configuration: default, range and meaning of every key.

`load(config)` validates what Snakemake read; `python -m blackholes.config` prints `config/README.md`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from blackholes.config.bounds import refuse_unbounded
from blackholes.config.checkpoints import CHECKPOINTS, Checkpoint, checkpoint_name, drop_disabled
from blackholes.config.checkpoints import resolve_runs as resolve_checkpoint_runs
from blackholes.config.corpus import Corpus, merge
from blackholes.config.experiments import EXPERIMENTS, Experiment
from blackholes.config.fields import (
    Integer,
    Number,
    ResultsFolder,
    Section,
    Step,
    inherit,
    problem_line,
    refuse,
    setting,
)
from blackholes.config.lattice import LATTICE, Lattice, drop_with_experiments
from blackholes.config.lattice import resolve_runs as resolve_lattice_runs
from blackholes.config.lineage import Lineage
from blackholes.config.snowballs import SNOWBALLS, Snowball, refuse_unknown_centroids, snowball_name
from blackholes.errors import UserError

RESERVED = ("benchmarks", "checkpoints", "corpus", "figures", "lattice", "logs", "report", "snowballs")
SHOWN = 30  # problems of a configuration that are told at once
REMOVABLE = ("experiments", "checkpoints", "snowballs", "lattice")  # `<name>: false` removes an entry


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
    """Pairwise Chebyshev matrices of every step of a run, and the statistics computed from histories and matrices."""

    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "where distances, black holes, geometry and graphs are computed; `auto`: a GPU if there is one"
    )
    store: bool = setting(
        True,
        "true: write the matrices, S × V × V float32 per run; false: discard them after use; statistics are the same",
    )
    memory_budget_gb: Number = setting(1.0, "working memory of a job, in GB of 10⁹ bytes", ge=0.01, le=4096)


class Adjacency(Section):
    """Which pairs of tokens are adjacent in a graph. On a lattice ties are common, so the operator matters."""

    measure: Literal["chebyshev", "cells"] = setting(
        ..., "`chebyshev`: largest coordinate difference; `cells`: the same counted in bfloat16 lattice steps"
    )
    operator: Literal["<", "<="] = setting(..., "how a pair's distance is compared with the threshold")
    threshold: Number = setting(
        ..., "the distance compared with", "number ≥ 0 (an integer for cells; above 0 with <)", ge=0
    )

    @model_validator(mode="after")
    def _possible(self):
        if self.operator == "<" and self.threshold == 0:
            refuse("threshold", self.threshold, "above 0 with the operator <: no distance is below 0")
        if self.measure == "cells" and self.threshold != int(self.threshold):
            refuse("threshold", self.threshold, "an integer where measure is cells")
        return self


class Figures(Section):
    """What figures and the summary table show."""

    key_steps: Annotated[list[Step], Field(min_length=1)] = setting(
        [0, 1, 10, 100, 1000, "last"],
        "snapshots that figures of selected steps show; steps beyond an experiment's last are omitted",
        "list of steps ≥ 0 and `last`",
    )
    summary_steps: Literal["auto"] | Annotated[list[Step], Field(min_length=1)] = setting(
        "auto",
        "rows of `summary.csv`; `auto`: 0, 1, 2, 5, 10, 20, 50, … and the last",
        "`auto`, or a list of steps ≥ 0 and `last`",
    )
    run: Integer = setting(1, "the run that figures of a single run show; every experiment must have it", ge=1, le=999)
    compare: Literal["auto"] | list[tuple[str, str]] = setting(
        "auto",
        "experiments that `comparison.csv` compares, by pairs of runs with the same seed. `auto`: each with the first "
        "that has its corpus and its number of steps",
        "`auto`, or a list of pairs [experiment, reference] with the same corpus and steps and two seeds in common",
    )
    dpi: Integer = setting(160, "dots per inch of the PNG files", ge=50, le=600)


def _experiment_name(name):
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in RESERVED:
        raise ValueError(
            "a name that starts with a lower-case letter, contains only a-z, 0-9, _ and -, "
            f"and is none of {', '.join(RESERVED)}"
        )
    return name


def _adjacency_name(name):
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError("a name that starts with a lower-case letter and contains only a-z, 0-9 and _")
    return name


IDENTICAL = Adjacency(measure="chebyshev", operator="<=", threshold=0.0)
ADJACENCY = {
    "identical": IDENTICAL,
    "touching": Adjacency(measure="chebyshev", operator="<", threshold=2 * 2**-7),
    "cells": Adjacency(measure="cells", operator="<=", threshold=1.0),
}


class Config(Section):
    """The whole configuration; `Config()` is the published scale."""

    corpus: Corpus = setting(Corpus(), "the text to train on")
    experiment_defaults: Experiment = setting(Experiment(), "what every experiment inherits")
    experiments: dict[Annotated[str, AfterValidator(_experiment_name)], Experiment] = setting(
        {name: Experiment.model_validate(own) for name, own in EXPERIMENTS.items()},
        "name → the keys that differ from `experiment_defaults`",
        "a mapping of experiments ({} for none)",
    )
    training: Training = setting(Training(), "how to run")
    distances: Distances = setting(Distances(), "pairwise distances")
    adjacency: dict[Annotated[str, AfterValidator(_adjacency_name)], Adjacency] = setting(
        ADJACENCY, "name → which pairs are adjacent", "a mapping of graphs, with identical, touching and cells"
    )
    checkpoints: dict[Annotated[str, AfterValidator(checkpoint_name)], Checkpoint] = setting(
        CHECKPOINTS, "name → a finished model to analyse", "a mapping of checkpoints ({} for none)"
    )
    snowballs: dict[Annotated[str, AfterValidator(snowball_name)], Snowball] = setting(
        SNOWBALLS, "name → synthetic tokens around a centroid", "a mapping of snowballs ({} for none)"
    )
    lattice: dict[Annotated[str, AfterValidator(checkpoint_name)], Lattice] = setting(
        {name: Lattice(**own) for name, own in LATTICE.items()},
        "name → a history whose motion is measured in steps of the lattice",
        "a mapping of histories ({} for none)",
    )
    lineage: Lineage = setting(Lineage(), "identities of black holes")
    figures: Figures = setting(Figures(), "what is shown")
    results: ResultsFolder = setting(
        "results",
        "folder of all that is made, relative to the folder Snakemake runs in; results of other settings need another",
        "a path",
        min_length=1,
    )
    overwrite: bool = setting(
        False,
        "true: finished runs may be replaced by runs of other settings; false: such a call is refused. Of the command "
        "line: `--config overwrite=true`",
    )
    check_inputs: bool = setting(
        True,
        "true: every job compares the files that it reads with the digests recorded when they were written; one that "
        "differs is an error, and is made anew by the next call",
    )

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, config):
        """Merge each experiment over the defaults; `false` removes an entry."""
        if not isinstance(config, Mapping):
            return config
        config, defaults = dict(config), config.get("experiment_defaults", {})
        experiments = config.get("experiments", EXPERIMENTS)
        for section in set(REMOVABLE) & set(config):
            config[section] = drop_disabled(config[section])
        if isinstance(defaults, Mapping) and isinstance(experiments, Mapping):
            corpus = config.get("corpus", {})
            defaults = config["experiment_defaults"] = merge(corpus, defaults)
            config["experiments"] = {
                name: merge(defaults.get("corpus", {}), inherit(Experiment, {**defaults, "corpus": {}}, own))
                for name, own in drop_disabled(experiments).items()
            }
            lattice = config.get("lattice", {name: {} for name in LATTICE if name in config["experiments"]})
            config["lattice"] = drop_with_experiments(lattice, experiments)
        return config

    def comparisons(self) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """(experiment, reference, the runs of both that share a seed), as `figures.compare` says."""
        chosen = self.figures.compare
        if chosen == "auto":
            first: dict[tuple[str, int], str] = {}
            for name, it in self.experiments.items():
                first.setdefault((it.corpus.folder, it.steps), name)
            chosen = [(name, first[it.corpus.folder, it.steps]) for name, it in self.experiments.items()]
            chosen = [(one, other) for one, other in chosen if one != other and len(self._paired(one, other)) > 1]
        return [(one, other, self._paired(one, other)) for one, other in chosen]

    def _paired(self, one: str, other: str) -> list[tuple[str, str]]:
        """Names of runs of two experiments that have the same seed."""
        beside = self.experiments[other]
        seeds = {beside.seed(run): name for run, name in enumerate(beside.run_names(), 1)}
        own = self.experiments[one]
        return [(name, seeds[own.seed(run)]) for run, name in enumerate(own.run_names(), 1) if own.seed(run) in seeds]

    def _refuse_comparisons(self) -> None:
        for at, pair in enumerate([] if self.figures.compare == "auto" else self.figures.compare):
            key, known = f"figures.compare[{at}]", self.experiments
            if not set(pair) <= set(known) or pair[0] == pair[1]:
                refuse(key, list(pair), f"two of the experiments {', '.join(known)}")
            one, other = (known[name] for name in pair)
            if (one.corpus.folder, one.steps) != (other.corpus.folder, other.steps):
                refuse(key, list(pair), "experiments with the same corpus and the same number of steps")
            if len(self._paired(*pair)) < 2:
                refuse(key, list(pair), "experiments with at least two seeds in common")

    def side_by_side(self) -> list[str]:
        """The experiments that the comparing figures show: of those with the same corpus and vocabulary, the ones that
        have the most runs together; of as many, those that come first.
        """
        groups: dict[str, list[str]] = {}
        for name, it in self.experiments.items():
            groups.setdefault(it.corpus.folder, []).append(name)
        return max(groups.values(), key=lambda group: sum(self.experiments[name].runs for name in group), default=[])

    def corpora(self) -> dict[str, Corpus]:
        """Every corpus that an experiment trains on, by name."""
        return {experiment.corpus.folder: experiment.corpus for experiment in self.experiments.values()}

    @model_validator(mode="after")
    def _fits_together(self):
        named: dict[str, Corpus] = {}
        for name, experiment in self.experiments.items():
            experiment.set_engine(self.training.engine)
            if self.figures.run > experiment.runs:
                refuse("figures.run", self.figures.run, f"1 to {experiment.runs}, the runs of {name}")
            corpus = experiment.corpus
            if named.setdefault(corpus.folder, corpus) != corpus:
                other = next(other for other, it in self.experiments.items() if it.corpus is named[corpus.folder])
                key = f"experiments.{name}.corpus.name"
                refuse(key, corpus.name, f"another name: the corpus of {other} has this name and differs")
        resolve_checkpoint_runs(self.checkpoints, self.experiments, self.results)
        resolve_lattice_runs(self.lattice, self.experiments)
        refuse_unknown_centroids(self.snowballs, self.checkpoints)
        self._refuse_comparisons()
        for name in ADJACENCY:
            if name not in self.adjacency:
                refuse(f"adjacency.{name}", None, "a graph: identical, touching and cells are required")
        if self.adjacency["identical"] != IDENTICAL:
            value = self.adjacency["identical"].model_dump()
            refuse("adjacency.identical", value, f"{IDENTICAL.model_dump()}, the definition of black holes")
        return self


def steps_at(chosen: Literal["auto"] | list[int | str], last: int) -> list[int]:
    """The configured steps of an experiment with last step `last`: ascending, without repeats, none beyond `last`."""
    if chosen == "auto":
        tens = [10**k for k in range(len(str(last)))]
        chosen = [0, *(m * ten for ten in tens for m in (1, 2, 5)), last]
    return sorted({step for step in (last if step == "last" else int(step) for step in chosen) if step <= last})


def load(config: Mapping) -> Config:
    """Validate a configuration and fill in defaults.

    Values may be strings, as Snakemake passes them from `--config`. Raises UserError with one line per problem: the
    dotted key, the value given, and what is allowed. Of many problems the first ones are named.
    """
    refuse_unbounded(config)
    try:
        return Config.model_validate(_nulls(config))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = dict.fromkeys(problem_line(problem, Config) for problem in problems[:1000])
    # an error in corpus or experiment_defaults is reported there only, not for each experiment that inherits it
    corpus = {f".{line.partition(':')[0]}" for line in lines if line.startswith("corpus")}
    defaults = {line.removeprefix("experiment_defaults") for line in lines if line.startswith("experiment_defaults")}
    experiment = re.compile(r"experiments\.[^.]*")

    def inherited(line: str) -> bool:
        if line.startswith("experiment_defaults"):
            return line.removeprefix("experiment_defaults").partition(":")[0] in corpus
        own = experiment.sub("", line, count=1)
        return own in defaults or own.partition(":")[0] in corpus

    told = [line for line in lines if not inherited(line)]
    more = [f"and {len(told) - SHOWN:,} problems more"] if len(told) > SHOWN else []
    raise UserError(*told[:SHOWN], *more)


def _nulls(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {key: _nulls(value) for key, value in config.items()}
    return None if config == "null" else config
