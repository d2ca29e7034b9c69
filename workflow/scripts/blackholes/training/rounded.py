"""The optimizer whose bfloat16 parameters or state are not simply rounded to nearest: stochastically, or compensated.

A step is torch's fused float32 kernel on copies of the stored values, so before anything is rounded it is the step that
`Optimizer` takes: for bfloat16 buffers that kernel computes in float32 too, and rounds to nearest at the end.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int32
from torch import Tensor

from blackholes.kernels import rounding
from blackholes.training import model
from blackholes.training.interface import ALIGN
from blackholes.training.optimizer import Optimizer
from blackholes.training.settings import Model, RunSettings


def optimizer(
    settings: Sequence[RunSettings], flats: Sequence[Tensor], decays: Sequence[float]
) -> "Optimizer | RoundedOptimizer":
    """The optimizer that these runs' settings, which differ in their seeds alone, ask for."""
    one = settings[0]
    if one.compensation == "none" and one.rounding.nearest:
        return Optimizer(one, flats, decays)
    return RoundedOptimizer(settings, flats, decays)


def places(shape: Model) -> list[Int32[Tensor, "2 P"]]:
    """For every element of the two flat buffers its number within its parameter, and the parameter's number.

    Parameters are numbered in the order of `model.shapes`. Elements between two parameters, which are always 0, count
    on from the one before.
    """
    parts: list[list[Tensor]] = [[], []]
    for number, (name, sizes) in enumerate(model.shapes(shape).items()):
        length = -(-torch.Size(sizes).numel() // ALIGN) * ALIGN
        own = torch.stack([torch.arange(length, dtype=torch.int32), torch.full((length,), number, dtype=torch.int32)])
        parts[0 if model.decays(name) else 1].append(own)
    return [torch.cat(kind, 1) for kind in parts]


class RoundedOptimizer:
    """AdamW or SGD as `Optimizer`, with `rounding` and `compensation` of the settings, for bfloat16 buffers.

    The bits of stochastic rounding are a function of a run's seed, the step, the parameter and the coordinate (see
    `kernels.rounding.draw`). Each element has 64 of them in a step: the lowest 16 of the first word round the weight,
    its highest 16 Adam's first moment or SGD's momentum, the lowest 16 of the second word Adam's second moment.

    With `compensation: kahan` the buffer `compensation` (bfloat16) holds what the weights could not take up. It is
    added to the next update, decay included, before that is added to the weights.

    Args:
        settings: of K runs that differ in their seeds alone, all in precision bf16.
        flats: the two buffers, (K, P), or (P,) for one run, laid out as `places` says; read from their `.grad`.
        decays: weight decay of each buffer.
    """

    def __init__(self, settings: Sequence[RunSettings], flats: Sequence[Tensor], decays: Sequence[float]):
        own, device = settings[0], flats[0].device
        self._flats, self._decays, self._own = list(flats), list(decays), own
        self._kahan = own.compensation == "kahan"
        self._copies = [torch.zeros_like(flat, dtype=torch.float32) for flat in flats]
        for copy in self._copies:
            copy.grad = torch.zeros_like(copy)
        # with compensation the kernel's parameter is what is pending, not the weight, so decay is added by hand
        self._exact = Optimizer(own, self._copies, [0.0] * len(flats) if self._kahan else decays)
        counts = {name: value for name, value in self._exact.state.items() if value.dim() == 0}
        self._rounded = {  # of each buffer the rounded copies of the kernel's state, in the order of their bits
            i: [name for name in self._exact.state if name.endswith(f".{i}") and name not in counts]
            for i in range(len(flats))
        }
        self.state: dict[str, Tensor] = counts | {
            name: torch.zeros_like(flats[i]) for i, names in self._rounded.items() for name in names
        }
        if self._kahan:
            self.state |= {f"compensation.{i}": torch.zeros_like(flat) for i, flat in enumerate(flats)}
        if not own.rounding.nearest:
            self.state["draws"] = torch.zeros((), dtype=torch.int64, device=device)  # steps whose bits were drawn
            self._places = [place.to(device) for place in places(own.model)]
            self._seeds = torch.tensor([one.seed for one in settings], device=device)

    def update(self, rate: float | Tensor) -> None:
        """Apply one step. As a float32 tensor () on the device, `rate` may change between replays of a CUDA graph."""
        state, exact = self.state, self._exact.state
        if "draws" in state:
            state["draws"] += 1
        for i, (flat, copy, decay) in enumerate(zip(self._flats, self._copies, self._decays, strict=True)):
            assert flat.grad is not None  # for mypy: gradients are there before a step
            assert copy.grad is not None
            copy.copy_(state[f"compensation.{i}"] if self._kahan else flat)
            copy.grad.copy_(flat.grad)
            if self._kahan and self._own.optimizer == "sgd":
                copy.grad.add_(flat.float(), alpha=decay)
            for name in self._rounded[i]:
                exact[name].copy_(state[name])
        self._exact.update(rate)
        for i, (flat, copy, decay) in enumerate(zip(self._flats, self._copies, self._decays, strict=True)):
            weights, *moments = self._bits(i)
            if self._kahan:
                if self._own.optimizer == "adamw" and decay:
                    share = rate.double().mul(decay).float() if isinstance(rate, Tensor) else rate * decay
                    copy.sub_(flat.float().mul_(share))
                rounding.store_compensated(flat, state[f"compensation.{i}"], copy)
            else:
                _store(copy, flat, weights)
            for name, own in zip(self._rounded[i], moments, strict=False):
                _store(exact[name], state[name], own)

    def _bits(self, i: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The bits, the lowest 16 of each number, of buffer i's weights and state in turn; None: rounded to nearest."""
        if self._own.rounding.nearest:
            return None, None, None
        first, second = rounding.draw(self._places[i], self._seeds, self.state["draws"])
        by = self._own.rounding
        weights = first if by.weights == "stochastic" else None
        return (weights, first >> 16, second) if by.state == "stochastic" else (weights, None, None)


def _store(values: Tensor, into: Tensor, bits: Tensor | None) -> None:
    """Round `values` into a bfloat16 buffer: by drawn bits, or without them to nearest."""
    if bits is None:
        into.copy_(values)
    else:
        rounding.store_stochastic(values.view(bits.shape), bits, into.view(bits.shape))
