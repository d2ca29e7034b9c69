"""Recording the forces on every token, at every step of a run (row F).

A recorder computes what the optimizer intends from its state before a step, and looks at the weights after it. It
changes nothing, so a history has the same bytes with and without it.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from blackholes.kernels import forces
from blackholes.training import model
from blackholes.training.interface import ALIGN, DTYPES
from blackholes.training.optimizer import Optimizer
from blackholes.training.rounded import RoundedOptimizer
from blackholes.training.settings import RunSettings

KINDS = ("none", "summary", "full")
START = "start"  # the weights before the first step


def rule(settings: RunSettings, device: torch.device | str = "cpu") -> forces.Rule:
    """The optimizer of the embedding, and where its kernel rounds on a device."""
    on_cpu = torch.device(device).type == "cpu"
    compensated, by = settings.compensation == "kahan", settings.rounding
    split = settings.optimizer == "sgd" and settings.precision == "bf16" and on_cpu and not compensated and by.nearest
    seed = settings.seed if by.weights == "stochastic" else None
    decay = settings.weight_decay if model.decays(model.EMBEDDING) else 0.0
    options = settings.betas, settings.epsilon, settings.momentum
    return forces.Rule(settings.optimizer, decay, *options, split, not on_cpu, compensated, seed)


def layout(settings: RunSettings, kind: str) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """The tensors of forces.safetensors; a row of each is a step, but for `start`."""
    steps, V, D = settings.steps, settings.model.vocabulary_size, settings.model.width
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys((*forces.ROWS, "probability"), (steps, V))
    shapes |= {"hidden_mean": (steps, D), "hidden_spread": (steps,)}
    if kind == "full":
        shapes |= {"intended_full": (steps, V, D), "term_full": (steps, V, D)}
        if DTYPES[settings.precision] == torch.float32:  # the history has these weights rounded only
            shapes[START] = (V, D)
    return {name: (torch.float32, shape) for name, shape in shapes.items()}


def step_bytes(settings: RunSettings, kind: str) -> int:
    """Bytes of a step in forces.safetensors."""
    if kind == "none":
        return 0
    shapes = {name: shape[1:] for name, (_, shape) in layout(settings, kind).items() if name != START}
    return sum(4 * math.prod(shape) for shape in shapes.values())


class Recorder:
    """Forces on the embedding of runs that train together.

    Args:
        settings: of the runs.
        kind: summary or full.
        flat: the buffer of parameters (P,) or (K, P) that has the embedding, with its gradient.
        embedding: the embedding in it.
        optimizer: of the buffers; `flat` is its first.
        runs: which of the K are recorded.
    """

    def __init__(
        self,
        settings: RunSettings,
        kind: str,
        flat: Tensor,
        embedding: Tensor,
        optimizer: Optimizer | RoundedOptimizer,
        runs: Sequence[int] = (0,),
    ):
        self._settings, self._flat, self._state = settings, flat, optimizer.state
        self._rule, self._full = rule(settings, flat.device), kind == "full"
        self._runs = torch.tensor(runs, device=flat.device)
        V, D = settings.model.vocabulary_size, settings.model.width
        start = embedding.storage_offset() - flat.storage_offset()
        # whole vectors, as the optimizer's kernel takes them: a last part of one may be computed otherwise
        self._span, self._size, self._shape = slice(start, start + -(-V * D // ALIGN) * ALIGN), V * D, (V, D)

    def _rows(self, buffer: Tensor) -> Tensor:
        """The embedding's part of a buffer, for the recorded runs: a float32 copy (R, P)."""
        return buffer.detach().view(-1, self._flat.shape[-1])[:, self._span].index_select(0, self._runs).float()

    def _matrices(self, rows: Tensor) -> Tensor:
        return rows[:, : self._size].reshape(-1, *self._shape)

    def before(self, rate: float | Tensor) -> tuple[Tensor, ...]:
        """What is needed of the state before a step, for `after`; the gradients are there and clipped."""
        gradient = self._flat.grad
        assert gradient is not None  # for mypy: a gradient is there before a step
        weights, pull, state = self._rows(self._flat), self._rows(gradient), self._state
        if self._rule.optimizer == "adamw":
            moments = self._rows(state["first.0"]), self._rows(state["second.0"])
            intended = forces.adamw(self._rule, weights, pull, *moments, state["count.0"] + 1, rate)
        else:
            velocity = self._rows(state["momentum.0"]) if "momentum.0" in state else None
            intended = forces.sgd(self._rule, weights, pull, velocity, rate)
        if self._rule.compensated:
            kept = self._rows(state["compensation.0"])
            intended = intended._replace(update=forces.pending(self._rule, weights, kept, intended.term, rate))
        return tuple(self._matrices(rows) for rows in (weights, pull, *intended))

    def after(self, rate: float | Tensor, before: tuple[Tensor, ...], seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A row (R, …) of every tensor of `layout`.

        Args:
            seen: the model's output (see `kernels.forces.output_state`), for the recorded runs.
        """
        weights, gradient, *intended = before
        now = self._matrices(self._rows(self._flat))
        parts = forces.Intended(*intended)
        row = forces.row_forces(weights, now, gradient, parts, rate * self._rule.weight_decay) | dict(seen)
        return row | ({"intended_full": parts.update, "term_full": parts.term} if self._full else {})
