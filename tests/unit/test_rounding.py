"""Where the two engines round: the points of docs/rounding.md, and what each difference changes.

A point has both engines' results for the same bfloat16 inputs, and for each an oracle: the formula in float64, rounded
to bfloat16 exactly where the document says that this engine rounds. The torch engine's expressions are those of
`kernels.gpt2.losses`.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from blackholes.kernels import bf16, gpt2
from blackholes.training import cpu_loops as loops
from blackholes.training import cpu_step, model
from blackholes.training.optimizer import clip
from blackholes.training.settings import Model
from blackholes.training.windows import split_targets
from torch import Tensor

SHAPE = Model(vocabulary_size=128, context=32, width=64, layers=2, heads=2)
B, T, C, H, V = 4, SHAPE.context, SHAPE.width, SHAPE.heads, SHAPE.vocabulary_size
N, GROUPS, SIZE = B * T, B * H, C // H
BF16 = torch.bfloat16


pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Point:
    """Results (bfloat16) and oracles (float64); the share of elements that may differ between the engines."""

    compiled: Tensor
    torch: Tensor
    compiled_oracle: Tensor
    torch_oracle: Tensor
    share: tuple[float, float]


def draw(*shape, scale=1.0, seed=0):
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).to(BF16)


def integers(limit, *shape):
    return torch.randint(0, limit, shape, generator=torch.Generator().manual_seed(0))


def empty(*shape):
    return torch.empty(shape, dtype=BF16)


def arrays(*tensors):
    """numpy views; bfloat16 as uint16, as the compiled loops read it."""
    return [(tensor.view(torch.uint16) if tensor.dtype == BF16 else tensor).numpy() for tensor in tensors]


def rounded(x: Tensor) -> Tensor:
    return x.to(BF16).double()


def same_points(compiled, torchs, oracle, share=(0.0, 0.02)) -> Point:
    return Point(compiled, torchs, rounded(oracle), rounded(oracle), share)


def differs(one, other) -> float:
    """The share of the elements that differ."""
    return (one.double() != other.double()).double().mean().item()


# --- the points, in the order of the document


def embedding_sum():
    tokens, wte, wpe = integers(V, B, T), draw(V, C), draw(T, C, seed=1)
    x, y, gain = empty(N, C), empty(N, C), torch.ones(C, dtype=BF16)
    statistics = torch.empty(2, N)
    loops.embed(tokens.numpy(), *arrays(wte, wpe, gain, 0 * gain, x, y, *statistics))
    exact = (wte.double()[tokens] + wpe.double()).view(N, C)
    return same_points(x, (wte[tokens] + wpe).view(N, C), exact, (0.0, 0.0))


def residual_sum():
    return layer_norm(0.1)[0]


def layer_norm(spread):
    """(x + branch, LayerNorm of it), by gains and biases that are `spread` away from 1 and 0."""
    x, branch = draw(N, C), draw(N, C, seed=1)
    gain, bias = 1 + draw(C, scale=spread, seed=2), draw(C, scale=spread, seed=3)
    out, y, statistics = empty(N, C), empty(N, C), torch.empty(2, N)
    loops.add_norm(*arrays(x, branch, gain, bias, out, y, *statistics))
    total = x + branch
    normal = F.layer_norm(total.double(), (C,))
    theirs = torch.addcmul(bias, F.layer_norm(total, (C,)), gain)
    once, twice = (rounded(n * gain.double() + bias.double()) for n in (normal, rounded(normal)))
    summed = same_points(out, total, x.double() + branch.double(), (0.0, 0.0))
    return summed, Point(y, theirs, once, twice, (0.15, 0.4) if spread else (0.0, 0.001))


def layer_norm_output():
    return layer_norm(0.1)[1]


def layer_norm_output_at_the_start():
    return layer_norm(0)[1]


def product():
    x, weight, bias = draw(N, 4 * C), draw(4 * C, C, scale=0.1, seed=1), draw(C, seed=2)
    theirs = torch.baddbmm(bias[None, None], x[None], weight[None])[0]
    return same_points(torch.addmm(bias, x, weight), theirs, x.double() @ weight.double() + bias.double())


def attention():
    """(output, gradients of query, key and value) of both engines, and their oracles."""
    scale, later = 1 / math.sqrt(SIZE), torch.ones(T, T).triu(1).bool()
    q, k, v, do = (draw(GROUPS, T, SIZE, scale=size, seed=seed) for seed, size in enumerate((2.0, 2.0, 2.0, 1.0)))

    scores = torch.bmm(q, k.transpose(1, 2))
    p, ds = torch.zeros_like(scores), torch.zeros_like(scores)
    loops.causal_softmax(*arrays(scores), np.float32(scale), *arrays(p))
    dp = torch.bmm(do, v.transpose(1, 2))
    loops.causal_softmax_backward(*arrays(p, dp), np.float32(scale), *arrays(ds))
    compiled = (p @ v, ds @ k, ds.transpose(1, 2) @ q, p.transpose(1, 2) @ do)

    leaves = [each.clone().view(B, H, T, SIZE).requires_grad_() for each in (q, k, v)]
    output = F.scaled_dot_product_attention(*leaves, is_causal=True)
    output.backward(do.view(B, H, T, SIZE))
    torchs = [each.detach().view(GROUPS, T, SIZE) for each in (output, *(leaf.grad for leaf in leaves))]

    q, k, v, do = (each.double() for each in (q, k, v, do))
    scores, dp = q @ k.transpose(1, 2), do @ v.transpose(1, 2)

    p = rounded((rounded(scores) * scale).masked_fill(later, -torch.inf).softmax(-1))
    ds = rounded(scale * p * (rounded(dp) - (p * rounded(dp)).sum(-1, keepdim=True)))
    compiled_oracle = (p @ v, ds @ k, ds.transpose(1, 2) @ q, p.transpose(1, 2) @ do)

    scores = (scores * scale).masked_fill(later, -torch.inf)
    power = (scores - scores.amax(-1, keepdim=True)).exp()
    exact = rounded(power) @ v / power.sum(-1, keepdim=True)
    p = power / power.sum(-1, keepdim=True)
    ds = rounded(p * (dp - (do * torchs[0].double()).sum(-1, keepdim=True))) * scale  # from its own stored output
    torch_oracle = (exact, ds @ k, ds.transpose(1, 2) @ q, rounded(p).transpose(1, 2) @ do)

    shares = [(0.4, 0.65), (0.7, 0.9), (0.7, 0.9), (0.6, 0.85)]
    return [
        Point(a, b, rounded(c), rounded(d), share)
        for a, b, c, d, share in zip(compiled, torchs, compiled_oracle, torch_oracle, shares, strict=True)
    ]


def gelu():
    """(value, gradient)."""
    z, gradient = draw(N, 4 * C), draw(N, 4 * C, seed=1)
    a, dz = torch.empty_like(z), gradient.clone()
    loops.gelu(*arrays(z.view(-1), a.view(-1)))
    loops.gelu_backward(*arrays(z.view(-1), dz.view(-1)))
    leaf, exact = z.clone().requires_grad_(), z.double().requires_grad_()
    value, exact_value = (F.gelu(each, approximate="tanh") for each in (leaf, exact))
    value.backward(gradient)
    exact_value.backward(gradient.double())
    return same_points(a, value.detach(), exact_value.detach()), same_points(dz, leaf.grad, exact.grad)


def cross_entropy_gradient():
    logits, targets, gradient = draw(N, V, scale=2.0), integers(V, N), empty(N, V)
    nobody = np.zeros(0, np.float32)  # who wants the probabilities
    loops.cross_entropy(*arrays(logits), targets.numpy(), np.float32(1 / N), *arrays(gradient), nobody)
    leaf, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    (F.cross_entropy(leaf.float(), targets, ignore_index=-1, reduction="none").sum() / N).backward()
    (F.cross_entropy(exact, targets, reduction="sum") / N).backward()
    return same_points(gradient, leaf.grad, exact.grad)


def layer_norm_backward():
    """Gradients of (the residual stream, the gain, the bias)."""
    x, dy, stream = draw(N, C), draw(N, C, seed=1), draw(N, C, seed=2)
    gain, bias = 1 + draw(C, scale=0.1, seed=3), draw(C, scale=0.1, seed=4)
    mean, rstd = x.double().mean(1), 1 / (x.double().var(1, correction=0) + 1e-5).sqrt()

    dx, dgain, dbias = stream.clone(), empty(C), empty(C)
    loops.norm_backward(*arrays(dy, x, mean.float(), rstd.float(), gain, dx, dgain, dbias))

    leaf, g, b = (each.clone().requires_grad_() for each in (x, gain, bias))
    torch.addcmul(b, F.layer_norm(leaf, (C,)), g).backward(dy)

    def input_gradient(dn, mean, rstd):
        normal = (x.double() - mean[:, None]) * rstd[:, None]
        return rstd[:, None] * (dn - dn.mean(1, keepdim=True) - normal * (dn * normal).mean(1, keepdim=True)), normal

    dn = dy.double() * gain.double()
    once, normal = input_gradient(dn, mean, rstd)
    more, _ = input_gradient(rounded(dn), rounded(mean), rounded(rstd))
    once, more = rounded(stream.double() + once), rounded(stream.double() + rounded(more))
    gains = [rounded(each.sum(0)) for each in (dy.double() * normal, rounded(dy.double() * rounded(normal)))]
    return (
        Point(dx, stream + leaf.grad, once, more, (0.2, 0.5)),
        Point(dgain, g.grad, *gains, (0.3, 0.8)),
        same_points(dbias, b.grad, dy.double().sum(0)),
    )


def embedding_gradient():
    """Gradients of (token, position) embeddings."""
    tokens, dx, dwte, dwpe = integers(V, B, T), draw(N, C), draw(V, C, seed=1), empty(T, C)
    output = dwte.clone()  # the output layer's part
    loops.embed_backward(tokens.numpy(), *arrays(dx, dwte, dwpe))
    hot = (tokens.flatten().unsqueeze(-1) == torch.arange(V)).to(BF16)
    once = output.double() + hot.double().T @ dx.double()
    twice = output.double() + rounded(hot.double().T @ dx.double())
    places = same_points(dwpe, dx.view(B, T, C).sum(0), dx.double().view(B, T, C).sum(0))
    return Point(dwte, hot.T @ dx + output, rounded(once), rounded(twice), (0.02, 0.15)), places


def bias_gradient():
    dy, sums = draw(N, C), empty(C)
    loops.column_sums(*arrays(dy, sums))
    return same_points(sums, dy.sum(0), dy.double().sum(0))


def clipped_gradient():
    flats = [draw(10_000), draw(1000, seed=1)]
    ours = torch.cat(flats)
    exact = ours.double() / (ours.double().norm() + 1e-6)
    clip(ours, 1.0)
    norms = torch.stack([torch.linalg.vector_norm(flat[None], dim=1, dtype=torch.float32) for flat in flats])
    factors = (1.0 / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0).unsqueeze(1)
    theirs = torch.cat([torch.mul(flat[None], factors, out=torch.empty_like(flat[None]))[0] for flat in flats])
    return same_points(ours, theirs, exact)


POINTS = {
    "embedding sum": embedding_sum,
    "residual sum": residual_sum,
    "LayerNorm's output": layer_norm_output,
    "LayerNorm's output, gains 1": layer_norm_output_at_the_start,
    "products": product,
    "attention's output": lambda: attention()[0],
    "queries' gradient": lambda: attention()[1],
    "keys' gradient": lambda: attention()[2],
    "values' gradient": lambda: attention()[3],
    "GELU": lambda: gelu()[0],
    "GELU's gradient": lambda: gelu()[1],
    "cross entropy's gradient": cross_entropy_gradient,
    "LayerNorm's gradient": lambda: layer_norm_backward()[0],
    "gains' gradient": lambda: layer_norm_backward()[1],
    "LayerNorm biases' gradient": lambda: layer_norm_backward()[2],
    "token embedding's gradient": lambda: embedding_gradient()[0],
    "position embedding's gradient": lambda: embedding_gradient()[1],
    "biases' gradient": bias_gradient,
    "clipped gradient": clipped_gradient,
}


@pytest.mark.parametrize("name", POINTS)
def test_each_engine_rounds_where_the_document_says(name):
    """Up to ties that float32's own rounding decides; where the engines differ, each is far from the other's oracle."""
    point = POINTS[name]()
    assert point.compiled.dtype == point.torch.dtype == BF16
    assert differs(point.compiled, point.compiled_oracle) < 0.03
    assert differs(point.torch, point.torch_oracle) < 0.03
    if point.share[0] > 0.1:
        assert differs(point.compiled, point.torch_oracle) > 0.1
        assert differs(point.torch, point.compiled_oracle) > 0.1


@pytest.mark.parametrize("name", POINTS)
def test_what_each_difference_changes(name):
    """As many values as the document says, each by no more than 3 ULP of the largest."""
    point = POINTS[name]()
    share = differs(point.compiled, point.torch)
    print(f"{name}: {share:.3f}")
    assert point.share[0] <= share <= point.share[1]
    largest = bf16.ulp(point.torch.abs().max())
    assert (point.compiled.double() - point.torch.double()).abs().max() <= 3 * largest


# --- one step from one state


def gradients(dtype, init="normal"):
    """{name: (the compiled engine's gradient, the torch engine's)}, and the two losses."""
    weights = model.initialise(SHAPE, reference.settings(init=init).init, 1)
    weights = {name: weight.to(dtype) for name, weight in weights.items()}
    pair = split_targets(integers(V, B, T + 1), 1)
    ours = {name: torch.empty_like(weight) for name, weight in weights.items()}
    loss = cpu_step.CpuStep(weights, ours, B, T, H)(*pair)
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    their_loss = gpt2.loss(leaves, *pair, H)
    their_loss.backward()
    return {name: (ours[name], leaf.grad) for name, leaf in leaves.items()}, (loss, their_loss.item())


def test_one_step_in_bfloat16():
    """70 % of all gradient values differ, each by no more than 3 ULP of its tensor's largest."""
    pairs, losses = gradients(BF16)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    unequal = torch.cat([(ours != theirs).flatten() for ours, theirs in pairs.values()])
    print(f"share that differs: {unequal.double().mean():.3f}")
    assert 0.6 < unequal.double().mean() < 0.8
    for name, (ours, theirs) in pairs.items():
        assert (ours.double() - theirs.double()).abs().max() <= 3 * bf16.ulp(theirs.abs().max()), name
        assert (ours.double() - theirs.double()).norm() < 0.01 * theirs.double().norm(), name


def test_one_step_in_bfloat16_from_one_point():
    """While all embeddings are equal (qwen) no gradient passes the output layer: its own is all there is."""
    pairs, _ = gradients(BF16, "qwen")
    for name, (ours, theirs) in pairs.items():
        if name == model.EMBEDDING:
            assert 0.05 < differs(ours, theirs) < 0.3
            assert (ours.double() - theirs.double()).abs().max() <= 2 * bf16.ulp(theirs.abs().max())
        else:
            assert not ours.any(), name
            assert not theirs.any(), name


def test_one_step_in_float32():
    """The order of sums alone: each gradient within 2e-6 of the other's norm."""
    pairs, losses = gradients(torch.float32)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert any(not ours.equal(theirs) for ours, theirs in pairs.values())
    for name, (ours, theirs) in pairs.items():
        assert (ours.double() - theirs.double()).norm() < 2e-6 * theirs.double().norm(), name
