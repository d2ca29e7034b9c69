"""The kernel of training against transformers.GPT2LMHeadModel, and its compiled loops against torch in float64."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from blackholes.kernels import gpt2
from blackholes.training import cpu_loops as loops
from blackholes.training import cpu_step, model
from blackholes.training.settings import Model
from blackholes.training.windows import split_targets
from numba import njit

REAL = Model(vocabulary_size=128, context=128, width=64, layers=2, heads=2)
SMALL = Model(vocabulary_size=20, context=12, width=16, layers=2, heads=2)
CASES = [  # shape, batch, how far weights are from their initial values
    pytest.param(SMALL, 3, 0.1, id="small"),
    pytest.param(Model(vocabulary_size=7, context=5, width=9, layers=1, heads=3), 2, 0.3, id="odd"),
    pytest.param(replace(SMALL, layers=3, heads=1, context=1), 1, 0.1, id="one window of one token"),
    pytest.param(replace(SMALL, heads=16), 5, 0.5, id="large weights"),
    pytest.param(REAL, 16, 0.05, id="real"),
]


pytestmark = pytest.mark.usefixtures("one_thread")


def make_weights(shape, spread=0.1, init="normal", dtype=torch.float32, seed=0, values=torch.bfloat16) -> dict:
    """Parameters of which none is special: also biases and gains are random. The values are those of `values`."""
    draw = torch.Generator().manual_seed(seed)
    weights = model.initialise(shape, reference.settings(init=init).init, seed)
    return {k: (w + spread * torch.randn(w.shape, generator=draw)).to(values).to(dtype) for k, w in weights.items()}


def make_chunk(shape, batch, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, shape.vocabulary_size, (batch, shape.context + 1), generator=draw)


def theirs(shape, weights, dtype, **inputs):
    """Loss and gradients by name of GPT2LMHeadModel."""
    network = reference.load_model(shape, weights, dtype)
    if dtype == torch.float64:  # its own loss is float32 always
        logits = network(inputs["input_ids"]).logits.flatten(0, 1)
        targets = inputs.get("shift_labels", F.pad(inputs["labels"][:, 1:], (0, 1), value=-100))
        loss = F.cross_entropy(logits, targets.flatten())
    else:
        loss = network(**inputs).loss
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in network.named_parameters()}


def formula(shape, weights, dtype, tokens, targets, divisor=None):
    leaves = {name: weight.detach().to(dtype).requires_grad_() for name, weight in weights.items()}
    loss = gpt2.loss(leaves, tokens, targets, shape.heads, divisor)
    loss.backward()
    return loss.item(), {name: leaf.grad for name, leaf in leaves.items()}


def together(shape, models, dtype, pairs, divisor=None):
    """[(loss, gradients)] of several models, by the formula for all of them at once."""
    leaves = {name: torch.stack([weights[name].to(dtype) for weights in models]).requires_grad_() for name in models[0]}
    tokens, targets = (torch.stack(each) for each in zip(*pairs, strict=True))
    losses = gpt2.losses(leaves, tokens, targets, shape.heads, divisor)
    losses.sum().backward()
    return [(loss.item(), {name: leaf.grad[k] for name, leaf in leaves.items()}) for k, loss in enumerate(losses)]


def by_stack(shape, weights, dtype, tokens, targets, divisor=None):
    """The last of three models, the others of which are different."""
    models = [{name: weight.roll(1 + k).mul(1.5) for name, weight in weights.items()} for k in range(2)]
    pairs = [(tokens.flip(0), targets.roll(1))] * 2 + [(tokens, targets)]
    return together(shape, [*models, weights], dtype, pairs, divisor)[2]


def by_hand(shape, weights, dtype, tokens, targets, pieces=1, threads=1, divisor=None):
    weights = {name: weight.to(dtype) for name, weight in weights.items()}
    gradients = {name: torch.full_like(weight, torch.nan) for name, weight in weights.items()}
    step = cpu_step.CpuStep(weights, gradients, *tokens.shape, shape.heads, pieces, threads, divisor)
    return step(tokens, targets), gradients


def apart(found, expected) -> float:
    """‖found − expected‖ / ‖expected‖."""
    found, expected = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    return ((found - expected).norm() / expected.norm()).item()


def assert_close(found, expected, limit):
    (loss, gradients), (their_loss, their_gradients) = found, expected
    assert apart(loss, their_loss) < limit
    assert gradients.keys() == their_gradients.keys()
    distances = {name: apart(gradients[name], their_gradients[name]) for name in gradients}
    assert {name: d for name, d in distances.items() if not d < limit} == {}


def same_bits(found, expected) -> bool:
    (loss, gradients), (other, others) = found, expected
    return loss == other and all(torch.equal(gradients[name], others[name]) for name in gradients)


@pytest.mark.parametrize("offset", [1, 2])
@pytest.mark.parametrize(("shape", "batch", "spread"), CASES)
def test_loss_and_every_gradient_in_float32(shape, batch, spread, offset):
    offset = min(offset, shape.context)
    weights, chunk = make_weights(shape, spread), make_chunk(shape, batch)
    pair = split_targets(chunk, offset)
    inputs = reference.labels(chunk, offset)
    exact = theirs(shape, weights, torch.float64, **inputs)
    single = theirs(shape, weights, torch.float32, **inputs)
    assert_close(formula(shape, weights, torch.float64, *pair), exact, 1e-12)
    for method in (formula, by_hand, by_stack):
        ours = method(shape, weights, torch.float32, *pair)
        assert_close(ours, single, 1e-5)
        assert_close(ours, exact, 1e-5)


@pytest.mark.parametrize("pieces", [1, 2])
def test_the_divisor_of_the_loss(pieces):
    """Every token of the batch counts, also the last of a window, which has no target."""
    weights, chunk = make_weights(SMALL), make_chunk(SMALL, 3)
    pair, divisor = split_targets(chunk, 2), 3 * 12
    expected = theirs(SMALL, weights, torch.float32, **reference.labels(chunk, 2), num_items_in_batch=divisor)
    mean, _ = theirs(SMALL, weights, torch.float32, **reference.labels(chunk, 2))
    assert expected[0] == pytest.approx(11 / 12 * mean)
    for method, more in ((formula, {}), (by_stack, {}), (by_hand, {"pieces": pieces})):
        assert_close(method(SMALL, weights, torch.float32, *pair, divisor=divisor, **more), expected, 1e-5)


@pytest.mark.parametrize(("shape", "batch", "spread"), CASES[:-1])
def test_models_trained_together_equal_models_trained_alone(shape, batch, spread):
    models = [make_weights(shape, spread, seed=seed) for seed in range(3)]
    pairs = [split_targets(make_chunk(shape, batch, seed), 1) for seed in range(3)]
    for tokens, targets in pairs[1:]:  # the models' losses are means over different numbers of positions
        targets.view(-1)[1 : tokens.sum() % 4] = -1
    for weights, (tokens, targets), found in zip(
        models, pairs, together(shape, models, torch.float64, pairs), strict=True
    ):
        labels = targets.masked_fill(targets < 0, -100)
        inputs = {"input_ids": tokens, "labels": labels, "shift_labels": labels}
        assert_close(found, theirs(shape, weights, torch.float64, **inputs), 1e-12)


def test_a_model_that_is_not_finite_leaves_the_others_alone():
    models = [make_weights(SMALL, seed=seed) for seed in range(3)]
    pairs = [split_targets(make_chunk(SMALL, 3, seed), 1) for seed in range(3)]
    before = together(SMALL, models, torch.float32, pairs)
    models[1][model.EMBEDDING][:] = torch.nan
    after = together(SMALL, models, torch.float32, pairs)
    assert np.isnan(after[1][0])
    assert same_bits(after[0], before[0])
    assert same_bits(after[2], before[2])


def test_the_comparator_sees_one_wrong_gradient():
    weights, (tokens, targets) = make_weights(SMALL), split_targets(make_chunk(SMALL, 3), 1)
    loss, gradients = formula(SMALL, weights, torch.float64, tokens, targets)
    for name in gradients:
        wrong = gradients[name].clone()
        wrong.view(-1)[wrong.abs().argmax()] *= 1.001
        with pytest.raises(AssertionError, match=name.replace(".", r"\.")):
            assert_close((loss, gradients | {name: wrong}), (loss, gradients), 1e-5)


def test_the_notebooks_double_shift():
    """Inputs ids[i : i + T] with labels ids[i + 1 : i + T + 1], which the model shifts again: the token after next."""
    weights, chunk = make_weights(SMALL), make_chunk(SMALL, 3)
    shifted_twice = theirs(SMALL, weights, torch.float32, input_ids=chunk[:, :-1], labels=chunk[:, 1:])
    tokens, targets = split_targets(chunk, 2)
    assert targets[:, :-1].equal(chunk[:, 2:])
    assert (targets[:, -1] == -1).all()
    assert_close(by_hand(SMALL, weights, torch.float32, tokens, targets), shifted_twice, 1e-5)
    next_token = by_hand(SMALL, weights, torch.float32, *split_targets(chunk, 1))
    assert apart(next_token[0], shifted_twice[0]) > 1e-3


@pytest.mark.parametrize("pieces", [1, 2])
def test_positions_without_a_target_are_ignored(pieces):
    weights, chunk = make_weights(SMALL), make_chunk(SMALL, 4)
    tokens, targets = split_targets(chunk, 1)
    targets[torch.rand(targets.shape, generator=torch.Generator().manual_seed(1)) < 0.4] = -1
    targets[2] = -1  # a whole window
    labels = targets.masked_fill(targets < 0, -100)
    expected = theirs(SMALL, weights, torch.float64, input_ids=tokens, labels=labels, shift_labels=labels)
    assert_close(formula(SMALL, weights, torch.float64, tokens, targets), expected, 1e-12)
    assert_close(by_hand(SMALL, weights, torch.float32, tokens, targets, pieces), expected, 1e-5)


@pytest.mark.parametrize("precision", ["bf16", "mixed"])
@pytest.mark.parametrize("init", ["normal", "qwen"])
@pytest.mark.parametrize(("shape", "batch", "spread"), CASES)
def test_bfloat16_is_as_close_to_float64_as_transformers_is(shape, batch, spread, init, precision):
    """Both round, at places of their own. RMS over draws: `each` × their error for each tensor, `whole` × in all.

    The stacked formula may be further off: it rounds LayerNorm's output once more, before the gain, which costs
    something where gains are far from the 1 they start at (large weights). `mixed` keeps float32 parameters: the exact
    gradient is that at their values, and all lose what the bfloat16 copy that goes forward and backward cannot hold.
    """
    values = torch.bfloat16 if precision == "bf16" else torch.float32
    errors, losses = {by_hand: {}, by_stack: {}, theirs: {}}, {by_hand: [], by_stack: [], theirs: []}
    for seed in range(1 if shape == REAL else 12):
        weights, chunk = make_weights(shape, spread, init, seed=seed, values=values), make_chunk(shape, batch, seed)
        inputs, pair = reference.labels(chunk, 1), split_targets(chunk, 1)
        exact_loss, exact = theirs(shape, weights, torch.float64, **inputs)
        for method in errors:
            arguments = (inputs, ()) if method is theirs else ({}, pair)
            loss, gradients = method(shape, weights, torch.bfloat16, *arguments[1], **arguments[0])
            losses[method].append(apart(loss, exact_loss))
            for name in exact:
                errors[method][name] = np.hypot(errors[method].get(name, 0.0), apart(gradients[name], exact[name]))
    for method, each, whole in ((by_hand, 1.5, 1.2), (by_stack, 2.2, 1.3)):
        ours, their = errors[method], errors[theirs]
        assert {name: (e, their[name]) for name, e in ours.items() if e > each * their[name] + 2**-9} == {}
        assert sum(ours.values()) <= whole * sum(their.values()) + 2**-9
        assert np.linalg.norm(losses[method]) <= 1.5 * np.linalg.norm(losses[theirs]) + 2**-9


@pytest.mark.parametrize(("pieces", "batch"), [(2, 4), (2, 3), (3, 4), (8, 3)])
def test_pieces_only_change_the_order_of_sums(pieces, batch):
    weights, pair = make_weights(SMALL), split_targets(make_chunk(SMALL, batch), 1)
    alone = by_hand(SMALL, weights, torch.float32, *pair)
    assert_close(by_hand(SMALL, weights, torch.float32, *pair, pieces), alone, 2e-6)
    # in bfloat16 the gradient of each piece is rounded before it is added
    _, exact = formula(SMALL, weights, torch.float64, *pair)
    (_, alone), (_, shared) = (by_hand(SMALL, weights, torch.bfloat16, *pair, n) for n in (1, pieces))
    for name in exact:
        assert apart(shared[name], exact[name]) < 1.1 * apart(alone[name], exact[name]) + pieces * 2**-9, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("pieces", "threads"), [(1, 1), (2, 2), (4, 2)])
def test_a_step_again_is_the_same_to_the_bit(dtype, pieces, threads):
    weights, pair = make_weights(REAL, dtype=dtype), split_targets(make_chunk(REAL, 5), 1)
    gradients = {name: torch.empty_like(weight) for name, weight in weights.items()}
    step = cpu_step.CpuStep(weights, gradients, 5, REAL.context, REAL.heads, pieces, threads)
    first = step(*pair), {name: gradient.clone() for name, gradient in gradients.items()}
    other = step(*split_targets(make_chunk(REAL, 5, seed=1), 2)), gradients  # leaves nothing behind
    assert not same_bits(other, first)
    assert same_bits((step(*pair), gradients), first)
    assert same_bits(by_hand(REAL, weights, dtype, *pair, pieces), first)  # on one thread


@pytest.mark.parametrize(("pieces", "threads"), [(1, 4), (3, 1), (4, 2), (2, 8)])
def test_pieces_share_the_threads_there_are(pieces, threads, monkeypatch):
    """The pieces' cross entropies wait for each other until as many are at work as there are threads for them."""
    together, at_work = min(pieces, threads), []
    meeting, entropy = threading.Barrier(together), cpu_step.loops.cross_entropy

    def met(*arguments):
        at_work.append(threading.get_ident())
        meeting.wait(timeout=30)
        return entropy(*arguments)

    weights, pair = make_weights(SMALL), split_targets(make_chunk(SMALL, 4), 1)
    expected = by_hand(SMALL, weights, torch.bfloat16, *pair, pieces)
    monkeypatch.setattr(cpu_step.loops, "cross_entropy", met)
    assert same_bits(by_hand(SMALL, weights, torch.bfloat16, *pair, pieces, threads), expected)
    assert (len(at_work), len(set(at_work))) == (pieces, together)


def test_weights_are_read_anew():
    weights, pair = make_weights(SMALL), split_targets(make_chunk(SMALL, 2), 1)
    step = cpu_step.CpuStep(weights, {name: torch.empty_like(w) for name, w in weights.items()}, 2, 12, 2)
    before = step(*pair)
    weights["transformer.h.1.mlp.c_fc.bias"].add_(1.0)
    assert step(*pair) == pytest.approx(by_hand(SMALL, weights, torch.float32, *pair)[0], rel=0) != before


@pytest.mark.parametrize(("shape", "batch", "spread"), CASES)
def test_processors_without_bfloat16_products(shape, batch, spread, monkeypatch):
    weights, pair = make_weights(shape, spread), split_targets(make_chunk(shape, batch), 1)
    _, exact = formula(shape, weights, torch.float64, *pair)
    native_loss, native = by_hand(shape, weights, torch.bfloat16, *pair)
    monkeypatch.setattr(cpu_step, "_has_fast_products", lambda dtype: dtype == torch.float32)
    loss, gradients = by_hand(shape, weights, torch.bfloat16, *pair)
    assert apart(loss, native_loss) < 2**-10
    for name in exact:
        limit = 1.2 * apart(native[name], exact[name]) + 2**-9
        assert apart(gradients[name], exact[name]) < limit, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_weights_show_in_the_loss(dtype, value):
    pair = split_targets(make_chunk(SMALL, 2), 1)
    for name in model.shapes(SMALL):
        weights = make_weights(SMALL)
        weights[name].view(-1)[-1] = value
        if name == model.EMBEDDING:
            weights[name][:] = value
        loss, gradients = by_hand(SMALL, weights, dtype, *pair)
        finite = all(gradient.isfinite().all() for gradient in gradients.values())
        assert not np.isfinite(loss) or not finite, name


def test_extreme_logits_overflow_nothing():
    weights = make_weights(SMALL)
    weights[model.EMBEDDING] *= 3000
    pair = split_targets(make_chunk(SMALL, 2), 1)
    found, exact = by_hand(SMALL, weights, torch.float32, *pair), formula(SMALL, weights, torch.float64, *pair)
    assert exact[0] > 1000
    assert_close(found, exact, 1e-4)


# The compiled loops


@njit
def store_each(values, out):
    for i in range(values.size):
        out[i] = loops.store(out, values[i])


@njit
def load_each(values, out):
    for i in range(values.size):
        out[i] = loops.load(values[i])


@njit
def exp_each(values, out):
    for i in range(values.size):
        out[i] = loops._exp(values[i])


def test_store_rounds_to_nearest_even():
    """Every bfloat16, with what lies right beside it, at the tie and around the tie to the next."""
    bits = np.arange(2**16, dtype=np.uint32)[:, None] << 16
    near = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    values = (bits | near).reshape(-1).view(np.float32)
    values = values[~np.isnan(values)]
    out = np.empty(values.size, np.uint16)
    store_each(values, out)
    expected = torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()
    np.testing.assert_array_equal(out, expected)


def test_load_is_exact_and_store_returns_it():
    bits = np.arange(2**16, dtype=np.uint16)
    values, back = np.empty(bits.size, np.float32), np.empty(bits.size, np.uint16)
    load_each(bits, values)
    np.testing.assert_array_equal(values, torch.from_numpy(bits).view(torch.bfloat16).float().numpy())
    store_each(values, back)  # NaN included: every NaN that a bfloat16 can hold
    np.testing.assert_array_equal(back, bits)


def test_float32_passes_through():
    values = np.array([0.1, -0.0, np.nan, np.inf, 1e-42], np.float32)
    loaded, stored = np.empty_like(values), np.empty_like(values)
    load_each(values, loaded)
    store_each(values, stored)
    np.testing.assert_array_equal(loaded, values)
    np.testing.assert_array_equal(stored, values)


def test_exp_within_two_ulp():
    values = np.concatenate([np.linspace(-87, 88, 2_000_001), np.linspace(-1e-3, 1e-3, 10_001), [0, -0.0]])
    values = values.astype(np.float32)
    out = np.empty_like(values)
    exp_each(values, out)
    exact = np.exp(values.astype(np.float64))
    ulps = np.abs(out - exact) / np.spacing(exact.astype(np.float32))
    assert ulps.max() <= 2
    assert (out[values == 0] == 1).all()
    exp_each(np.array([-np.inf, -1e30, 1e30, np.inf, np.nan], np.float32), out[:5])
    assert (out[:2] < 2e-38).all()
    assert (out[2:4] > 1e38).all()
    assert np.isnan(out[4])


def draw(*shape, scale=1.0, seed=0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_gelu(scale):
    z, grad = draw(1001, scale=scale), draw(1001, seed=1)
    found, back = torch.empty_like(z), grad.clone()
    loops.gelu(z.numpy(), found.numpy())
    loops.gelu_backward(z.numpy(), back.numpy())
    exact = z.double().requires_grad_()
    value = F.gelu(exact, approximate="tanh")
    value.backward(grad.double())
    torch.testing.assert_close(found.double(), value.detach(), rtol=5e-6, atol=1e-6 * scale)
    torch.testing.assert_close(back.double(), exact.grad, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("context", [1, 2, 17, 128])
def test_causal_softmax(context):
    scores, grad, scale = draw(3, context, context, scale=10.0), draw(3, context, context, seed=1), 0.3
    p, ds = torch.zeros_like(scores), torch.zeros_like(scores)
    poisoned = scores.masked_fill(torch.ones(context, context).triu(1).bool(), torch.nan)  # later keys are never read
    loops.causal_softmax(poisoned.numpy(), np.float32(scale), p.numpy())
    loops.causal_softmax_backward(p.numpy(), grad.numpy(), np.float32(scale), ds.numpy())
    exact = scores.double().requires_grad_()
    value = (exact * scale).masked_fill(torch.ones(context, context).triu(1).bool(), -torch.inf).softmax(-1)
    value.backward(grad.double())
    torch.testing.assert_close(p.double(), value.detach(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ds.double(), exact.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [3, 16, 65])
def test_layer_norm(width):
    rows, (x, branch, gain, bias, dy) = 33, (draw(33, width, seed=i) for i in range(5))
    x, gain, bias = x + 3, gain[0].clone(), bias[0].clone()
    out, y, mean, rstd = torch.empty(rows, width), torch.empty(rows, width), torch.empty(rows), torch.empty(rows)
    dx, dgain, dbias = draw(rows, width, seed=9), torch.empty(width), torch.empty(width)
    before = dx.clone()
    loops.add_norm(*(t.numpy() for t in (x, branch, gain, bias, out, y, mean, rstd)))
    loops.norm_backward(*(t.numpy() for t in (dy, out, mean, rstd, gain, dx, dgain, dbias)))
    exact, g, b = (t.double().requires_grad_() for t in (out, gain, bias))
    value = F.layer_norm(exact, (width,), g, b)
    value.backward(dy.double())
    assert out.equal(x + branch)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(y.double(), value.detach(), **close)
    torch.testing.assert_close((dx - before).double(), exact.grad, **close)
    torch.testing.assert_close(dgain.double(), g.grad, **close)
    torch.testing.assert_close(dbias.double(), b.grad, **close)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_cross_entropy(scale):
    logits, targets = draw(50, 77, scale=scale), torch.randint(0, 77, (50,), generator=torch.Generator().manual_seed(1))
    targets[::7] = -1
    found, weight = torch.empty_like(logits), 0.125
    seen = torch.full((77,), 0.5)
    total = loops.cross_entropy(logits.numpy(), targets.numpy(), np.float32(weight), found.numpy(), seen.numpy())
    exact = logits.double().requires_grad_()
    value = F.cross_entropy(exact, targets, ignore_index=-1, reduction="sum")
    (weight * value).backward()
    assert total == pytest.approx(value.item(), rel=1e-6)
    torch.testing.assert_close(found.double(), exact.grad, rtol=1e-5, atol=1e-7)
    assert (found[::7] == 0).all()
    probabilities = logits.double().softmax(1)[targets >= 0].sum(0)
    torch.testing.assert_close(seen.double() - 0.5, probabilities, rtol=1e-5, atol=1e-6)
    again = torch.empty_like(logits)  # without anyone who wants the probabilities
    nobody = np.zeros(0, np.float32)
    assert loops.cross_entropy(logits.numpy(), targets.numpy(), np.float32(weight), again.numpy(), nobody) == total
    assert torch.equal(again, found)


def test_column_sums_and_heads():
    x = draw(1000, 7)
    sums = torch.empty(7)
    loops.column_sums(x.numpy(), sums.numpy())
    torch.testing.assert_close(sums, x.double().sum(0).float(), rtol=1e-5, atol=1e-5)
    flat = draw(2, 5, 3, 4, 6)  # (B, T, P, H, d)
    parts, back = torch.empty(3, 2, 4, 5, 6), torch.empty_like(flat)
    loops.split_heads(flat.numpy(), parts.numpy())
    loops.merge_heads(parts.numpy(), back.numpy())
    assert parts.equal(flat.permute(2, 0, 3, 1, 4))
    assert back.equal(flat)
