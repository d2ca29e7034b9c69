"""Recorded forces: against autograd and torch.optim step by step, the law of the next weights, a run's bytes."""

import math
from dataclasses import replace

import pytest
import torch
from blackholes.kernels import backends, bf16, forces, gpt2
from blackholes.training import forces as recording
from blackholes.training import model, windows
from blackholes.training.cpu import CpuRun
from blackholes.training.schedules import learning_rate
from blackholes.training.stacked import StackedRuns
from stacked_runs import CORPUS, OPTIMIZERS, PRECISIONS, SHAPE, settings_of, start
from stacked_runs import windows as drawn

V, D = SHAPE.vocabulary_size, SHAPE.width
ENGINES = {"compiled": CpuRun, "torch": lambda corpus, settings: StackedRuns(corpus, settings, "cpu")}


pytestmark = pytest.mark.usefixtures("one_thread")


def begin(engine, kind="full", **changes):
    (settings,) = settings_of([1], steps=15, **changes)
    settings = replace(settings, forces=kind)
    return ENGINES[engine](CORPUS, [settings]), settings


def steps_of(runs, settings, n):
    """(the weights, the state before; the weights, the forces after) of each of the first n steps."""
    starts = drawn(n, K=1)
    for i in range(n):
        weights = {name: weight.detach().clone() for name, weight in runs.weights(0).items()}
        state = {name: value.detach().clone() for name, value in runs.state.items()}
        runs.block(starts[i : i + 1], [learning_rate(settings, i + 1)])
        after = runs.weights(0)[model.EMBEDDING].detach().clone()
        yield i, starts[i, 0], weights, state, after, {name: rows[0, 0].clone() for name, rows in runs.recorded.items()}


def oracle(settings, step, starts, weights, state):
    """(gradient, own part, decay's part, update) in float64: autograd, torch's clipping, and a step of torch.optim."""
    chunks = torch.stack([torch.from_numpy(CORPUS[s : s + SHAPE.context + 1]).long() for s in starts.tolist()])
    tokens, targets = windows.split_targets(chunks, settings.target_offset)
    used = {name: weight.bfloat16() if settings.precision == "mixed" else weight for name, weight in weights.items()}
    leaves = {name: weight.double().requires_grad_() for name, weight in used.items()}
    gpt2.loss(leaves, tokens, targets, SHAPE.heads, settings.divisor).backward()
    torch.nn.utils.clip_grad_norm_(leaves.values(), settings.clip)
    gradient, rate = leaves[model.EMBEDDING].grad, learning_rate(settings, step + 1)

    def update(decay):
        parameter = torch.nn.Parameter(weights[model.EMBEDDING].double())
        parameter.grad = gradient.clone()
        mine = {name: value.reshape(-1)[: V * D].view(V, D).double() for name, value in state.items() if value.ndim}
        if settings.optimizer == "adamw":
            options = {"lr": rate, "betas": settings.betas, "eps": settings.epsilon, "weight_decay": decay}
            optimizer = torch.optim.AdamW([parameter], **options)
            kept = {"step": state["count.0"].clone(), "exp_avg": mine["first.0"], "exp_avg_sq": mine["second.0"]}
        else:
            optimizer = torch.optim.SGD([parameter], rate, momentum=settings.momentum, weight_decay=decay)
            kept = {"momentum_buffer": mine["momentum.0"]} if settings.momentum else {}
        optimizer.state[parameter] = kept
        before = parameter.detach().clone()
        optimizer.step()
        return parameter.detach() - before

    own, whole = update(0.0), update(settings.weight_decay)
    return gradient, own, whole - own, whole


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_against_autograd_and_torch_optim(engine, optimizer, precision):
    """In bfloat16 gradients have 8 bits, so parts that follow from them agree to some %; others to float32's digits."""
    optimizer = optimizer | {"learning_rate": optimizer["learning_rate"] / 100}  # so small that coordinates stall
    runs, settings = begin(engine, "summary", precision=precision, target_offset=2, **optimizer)
    stalled, loose = False, 1e-4 if precision == "fp32" else 0.03
    for step, starts, weights, state, after, found in steps_of(runs, settings, 3):
        gradient, own, decay, update = oracle(settings, step, starts, weights, state)
        before = weights[model.EMBEDDING]
        moved = after.double() - before.double()
        spacing = torch.from_numpy(bf16.ulp(before.bfloat16()).numpy()).double()
        if precision != "bf16":  # rounding up to bfloat16 may pass a power of two
            spacing = 2.0 ** (torch.frexp(before.double()).exponent - 8)
        norms = {"gradient": (gradient, loose), "adam": (own, loose), "decay": (decay, 1e-5)}
        norms |= {"intended": (update, loose), "realised": (moved, 1e-5)}
        for name, (expected, bound) in norms.items():
            assert torch.allclose(found[name].double(), expected.norm(dim=1), rtol=bound, atol=1e-9), (name, step)
        for name, part in (("intended_cells", update), ("adam_cells", own), ("decay_cells", decay)):
            cells = (part.abs() / spacing).amax(1)
            apart = (found[name].double() - cells).abs() / cells  # of one coordinate, whose gradient may nearly cancel
            assert apart.median() <= loose, (name, step)
            assert apart.max() <= 10 * loose, (name, step)
        still = ((moved == 0) & (update != 0)).double().mean(1)
        assert torch.equal(found["stalled"], still.float())
        stalled |= found["stalled"].max().item() > 0
    assert stalled == (precision == "bf16")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("offset", [1, 2])
def test_the_models_output_against_its_formula(engine, precision, offset):
    """Softmax and hidden states in float64, by transformers' formula, over the positions that have a target."""
    runs, settings = begin(engine, "summary", precision=precision, target_offset=offset, batch_split=2)
    for _, starts, weights, _, _, found in steps_of(runs, settings, 3):
        chunks = torch.stack([torch.from_numpy(CORPUS[s : s + SHAPE.context + 1]).long() for s in starts.tolist()])
        tokens, targets = windows.split_targets(chunks, offset)
        seen: dict = {}
        double = {name: weight.double()[None] for name, weight in weights.items()}
        gpt2.losses(double, tokens[None], targets[None], SHAPE.heads, seen=seen)
        has = targets.flatten() >= 0
        hidden, probability = seen["hidden"][0, has], seen["logits"][0, has].softmax(-1).mean(0)
        bound = 1e-5 if precision == "fp32" else 0.02
        mean = hidden.mean(0)
        spread = (hidden - mean).square().sum(1).mean().sqrt()
        assert torch.allclose(found["probability"].double(), probability, rtol=bound)
        assert (found["hidden_mean"].double() - mean).norm() <= bound * mean.norm()
        assert found["hidden_spread"].item() == pytest.approx(spread.item(), rel=bound)
        assert found["probability"].sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_law_and_the_same_bytes(engine, optimizer, precision):
    """Every next weight is the prediction, rounded; and it is the one of a run that records nothing."""
    runs, settings = begin(engine, precision=precision, **optimizer)
    plain, _ = begin(engine, "none", precision=precision, **optimizer)
    rule, wrong, sums = recording.rule(settings), 0, 0
    found = list(steps_of(runs, settings, 15))
    for step, _, weights, _, after, row in found:
        before, rate = weights[model.EMBEDDING].float(), learning_rate(settings, step + 1)
        rate = rate if engine == "compiled" else torch.tensor(rate, dtype=torch.float32).item()
        wrong += (forces.predicted(rule, before, row["term_full"], rate).to(after.dtype) != after).sum().item()
        sums += ((before + row["intended_full"]).to(after.dtype) != after).sum().item()
    assert wrong == 0
    assert (sums > 0) == (precision != "bf16")  # w + u in another order: with float32 weights its last bit differs
    for step, _, weights, *_ in steps_of(plain, settings, 15):
        assert all(torch.equal(weight, found[step][2][name]) for name, weight in weights.items())


def test_both_backends_of_the_rows():
    """Norms differ in the order of their sums; cells and stalled shares are equal, for tiny weights and zeros too."""
    random = torch.Generator().manual_seed(0)

    def values(scale):
        return torch.randn(3, 50, 33, generator=random) * scale

    before = values(1) * 10.0 ** torch.randint(-40, 3, (3, 50, 33), generator=random)
    before[torch.rand(before.shape, generator=random) < 0.05] = 0
    own = values(1e-3)
    after = torch.where(values(1) > 0, before, before + own)
    intended = forces.Intended(own, own, torch.where(values(1) > 1, 0, own))
    found = forces.row_forces(before, after, values(1), intended, 1e-3)
    random.manual_seed(1)
    with backends.torch_only():
        other = forces.row_forces(before, after, found_gradient := values(1), intended, 1e-3)
    found = forces.row_forces(before, after, found_gradient, intended, 1e-3)
    assert set(found) == set(forces.ROWS)
    for name in forces.ROWS:
        assert found[name].shape == (3, 50)
        if name in forces.NORMS:
            assert torch.allclose(found[name], other[name], rtol=3e-6), name
        else:
            assert torch.equal(found[name], other[name]), name
    cells = (own.abs().double() / bf16.ulp(before.bfloat16()).double()).amax(-1).float()
    exact = (before == before.bfloat16().float()).all(-1)
    assert torch.equal(found["adam_cells"][exact], cells[exact])


def test_stacked_runs_record_those_that_ask():
    """Of three runs the second and third are recorded, and none's bytes depend on it."""
    settings = settings_of((1, 2, 3), precision="bf16", steps=5)
    some = [settings[0], *(replace(one, forces="summary") for one in settings[1:])]
    runs, plain, starts = StackedRuns(CORPUS, some, "cpu"), start(precision="bf16"), drawn(5)
    rates = [1e-3] * 5
    assert all(torch.equal(a, b) for a, b in zip(runs.block(starts, rates), plain.block(starts, rates), strict=True))
    assert runs.recorded["gradient"].shape == (5, 2, V)
    assert plain.recorded == {}
    for k in (1, 2):
        alone = StackedRuns(CORPUS, [some[k]], "cpu")
        alone.block(starts[:, k : k + 1], rates)
        for name, rows in alone.recorded.items():
            assert torch.allclose(rows[:, 0], runs.recorded[name][:, k - 1], rtol=0.1, atol=1e-3), name
    with pytest.raises(ValueError, match="one kind of forces"):
        StackedRuns(CORPUS, [some[1], replace(settings[0], forces="full")], "cpu")


def test_layout_is_what_is_recorded():
    for kind, precision in (("summary", "bf16"), ("full", "bf16"), ("full", "mixed")):
        runs, settings = begin("compiled", kind, precision=precision)
        runs.block(drawn(3, K=1), [1e-3] * 3)
        shapes = {name: shape for name, (_, shape) in recording.layout(settings, kind).items()}
        assert ("start" in shapes) == (precision == "mixed")
        shapes.pop("start", None)
        assert {name: (15, *rows.shape[2:]) for name, rows in runs.recorded.items()} == shapes
        size = sum(4 * math.prod(shape[1:]) for shape in shapes.values())
        assert recording.step_bytes(settings, kind) == size
        assert recording.step_bytes(settings, "none") == 0
