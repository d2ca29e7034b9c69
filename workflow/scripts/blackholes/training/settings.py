"""The settings of a training run: all that enters its bytes. The rules import this module, so it imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """The shape of a GPT-2."""

    vocabulary_size: int  # V
    context: int  # T, tokens in a training window
    width: int  # C; D in a history
    layers: int
    heads: int  # H, a divisor of width
    tied: bool = True  # whether the embedding is the output matrix too


@dataclass(frozen=True)
class Init:
    """The embedding before training, see `model.initialise`."""

    mode: str  # normal, qwen or noise
    unit_norm: bool
    sigma: float | None
    drawn_in: str | None  # float32 or bfloat16, in mode noise
    norm: float | None = None  # that the point is scaled to


@dataclass(frozen=True)
class Rounding:
    """How float32 results are stored in bfloat16: to the nearest value, or stochastically."""

    weights: str = "nearest"  # nearest or stochastic
    state: str = "nearest"  # of the optimizer's state

    @property
    def nearest(self) -> bool:
        """Whether nothing is rounded stochastically."""
        return self.weights == self.state == "nearest"


@dataclass(frozen=True)
class RunSettings:
    """One run. `config.experiments.Experiment` says what the keys mean, but for `seed` and `engine`."""

    seed: int  # of the initial parameters and of the order of the windows
    steps: int
    batch_size: int
    batch_split: int  # pieces that the compiled engine splits the batch into, a thread each
    target_offset: int
    loss_divisor: str  # targets or tokens
    precision: str
    init: Init
    optimizer: str
    learning_rate: float
    weight_decay: float
    momentum: float
    betas: tuple[float, float]
    epsilon: float
    clip: float
    schedule: str
    schedule_steps: int | None
    model: Model
    engine: str  # auto, compiled or torch: the configuration's `training.engine`
    forces: str = "none"  # none, summary or full: what is recorded; the run's other files do not depend on it
    rounding: Rounding = Rounding()
    compensation: str = "none"  # none or kahan

    @property
    def divisor(self) -> int | None:
        """What a step's summed loss is divided by: the number of its tokens, or None for that of its targets.

        With `target_offset: 1` every token has a target, and both are the same number.
        """
        return self.batch_size * self.model.context if self.loss_divisor == "tokens" else None


def run_settings(shared: Mapping, run: int) -> RunSettings:
    """Settings of run `run`, counted from 1, from what an experiment's runs share (`Experiment.shared_settings`).

    Raises TypeError where a key is missing or unknown.
    """
    own = {key: value for key, value in shared.items() if key != "base_seed"}
    own |= {"model": Model(**own["model"]), "init": Init(**own["init"]), "betas": tuple(own["betas"])}
    own["rounding"] = Rounding(**own["rounding"])
    return RunSettings(seed=shared["base_seed"] + run, **own)
