"""The configuration: the one place where every key's default, range and meaning is written down.

`load(config)` checks what Snakemake read; `python -m blackholes.config` prints `config/README.md`.
"""

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator

from blackholes.config_checkpoints import CHECKPOINTS, Checkpoint, checkpoint_name, present, settle
from blackholes.config_words import Integer, Number, Section, Step, inherit, no_bool, problem_line, refuse, setting
from blackholes.errors import UserError
from blackholes.training.settings import run_settings
from blackholes.training.vocabulary import VOCABULARIES

RESERVED = ("benchmarks", "checkpoints", "corpus", "figures", "lattice", "logs", "report", "snowballs")


def _number(value):
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class Corpus(Section):
    """The text to train on. It is read once, cleaned, and written as tokens with a table of what is dead."""

    name: str | None = setting(
        None,
        "folder of the tokens under `results/corpus/`; null: `builtin`, or the file's name without its ending",
        "lower-case letters, digits, _ and -",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
    )
    source: Literal["builtin", "file", "url"] = setting(
        "builtin",
        "`builtin`: the language reference that every Python ships (`pydoc_data.topics`; the text depends on "
        "the Python version, which is recorded); `file`: needs `path`; `url`: needs `url`",
    )
    path: str | None = setting(
        None, "text file, from the folder Snakemake runs in", "a path, with source: file", min_length=1
    )
    url: str | None = setting(
        None, "address of a text file", "http:// or https://, with source: url", pattern=r"^https?://[^\s/?#\[\]]+\S*$"
    )
    sha256: str | None = setting(
        None,
        "checksum that the file's bytes must have; null: not checked",
        "64 hexadecimal digits, with source: file or url",
        pattern=r"^[0-9a-fA-F]{64}$",
    )
    encoding: str = setting(
        "utf-8", "how the file's bytes become characters", "an encoding Python knows, such as utf-8 or cp1252"
    )
    vocabulary: Literal["ascii"] = setting(
        "ascii", "the tokens: `ascii` is the 128 ASCII characters; any other character is dropped and counted"
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding):
        try:
            b"a".decode(encoding)
        except UnicodeError:  # a text encoding, if not of this byte
            pass
        except (LookupError, ValueError):  # ValueError: a null character in the name
            raise ValueError from None
        return encoding

    @model_validator(mode="after")
    def _source_fits(self):
        for key, sources in {"path": ["file"], "url": ["url"], "sha256": ["file", "url"]}.items():
            value = getattr(self, key)
            if value is not None and self.source not in sources:
                refuse(key, value, f"null where source is {self.source} (or source: {' or '.join(sources)})")
            if value is None and key == self.source.replace("file", "path"):
                refuse(key, value, f"a value, since source is {self.source}")
        if self.source == "builtin" and self.encoding != "utf-8":
            refuse("encoding", self.encoding, "utf-8 where source is builtin (or source: file or url)")
        place = self.path or (self.url and urlsplit(self.url).path) or "builtin"
        stem = re.sub(r"[^a-z0-9_-]+", "-", PurePath(place).stem.lower()).strip("-_")
        self.name = self.name or stem or self.source
        return self


class Model(Section):
    """GPT-2 without dropout, input and output embeddings tied, initialised as `transformers` does."""

    vocabulary_size: Integer = setting(
        128, "V, rows of the embedding", "the size of corpus.vocabulary (ascii: 128)", ge=2, le=65536
    )
    context: Integer = setting(128, "tokens in a training window", ge=2, le=65536)
    width: Integer = setting(
        64, "D, dimensions of an embedding", "integer from 1 up to 65536, a multiple of heads", ge=1, le=65536
    )
    layers: Integer = setting(2, "transformer blocks", ge=1, le=256)
    heads: Integer = setting(
        2, "attention heads of a block", "integer from 1 up to 1024, a divisor of width", ge=1, le=1024
    )

    @model_validator(mode="after")
    def _heads_fit(self):
        if self.width % self.heads:
            refuse("width", self.width, f"a multiple of heads ({self.heads})")
        return self


class Init(Section):
    """The embedding before training. A word alone is short for a mode: `init: normal` is `init: {mode: normal}`.

    In `qwen` and `noise` all tokens start at or around one point, drawn from N(0, I) for each run.
    """

    WORD: ClassVar = "mode"
    UNUSED: ClassVar = {
        ("mode", "normal"): ["unit_norm", "sigma", "drawn_in"],
        ("mode", "qwen"): ["sigma", "drawn_in"],
    }

    mode: Literal["normal", "qwen", "noise"] = setting(
        "qwen",
        "`qwen`: every token at the point; `noise`: the point plus N(0, sigma²) in each token and dimension, "
        "rounded to bfloat16; `normal`: every token apart, N(0, 0.02²), as transformers does",
    )
    unit_norm: bool = setting(False, "whether the point is divided by its norm", "true or false; true not with normal")
    sigma: Number | None = setting(
        None, "σ of the noise", "number above 0 up to 1000, with mode: noise; else null", gt=0, le=1000
    )
    drawn_in: Literal["float32", "bfloat16"] | None = setting(
        None,
        "`float32` (what null means in mode noise): point and noise are added in float32 and their sum is rounded; "
        "`bfloat16`, the control: both are rounded before they are added in bfloat16",
        "float32 or bfloat16, with mode: noise; else null",
    )

    @model_validator(mode="after")
    def _noise_has_a_scale(self):
        if self.mode == "noise":
            if self.sigma is None:
                refuse("sigma", None, "number above 0, since mode is noise")
            self.drawn_in = self.drawn_in or "float32"
        return self


def _betas(betas):
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError
    return betas


class Experiment(Section):
    """What one experiment trains. A change of any key but `runs` trains every run of it again."""

    UNUSED: ClassVar = {
        ("optimizer", "adamw"): ["momentum"],
        ("optimizer", "sgd"): ["betas", "epsilon"],
        ("schedule", "constant"): ["schedule_steps"],
    }

    runs: Integer = setting(16, "how many models; run k has seed base_seed + k", ge=1, le=999)
    steps: Integer = setting(10_000, "optimizer steps; the history has one snapshot more", ge=1, le=10_000_000)
    base_seed: Integer = setting(42, "run k has seed base_seed + k", ge=0, le=2**31 - 1)
    batch_size: Integer = setting(16, "windows in a step; the corpus must hold as many", ge=1, le=65536)
    target_offset: Annotated[Literal[1, 2], BeforeValidator(no_bool), BeforeValidator(_number)] = setting(
        1, "1: predict the next token; 2: the token after it, as the notebooks did by shifting twice"
    )
    precision: Literal["bf16", "mixed", "fp32"] = setting(
        "bf16",
        "what parameters, gradients and the optimizer's state are stored in. `bf16`: all in bfloat16, the regime "
        "studied; `mixed`: in float32, and a bfloat16 copy of the parameters goes forward and backward; `fp32`: in "
        "float32. Snapshots in the history are rounded to bfloat16 in all three",
    )
    init: Init = setting(Init(), "the embedding before training")
    optimizer: Literal["adamw", "sgd"] = setting(
        "adamw", "`adamw`, or `sgd`: gradient descent, with or without momentum"
    )
    learning_rate: Number = setting(1e-3, "the learning rate at the first step", gt=0, le=10)
    weight_decay: Number = setting(
        0.01, "decay of every weight but biases and LayerNorm; in sgd it is added to the gradient", ge=0, le=10
    )
    momentum: Number = setting(
        0.0, "sgd's momentum", "number from 0 to below 1, with optimizer: sgd; else 0", ge=0, lt=1
    )
    betas: Annotated[tuple[Number, Number], AfterValidator(_betas)] = setting(
        (0.9, 0.999), "AdamW's decay of its two moments", "two numbers, each from 0 to below 1, with optimizer: adamw"
    )
    epsilon: Number = setting(1e-8, "AdamW's epsilon", "number above 0 up to 1, with optimizer: adamw", gt=0, le=1)
    clip: Number = setting(1.0, "largest norm of the gradient; what is longer is scaled down to it", gt=0)
    schedule: Literal["linear", "constant", "cosine"] = setting(
        "linear",
        "how the learning rate goes on, without warm-up: `linear` and `cosine` (half a wave) fall to 0 at the end of "
        "schedule_steps, `constant` stays",
    )
    schedule_steps: Integer | None = setting(
        None,
        "step at which the learning rate would reach 0; null: steps; more: training stops on the way there",
        "null, or an integer from steps up to 1000000000, with schedule: linear or cosine",
        ge=1,
        le=1_000_000_000,
    )
    model: Model = setting(Model(), "the model trained")

    def seed(self, run: int) -> int:
        """Seed of run `run`, which counts from 1."""
        return self.base_seed + run

    def run_names(self) -> list[str]:
        """`run_001`, `run_002`, …: the folders of the runs."""
        return [f"run_{run:03d}" for run in range(1, self.runs + 1)]

    def shared_settings(self) -> dict:
        """All that enters the bytes of its runs: not their number, so one more run reruns none."""
        return self.model_dump(exclude={"runs"}, mode="json")

    def run_settings(self, run: int) -> dict:
        """All that enters the bytes of run `run`."""
        return run_settings(self.shared_settings(), run)

    @model_validator(mode="after")
    def _schedule_fits(self):
        if self.schedule_steps is not None and self.schedule_steps < self.steps:
            refuse("schedule_steps", self.schedule_steps, f"null, or an integer from steps ({self.steps}) up")
        return self


class Training(Section):
    """How to train: where, and with what. Never what is trained."""

    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "`auto`: a GPU if there is one; results are the same to the bit on one kind of device only"
    )
    threads: Integer = setting(
        1,
        "CPU threads of a run. They enter the bytes, since sums are split by thread; runs go side by side anyway",
        ge=1,
        le=1024,
    )
    runs_per_job: Literal["auto"] | Annotated[Integer, Field(ge=1, le=999)] = setting(
        "auto",
        "runs of an experiment that train side by side in one job; `auto`: 1 on a CPU, all of them on a GPU",
        "`auto`, or an integer from 1 up to 999",
    )
    checkpoint_seconds: Number = setting(
        30.0, "time between two checkpoints, from which training goes on after any death", gt=0, le=86400
    )
    progress_seconds: Number = setting(5.0, "time between two lines of progress", gt=0, le=3600)


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
        {"qwen": Experiment(), "normal": Experiment(init="normal", runs=4)},
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
    figures: Figures = setting(Figures(), "what is shown")

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, config):
        """Lay each experiment over the defaults; `false` leaves one out."""
        if not isinstance(config, Mapping):
            return config
        config, defaults = dict(config), config.get("experiment_defaults", {})
        if "checkpoints" in config:
            config["checkpoints"] = present(config["checkpoints"])
        experiments = config.get("experiments", {"qwen": {}, "normal": {"init": "normal", "runs": 4}})
        if isinstance(defaults, Mapping) and isinstance(experiments, Mapping):
            config["experiments"] = {
                name: inherit(Experiment, defaults, own)
                for name, own in experiments.items()
                if own not in (False, "false")
            }
        return config

    @model_validator(mode="after")
    def _fits_together(self):
        size = VOCABULARIES[self.corpus.vocabulary]
        for name, experiment in self.experiments.items():
            if experiment.model.vocabulary_size != size:
                key = f"experiments.{name}.model.vocabulary_size"
                refuse(key, experiment.model.vocabulary_size, f"{size}, the size of corpus.vocabulary")
            if self.figures.run > experiment.runs:
                refuse("figures.run", self.figures.run, f"1 to {experiment.runs}, the runs of {name}")
        settle(self.checkpoints, self.experiments)
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
    shared = {line.partition("experiment_defaults")[2] for line in lines if line.startswith("experiment_defaults")}
    inherited = re.compile(r"experiments\.[^.]*")  # said once, where the key stands
    raise UserError("\n".join(line for line in lines if inherited.sub("", line, count=1) not in shared))


def _nulls(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {key: _nulls(value) for key, value in config.items()}
    return None if config == "null" else config


if __name__ == "__main__":
    from blackholes.config_reference import markdown

    print(markdown(), end="")
