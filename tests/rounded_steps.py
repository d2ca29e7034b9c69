"""GPT-2 and AdamW, slow and plain, with rounding to bfloat16 that can be switched off place by place.

A reference for the question where rounding changes a result. It shares nothing with the engines but the initial
parameters and the order of the windows. Everything is computed in float32 or float64 by autograd, and rounded to
bfloat16 at the PLACES where the engines store a bfloat16 value (docs/rounding.md).
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from blackholes.training import model
from blackholes.training.settings import RunSettings
from blackholes.training.windows import window_order
from torch import Tensor

PLACES = {
    "activations": "every activation of the forward pass",
    "logits' gradient": "the gradient of the loss by the logits",
    "other gradients": "those of all other activations and of the parameters, before and after the clip",
    "moments": "both of Adam's, after a step",
    "weights": "the parameters, after a step",
}


@dataclass
class Outcome:
    """What a run shows of its first steps.

    Attributes:
        distinct: after every step, the number of distinct vectors among the embedding's rows, rounded to bfloat16.
        moved: the share of all other parameters that the first step changed by more than half of its learning rate.
        cosine: between a row's gradients in the first and the second step, the median over the embedding's rows.
    """

    distinct: list[int] = field(default_factory=list)
    moved: float = math.nan
    cosine: float = math.nan


def rounded(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).to(x.dtype)


class _Stored(torch.autograd.Function):
    """A value that is rounded where it is stored, and its gradient where that is."""

    @staticmethod
    def forward(ctx, x, value, gradient):
        ctx.gradient = gradient
        return rounded(x) if value else x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return (rounded(gradient) if ctx.gradient else gradient), None, None


def first_steps(
    token_ids: np.ndarray,
    settings: RunSettings,
    divisor: int | None = None,
    places: Collection[str] = PLACES,
    dtype: torch.dtype = torch.float32,
    still: bool = False,
) -> Outcome:
    """Train with AdamW on the token after next.

    Args:
        token_ids: the corpus (n,).
        settings: of the run; `loss_divisor` is not read.
        divisor: of the summed loss; None: the number of targets.
        places: where to round to bfloat16.
        dtype: of what is not rounded.
        still: keep all parameters but the embedding where they are in the first step.
    """
    weights = {
        name: rounded(value).to(dtype)
        for name, value in model.initialise(settings.model, settings.init, settings.seed).items()
    }
    first, second = ({name: torch.zeros_like(value) for name, value in weights.items()} for _ in range(2))
    context = settings.model.context
    order = window_order(len(token_ids) - context, settings.batch_size, settings.seed)
    outcome, earlier = Outcome(), None
    for step in range(1, settings.steps + 1):
        starts = next(order)
        chunk = torch.from_numpy(token_ids.astype(np.int64)[starts[:, None] + np.arange(context + 1)])
        leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
        loss = _summed_loss(leaves, chunk, settings, places) / (divisor or len(chunk) * (context - 1))
        gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        gradients = _clipped(gradients, settings.clip, "other gradients" in places)
        if still and step == 1:
            gradients = {name: g if name == model.EMBEDDING else 0 * g for name, g in gradients.items()}
        rate = settings.learning_rate * (1 - (step - 1) / (settings.schedule_steps or settings.steps))
        before = dict(weights)
        _adamw(weights, gradients, first, second, step, rate, settings, places)
        if step == 1:
            others = [weights[name] - before[name] for name in weights if name != model.EMBEDDING]
            others = torch.cat([change.flatten() for change in others])
            outcome.moved = (others.abs() > rate / 2).double().mean().item()
        if step == 2:
            outcome.cosine = F.cosine_similarity(gradients[model.EMBEDDING], earlier, dim=1).median().item()
        earlier = gradients[model.EMBEDDING]
        outcome.distinct.append(len(torch.unique(rounded(weights[model.EMBEDDING]), dim=0)))
    return outcome


def _summed_loss(leaves: dict[str, Tensor], chunk: Tensor, settings: RunSettings, places: Collection[str]) -> Tensor:
    """The cross-entropy of windows (B, T + 1), summed over the T − 1 targets of each."""
    forward, backward = "activations" in places, "other gradients" in places
    shape, (B, T) = settings.model, (len(chunk), settings.model.context)
    C, H = shape.width, shape.heads
    later = torch.ones(T, T).triu(1).bool()

    def store(x):
        return _Stored.apply(x, forward, backward)

    def norm(x, name):
        return store(F.layer_norm(x, (C,), leaves[f"{name}.weight"], leaves[f"{name}.bias"]))

    def linear(x, name):
        return store(x @ leaves[f"{name}.weight"] + leaves[f"{name}.bias"])

    embedding = leaves[model.EMBEDDING]
    x = store(embedding[chunk[:, :-1]] + leaves["transformer.wpe.weight"])
    for layer in range(shape.layers):
        h = f"transformer.h.{layer}"
        qkv = linear(norm(x, f"{h}.ln_1"), f"{h}.attn.c_attn")
        q, k, v = (part.transpose(1, 2) for part in qkv.view(B, T, 3, H, C // H).unbind(2))
        scores = store(q @ k.transpose(-1, -2)) / math.sqrt(C // H)
        shares = store(scores.masked_fill(later, -math.inf).softmax(-1))
        x = store(x + linear(store(shares @ v).transpose(1, 2).reshape(B, T, C), f"{h}.attn.c_proj"))
        hidden = store(F.gelu(linear(norm(x, f"{h}.ln_2"), f"{h}.mlp.c_fc"), approximate="tanh"))
        x = store(x + linear(hidden, f"{h}.mlp.c_proj"))
    table = _Stored.apply(embedding, False, backward)  # the output layer's part of its gradient is stored first
    logits = _Stored.apply(norm(x, "transformer.ln_f") @ table.T, forward, "logits' gradient" in places)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), chunk[:, 2:].flatten(), reduction="sum")


def _clipped(gradients: dict[str, Tensor], limit: float, store: bool) -> dict[str, Tensor]:
    kept = {name: rounded(g) if store else g for name, g in gradients.items()}
    norm = torch.stack([g.square().sum() for g in kept.values()]).sum().sqrt()
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    return {name: rounded(g * factor) if store else g * factor for name, g in kept.items()}


def _adamw(weights, gradients, first, second, step, rate, settings, places) -> None:
    """One step, in place; the bias corrections are in it, and no moment is rounded before it has been used."""
    (b1, b2), dtype = settings.betas, weights[model.EMBEDDING].dtype
    for name, g in gradients.items():
        m = b1 * first[name] + (1 - b1) * g
        v = b2 * second[name] + (1 - b2) * g * g
        decay = settings.weight_decay if model.decays(name) else 0.0
        step_size = rate * (m / (1 - b1**step)) / ((v / (1 - b2**step)).sqrt() + settings.epsilon)
        w = weights[name] * (1 - rate * decay) - step_size
        assert w.dtype == dtype
        first[name], second[name] = (rounded(m), rounded(v)) if "moments" in places else (m, v)
        weights[name] = rounded(w) if "weights" in places else w
