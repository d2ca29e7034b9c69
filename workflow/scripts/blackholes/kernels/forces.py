"""Forces on tokens (row F): what an optimizer adds to every coordinate at a step, and what rounding leaves of it.

A weight w becomes round(w + u): u, the intended update, has a part of the optimizer's own (from the gradient) and one
of the weight decay's. The expression is evaluated in float32, in the order in which the optimizer's kernel computes it,
and rounded once, to the weights' format. `predicted` is that expression; what it needs beside w is its `term`:

- AdamW: the part of its own. w is multiplied by 1 − rate · decay, then the term is added.
- SGD: its direction, (gradient + decay · w) + momentum · velocity. Times the rate it is subtracted from w.

With compensated sums the intended update is what is pending: what earlier roundings left, and this step's update. With
stochastic rounding, drawn bits decide which of the two values around the result is stored.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float32, Int
from torch import Tensor

from blackholes.kernels import backends, rounding
from blackholes.kernels.compiled import forces as loops

# Of each token, over its dimensions: norms; the largest, in cells (ULP of bfloat16 at the weight); a share
NORMS = ("gradient", "adam", "decay", "intended", "realised", "residual")
ROWS = (*NORMS, "intended_cells", "adam_cells", "decay_cells", "stalled")


class Rule(NamedTuple):
    """An optimizer, as the configuration names it, and where its kernel rounds."""

    optimizer: str  # adamw or sgd
    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    momentum: float = 0.0
    split: bool = False  # sgd: rate · direction is rounded before it is subtracted, as for bfloat16 on a CPU
    double: bool = False  # adamw: w − rate · decay · w is computed in float64 and rounded, as on a GPU
    compensated: bool = False  # what rounding leaves of a sum is kept, and added to the next update
    drawn: int | None = None  # the seed of the bits by which weights are rounded; None: they are rounded to nearest


class Intended(NamedTuple):
    """What an optimizer intends for every coordinate, float32 (…)."""

    term: Tensor  # see the module
    own: Tensor  # the update's part without weight decay
    update: Tensor  # the whole update


def adamw(
    rule: Rule, weights: Tensor, gradient: Tensor, first: Tensor, second: Tensor, count: Tensor, rate: float | Tensor
) -> Intended:
    """What AdamW intends, from float32 tensors of one shape (…) as they are before the step; none is changed.

    torch's own fused kernel computes the term, on weights of 0 and without decay.

    Args:
        count: of the steps, with this one, float32 ().
    """
    term = torch.zeros_like(weights)
    torch._fused_adamw_(
        [term], [gradient.clone()], [first.clone()], [second.clone()], [], [count], lr=rate, beta1=rule.betas[0],
        beta2=rule.betas[1], weight_decay=0.0, eps=rule.epsilon, amsgrad=False, maximize=False,
    )  # fmt: skip
    return Intended(term, term, torch.add(term, weights * (-rate * rule.weight_decay)))


def sgd(rule: Rule, weights: Tensor, gradient: Tensor, velocity: Tensor | None, rate: float | Tensor) -> Intended:
    """What SGD intends, as `adamw`; `velocity`: the momentum's buffer before the step, None without momentum.

    As torch's fused kernel computes it: it leaves the direction in the buffer of the momentum, where without momentum
    one of zeros is put.
    """
    if rule.split:
        direction = gradient.add(weights, alpha=rule.weight_decay)
        if velocity is not None:
            direction.add_(velocity, alpha=rule.momentum)
    else:
        direction = torch.zeros_like(weights) if velocity is None else velocity.clone()
        decay, pull = rule.weight_decay, gradient
        if rule.compensated:  # the kernel is given what is pending, and not the weights
            decay, pull = 0.0, gradient.add(weights, alpha=decay)
        torch._fused_sgd_(
            [weights.clone()], [pull.clone()], [direction], weight_decay=decay, lr=rate,
            momentum=rule.momentum or 0.5, dampening=0.0, nesterov=False, maximize=False, is_first_step=False,
        )  # fmt: skip
    own = gradient if velocity is None else gradient.add(velocity, alpha=rule.momentum)
    return Intended(direction, own * -rate, direction * -rate)


def predicted(
    rule: Rule, weights: Float32[Tensor, "*shape"], term: Float32[Tensor, "*shape"], rate: float
) -> Float32[Tensor, "*shape"]:
    """The next weights as the optimizer's kernel has them before it rounds them to their format.

    Args:
        rate: the learning rate that the kernel was given; one that is a float32 tensor there has its value.

    The fused kernel of SGD rounds w − rate · direction once. Here the product, exact in float64, is subtracted there
    and the result rounded to float32: another value only where the first rounding makes a tie, once in 10⁸.
    """
    if rule.optimizer == "adamw":
        if rule.double:
            return (weights.double() - rate * rule.weight_decay * weights.double()).float() + term
        return weights * (1 - rate * rule.weight_decay) + term
    if rule.split:
        return weights - term * rate
    rounded = torch.tensor(rate, dtype=torch.float32).double()
    return (weights.double() - term.double() * rounded).float()


def pending(rule: Rule, weights: Tensor, kept: Tensor, term: Tensor, rate: float | Tensor) -> Float32[Tensor, "*shape"]:
    """What compensated sums add to the weights at a step, as the optimizer computes it; all tensors float32 (…).

    Args:
        kept: what earlier roundings left.
        rate: as for `predicted`, or a float32 tensor.
    """
    rate = rate.double() if isinstance(rate, Tensor) else torch.tensor(rate, dtype=torch.float64)
    if rule.optimizer == "adamw":
        return kept + term - weights * (rate * rule.weight_decay).float()
    return (kept.double() - term.double() * rate.float().double()).float()


def stored(rule: Rule, values: Float32[Tensor, "V D"], step: int) -> Tensor:
    """The embedding as bfloat16 after a step, counted from 1: rounded to nearest, or by the bits of its places."""
    if rule.drawn is None:
        return values.to(torch.bfloat16)
    numbers = torch.arange(values.numel(), dtype=torch.int32)
    places = torch.stack([numbers, torch.zeros_like(numbers)])  # the embedding is the first parameter
    bits = rounding.draw(places, torch.tensor([rule.drawn]), torch.tensor(step))[0]
    out = torch.empty(1, values.numel(), dtype=torch.bfloat16)
    rounding.store_stochastic(values.reshape(1, -1), bits, out)
    return out.view(values.shape)


def row_forces(
    before: Float32[Tensor, "*n D"],
    after: Float32[Tensor, "*n D"],
    gradient: Float32[Tensor, "*n D"],
    intended: Intended,
    decay: float | Tensor,
) -> dict[str, Float32[Tensor, "*n"]]:
    """`ROWS` of each row, from the weights before and after a step.

    Args:
        decay: rate · weight decay.

    A coordinate is stalled if its intended update is not 0 and its weight does not change. Cells are |part| / ULP of
    bfloat16 at the weight (`bf16.ulp`), whatever the weights' own format. The order of sums is the backend's.
    """
    if backends.compiled(before):
        D = before.shape[-1]
        flat = [it.reshape(-1, D).numpy() for it in (before, after, gradient, intended.own, intended.update)]
        out = torch.empty(len(ROWS), len(flat[0]))
        loops.row_forces(*flat, loops.F(-float(decay)), out.numpy())
        return {name: values.view(before.shape[:-1]) for name, values in zip(ROWS, out, strict=True)}
    shrink, realised, update = before * -decay, after - before, intended.update
    norms = (gradient, intended.own, shrink, update, realised, realised - update)
    ulp = _ulp(before)
    cells = [(part.abs() / ulp).amax(-1) for part in (update, intended.own, shrink)]
    stalled = ((update != 0) & (after == before)).float().mean(-1)
    values = [torch.linalg.vector_norm(part, dim=-1) for part in norms] + cells + [stalled]
    return dict(zip(ROWS, values, strict=True))


def _ulp(weights: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """ULP of bfloat16 (`bf16.ulp`) at float32 values, in operations that wait for no host."""
    exponent = (weights.view(torch.int32) >> 23 & 0xFF).clamp(min=1)
    subnormal = torch.ones_like(exponent) << (exponent.clamp(max=7) + 15)
    bits = torch.where(exponent < 8, subnormal, (exponent - 7) << 23)
    return torch.where(weights == 0, 1 << 23, bits).to(torch.int32).view(torch.float32)


def output_state(
    logits: Float32[Tensor, "K N V"], hidden: Tensor, targets: Int[Tensor, "K N"]
) -> dict[str, Float32[Tensor, "K ..."]]:
    """The model's output at a step, over the positions that have a target (≥ 0).

    Args:
        hidden: the final hidden states (K, N, C), which the output layer multiplies.

    Returns `probability` (K, V), the mean softmax probability of each token; `hidden_mean` (K, C); `hidden_spread`
    (K,), the root of the mean squared distance of the hidden states from their mean.
    """
    has = (targets >= 0).unsqueeze(-1)
    count = has.sum(1)  # (K, 1)
    states = hidden.float()
    mean = torch.where(has, states, 0.0).sum(1) / count
    away = torch.where(has, states - mean.unsqueeze(1), 0.0)
    share = (has / count.unsqueeze(1)).mT  # (K, 1, N); a product passes over the probabilities once, a sum more often
    return {
        "probability": torch.bmm(share, logits.softmax(-1)).squeeze(1),
        "hidden_mean": mean,
        "hidden_spread": (away.square().sum((1, 2)) / count.squeeze(1)).sqrt(),
    }
