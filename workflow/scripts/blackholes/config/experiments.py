"""The configuration of experiments: what is trained."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, PrivateAttr, model_validator

from blackholes.config.corpus import Corpus
from blackholes.config.fields import Integer, Number, Section, no_bool, refuse, setting
from blackholes.config.record import Record
from blackholes.limits import LARGE
from blackholes.training.settings import RunSettings, run_settings


class Model(Section):
    """GPT-2 without dropout, initialised as `transformers` does."""

    vocabulary_size: Integer | None = setting(
        None, "V, rows of the embedding; null: the size of the corpus' vocabulary", "null, or that size", ge=2, le=65536
    )
    context: Integer = setting(128, "tokens in a training window", ge=2, le=65536)
    width: Integer = setting(
        64, "D, dimensions of an embedding", "integer from 1 up to 65536, a multiple of heads", ge=1, le=65536
    )
    layers: Integer = setting(2, "transformer blocks", ge=1, le=256)
    heads: Integer = setting(
        2, "attention heads of a block", "integer from 1 up to 1024, a divisor of width", ge=1, le=1024
    )
    tied: bool = setting(
        True,
        "true: the embedding is the output matrix too, as in GPT-2; false: the model has an output matrix of its own, "
        "which starts as a copy of the embedding. The history is the embedding's in both",
    )

    @model_validator(mode="after")
    def _heads_fit(self):
        if self.width % self.heads:
            refuse("width", self.width, f"a multiple of heads ({self.heads})")
        return self


class Init(Section):
    """The embedding before training. A single word sets the mode: `init: normal` means `init: {mode: normal}`.

    In `qwen` and `noise` all tokens start at or near one point, drawn from N(0, I) for each run.
    """

    WORD: ClassVar = "mode"
    UNUSED: ClassVar = {
        ("mode", "normal"): ["unit_norm", "norm", "sigma", "drawn_in"],
        ("mode", "qwen"): ["sigma", "drawn_in"],
    }

    mode: Literal["normal", "qwen", "noise"] = setting(
        "qwen",
        "`qwen`: every token at the point; `noise`: the point plus N(0, sigma²) for each token and dimension, "
        "rounded to bfloat16; `normal`: each token its own N(0, 0.02²), as in transformers",
    )
    unit_norm: bool = setting(False, "whether the point is divided by its norm", "true or false; true not with normal")
    norm: Number | None = setting(
        None,
        "norm that the point is scaled to; null: as it is drawn, √width on average",
        "null, or a number above 0 up to 1000, with unit_norm: false and not with normal",
        gt=0,
        le=1000,
    )
    sigma: Number | None = setting(
        None, "σ of the noise", "number above 0 up to 1000, with mode: noise; else null", gt=0, le=1000
    )
    drawn_in: Literal["float32", "bfloat16"] | None = setting(
        None,
        "`float32` (the default for mode noise): point and noise are added in float32 and the sum is rounded; "
        "`bfloat16`, the control: both are rounded, then added in bfloat16",
        "float32 or bfloat16, with mode: noise; else null",
    )

    @model_validator(mode="after")
    def _one_norm(self):
        if self.unit_norm and self.norm is not None:
            refuse("norm", self.norm, "null where unit_norm is true")
        return self

    @model_validator(mode="after")
    def _noise_has_a_scale(self):
        if self.mode == "noise":
            if self.sigma is None:
                refuse("sigma", None, "number above 0, since mode is noise")
            self.drawn_in = self.drawn_in or "float32"
        return self


class Rounding(Section):
    """How results of float32 arithmetic are stored in bfloat16, with `precision: bf16`. A single word sets both keys:
    `rounding: stochastic`.

    `nearest`: to the nearest value. `stochastic`: to one of the two values around it, the nearer one more often, so
    that the mean is exact; the bits that decide are a function of the run's seed, the step, the parameter and the
    coordinate.
    """

    weights: Literal["nearest", "stochastic"] = setting("nearest", "how the parameters are stored after a step")
    state: Literal["nearest", "stochastic"] = setting(
        "nearest", "how AdamW's two moments or SGD's momentum are stored after a step"
    )

    @classmethod
    def expand_shorthand(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return {"weights": value} | ({"state": value} if value in ("nearest", "stochastic") else {})


def _number(value):
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _betas(betas):
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError
    return betas


class Experiment(Section):
    """What one experiment trains. Changing any key except `runs` and `record` retrains all of its runs."""

    UNUSED: ClassVar = {
        ("optimizer", "adamw"): ["momentum"],
        ("optimizer", "sgd"): ["betas", "epsilon"],
        ("schedule", "constant"): ["schedule_steps"],
    }
    LEFT_BEHIND: ClassVar = {
        ("precision", "mixed"): ["rounding", "compensation"],
        ("precision", "fp32"): ["rounding", "compensation"],
    }

    corpus: Corpus = setting(
        Corpus(), "keys that differ from the top-level `corpus`; none: the same corpus", "keys of `corpus`"
    )
    runs: Integer = setting(16, "how many models; run k has seed base_seed + k", ge=1, le=999)
    steps: Integer = setting(10_000, "optimizer steps; the history has one snapshot more", ge=1, le=10_000_000)
    base_seed: Integer = setting(42, "run k has seed base_seed + k", ge=0, le=2**31 - 1)
    batch_size: Integer = setting(16, "windows in a step; the corpus must hold as many", ge=1, le=65536)
    batch_split: Integer = setting(
        1,
        "pieces that the batch is split into; a thread each; enters the bytes, since it changes the order of sums. "
        "The torch engine does not split",
        ge=1,
        le=1024,
    )
    target_offset: Annotated[Literal[1, 2], BeforeValidator(no_bool), BeforeValidator(_number)] = setting(
        1, "1: predict the next token; 2: the token after it, as the notebooks did by shifting twice"
    )
    loss_divisor: Literal["targets", "tokens"] = setting(
        "targets",
        "what the summed loss of a step is divided by. `targets`: the targets there are; `tokens`: batch_size × "
        "context, as the Trainer of the notebooks did. They differ with target_offset 2, where the last token of a "
        "window has no target, and are the same number with 1",
    )
    precision: Literal["bf16", "mixed", "fp32"] = setting(
        "bf16",
        "number format of parameters, gradients and the optimizer's state. `bf16`: all in bfloat16, the regime "
        "studied; `mixed`: in float32, with a bfloat16 copy of the parameters for the forward and backward pass; "
        "`fp32`: in float32. The history is rounded to bfloat16 in all three",
    )
    rounding: Rounding = setting(Rounding(), "how parameters and optimizer state are rounded to bfloat16")
    compensation: Literal["none", "kahan"] = setting(
        "none",
        "`kahan`: what rounding takes from an update of the parameters is kept, in bfloat16, and added to the next",
        "none or kahan; kahan with precision: bf16 and rounding.weights: nearest only",
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
    clip: Number = setting(1.0, "maximum norm of the gradient; a longer one is scaled down to it", gt=0)
    schedule: Literal["linear", "constant", "cosine"] = setting(
        "linear",
        "the learning rate over time, without warm-up: `linear` and `cosine` (half a period) fall to 0 at "
        "schedule_steps, `constant` does not change",
    )
    schedule_steps: Integer | None = setting(
        None,
        "step at which the learning rate would reach 0; null: steps; if larger than steps, training stops before that",
        "null, or an integer from steps up to 1000000000, with schedule: linear or cosine",
        ge=1,
        le=1_000_000_000,
    )
    model: Model = setting(Model(), "the model trained")
    record: Record = setting(Record(), "what is recorded beside histories")

    _engine: str = PrivateAttr("auto")  # `training.engine`, which the whole configuration sets

    def seed(self, run: int) -> int:
        """Seed of run `run`, counted from 1."""
        return self.base_seed + run

    def run_names(self) -> list[str]:
        """`run_001`, `run_002`, …: the folders of the runs."""
        return [f"run_{run:03d}" for run in range(1, self.runs + 1)]

    def shared_settings(self) -> dict:
        """The settings that determine the results of its runs. Not the number of runs, so adding a run reruns none."""
        return self.model_dump(exclude={"runs", "corpus", "record"}, mode="json") | {"engine": self._engine}

    def recorded(self) -> dict[str, str]:
        """The runs whose forces are recorded, such as `003` → `summary` or `full`."""
        runs = self.record.runs if self.record.forces != "none" else []
        return {f"{run:03d}": self.record.forces for run in sorted(runs)}

    def set_engine(self, engine: str) -> None:
        """Set what `training.engine` says: it is no key of an experiment, but enters the bytes of its runs."""
        self._engine = engine

    def run_settings(self, run: int) -> RunSettings:
        """All that enters the bytes of run `run`."""
        return run_settings(self.shared_settings(), run)

    @property
    def is_large(self) -> bool:
        """Whether the vocabulary is too large for matrices of all pairs at every step."""
        return self.corpus.size > LARGE

    @model_validator(mode="after")
    def _vocabulary_fits(self):
        size = self.corpus.size
        if self.model.vocabulary_size not in (None, size):
            refuse("model.vocabulary_size", self.model.vocabulary_size, f"null, or {size}, the size of the vocabulary")
        self.model = self.model.model_copy(update={"vocabulary_size": size})
        return self

    @model_validator(mode="after")
    def _recorded_runs_exist(self):
        if self.record.forces != "none" and max(self.record.runs) > self.runs:
            refuse("record.runs", self.record.runs, f"list of runs from 1 up to {self.runs}, the runs there are")
        return self

    @model_validator(mode="after")
    def _rounding_fits(self):
        why = f"where precision is {self.precision}: its parameters and state are float32; with bf16 it may be another"
        if self.precision != "bf16":
            for key, value in self.rounding.model_dump().items():
                if value != "nearest":
                    refuse(f"rounding.{key}", value, f"nearest {why}")
            if self.compensation != "none":
                refuse("compensation", self.compensation, f"none {why}")
        elif self.compensation == "kahan" and self.rounding.weights == "stochastic":
            refuse("rounding.weights", "stochastic", "nearest where compensation is kahan, which keeps what it leaves")
        return self

    @model_validator(mode="after")
    def _schedule_fits(self):
        if self.schedule_steps is not None and self.schedule_steps < self.steps:
            refuse("schedule_steps", self.schedule_steps, f"null, or an integer from steps ({self.steps}) up")
        return self


EXPERIMENTS = {  # the default experiments: name → keys that differ from experiment_defaults
    "qwen": {},
    "normal": {"init": "normal", "runs": 4},
}
