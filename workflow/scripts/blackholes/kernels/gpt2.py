"""Loss of GPT-2 in plain torch, for K models at once, on any device, differentiated by autograd.

Weights are a dict with the names of a Hugging Face GPT-2 checkpoint; linear weights are (in, out). Activations and
gradients are stored in the weights' dtype; the loss is evaluated in float32.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Weights = Mapping[str, Tensor]
OUTPUT = "lm_head.weight"  # the output matrix (V, C), of models that have one of their own


def loss(
    weights: Weights, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"], heads: int, divisor: int | None = None
) -> Float[Tensor, ""]:
    """`losses` of one model, whose weights have no leading K."""
    weights = {name: weight[None] for name, weight in weights.items()}
    return losses(weights, tokens[None], targets[None], heads, divisor)[0]


def losses(
    weights: Weights,
    tokens: Int[Tensor, "K B T"],
    targets: Int[Tensor, "K B T"],
    heads: int,
    divisor: int | None = None,
    seen: dict[str, Tensor] | None = None,
) -> Float[Tensor, "K"]:
    """Each model's cross-entropy in nats, summed over its positions whose target is not negative. Differentiable.

    The sum is divided by `divisor`; None: by the number of these positions, which gives their mean.

    `seen`, if given, gets the `logits` (K, B·T, V) and the final `hidden` states (K, B·T, C), without a gradient.

    Losses are float32, or float64 for float64 weights. Every weight is (K, *shape). Model k sees only `tokens[k]`, so
    the gradient of the sum of the losses is each model's own gradient.

    Source: Radford et al. 2019; `transformers.models.gpt2` with tanh GELU, no dropout. The output matrix is
    `lm_head.weight` where there is one, and otherwise the token embedding (tied embeddings).
    """
    K, B, T = tokens.shape
    wte, wpe = weights["transformer.wte.weight"], weights["transformer.wpe.weight"]
    C = wte.shape[-1]

    def row(name):
        return weights[name].unsqueeze(1)  # (K, 1, C)

    def norm(x, name):  # layer_norm's own weight and bias cannot differ between models
        return torch.addcmul(row(f"{name}.bias"), F.layer_norm(x, (C,)), row(f"{name}.weight"))

    def linear(x, name):
        return torch.baddbmm(row(f"{name}.bias"), x, weights[f"{name}.weight"])

    x = (_Lookup.apply(wte, tokens) + wpe[:, None, :T]).view(K, B * T, C)
    for layer in range(layer_count(weights)):
        name = f"transformer.h.{layer}"
        qkv = linear(norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn")  # (K, B·T, 3C)
        parts = qkv.view(K * B, T, 3, heads, C // heads).unbind(2)  # each (K·B, T, H, d)
        q, k, v = (part.transpose(1, 2) for part in parts)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)  # (K·B, T, H, d)
        x = x + linear(o.reshape(K, B * T, C), f"{name}.attn.c_proj")
        a = F.gelu(linear(norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc"), approximate="tanh")  # (K, B·T, 4C)
        x = x + linear(a, f"{name}.mlp.c_proj")
    hidden = norm(x, "transformer.ln_f")
    logits = torch.bmm(hidden, weights.get(OUTPUT, wte).transpose(1, 2))  # (K, B·T, V)
    logits = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))
    if seen is not None:
        seen |= {"hidden": hidden.detach(), "logits": logits.detach().view(K, B * T, -1)}
    each = F.cross_entropy(logits, targets.flatten(), ignore_index=-1, reduction="none")  # 0 where there is no target
    # a tensor either way: on a GPU torch multiplies by the reciprocal of a Python number, which has other last bits
    counts = (targets >= 0).sum((1, 2)) if divisor is None else targets.new_full((K,), divisor)
    return each.view(K, B * T).sum(1) / counts


class _Lookup(torch.autograd.Function):
    """Rows (K, B, T, C) of tables (K, V, C) by token (K, B, T).

    The gradient is a product with the one-hot tokens, which sums in a fixed order; torch's own adds with atomics on
    GPUs, in any order.
    """

    @staticmethod
    def forward(ctx, table, tokens):
        ctx.save_for_backward(tokens)
        ctx.vocabulary = table.shape[1]
        return table[torch.arange(len(table), device=table.device)[:, None, None], tokens]

    @staticmethod
    def backward(ctx, gradient):
        (tokens,) = ctx.saved_tensors
        every = torch.arange(ctx.vocabulary, device=tokens.device)
        hot = (tokens.flatten(1).unsqueeze(-1) == every).to(gradient.dtype)  # (K, B·T, V)
        return torch.bmm(hot.transpose(1, 2), gradient.flatten(1, 2)), None


def layer_count(weights: Weights) -> int:
    """Number of transformer layers that the weights describe."""
    return sum(name.endswith(".attn.c_attn.weight") for name in weights)
