"""The optimizer that rounds stochastically or compensates, against the same steps in float64 and plain Python."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from blackholes.config.experiments import Experiment
from blackholes.kernels import bf16
from blackholes.training import cpu, model, rounded
from blackholes.training.optimizer import Optimizer
from blackholes.training.settings import Model, Rounding
from test_drawn_rounding import between, threefry

SHAPE = Model(vocabulary_size=20, context=12, width=10, layers=1, heads=2)  # 10: elements between parameters
ADAMW = replace(Experiment(betas=(0.8, 0.95), epsilon=1e-6).run_settings(1), model=SHAPE)
SGD = replace(Experiment(optimizer="sgd", momentum=0.9).run_settings(1), model=SHAPE)
PLAIN = replace(SGD, momentum=0.0)
OPTIMIZERS = pytest.mark.parametrize("settings", [ADAMW, SGD, PLAIN], ids=["adamw", "momentum", "sgd"])
DECAYS = (0.1, 0.0)
ARMS = {
    "weights": {"rounding": Rounding(weights="stochastic")},
    "state": {"rounding": Rounding(state="stochastic")},
    "both": {"rounding": Rounding("stochastic", "stochastic")},
    "kahan": {"compensation": "kahan"},
    "kahan, state": {"compensation": "kahan", "rounding": Rounding(state="stochastic")},
}
SIZES = [places.shape[1] for places in rounded.places(SHAPE)]


def flats(seed, runs=None, scale=1.0):
    random = torch.Generator().manual_seed(seed)
    leading = () if runs is None else (runs,)
    return [(scale * torch.randn(*leading, size, generator=random)).bfloat16() for size in SIZES]


def step(optimizer, parameters, seed, rate=1e-2, kind=float):
    for parameter, gradient in zip(parameters, flats(seed), strict=True):
        parameter.grad = gradient.expand(parameter.shape).clone()
    optimizer.update(kind(rate))


def test_places_are_those_of_the_engines_buffers():
    """Each parameter, filled with its elements' numbers, gives the buffers that the compiled engine lays out."""
    names = list(model.shapes(SHAPE))
    counted = {name: torch.arange(math.prod(size)).view(size) for name, size in model.shapes(SHAPE).items()}
    laid_out = cpu.Parameters(counted, torch.float32)
    numbered = cpu.Parameters(
        {name: torch.full_like(v, names.index(name)) for name, v in counted.items()}, torch.float32
    )
    used = cpu.Parameters({name: torch.ones_like(v) for name, v in counted.items()}, torch.float32)
    for kind, (coordinates, parameters) in enumerate(rounded.places(SHAPE)):
        there = used.flat[kind] == 1
        assert not there.all()
        assert coordinates[there].equal(laid_out.flat[kind][there].int())
        assert parameters[there].equal(numbered.flat[kind][there].int())


@OPTIMIZERS
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_rounded_to_nearest_a_step_is_the_optimizers(settings, kind):
    ours, theirs = flats(0), flats(0)
    one, other = rounded.RoundedOptimizer([settings], ours, DECAYS), Optimizer(settings, theirs, DECAYS)
    assert isinstance(rounded.optimizer([settings], theirs, DECAYS), Optimizer)
    equal = []
    for seed in range(20):
        pairs = [*zip(theirs, ours, strict=True), *((other.state[name], own) for name, own in one.state.items())]
        for each, copied in pairs:
            each.copy_(copied)
        step(one, ours, seed, kind=kind)
        step(other, theirs, seed, kind=kind)
        equal += [(a == b).double().mean() for a, b in pairs]
    assert one.state.keys() == other.state.keys()
    assert min(equal) >= (0.99 if settings is SGD else 1)  # SGD's fused kernel has the sums in another order


def exact_step(settings, weight, gradient, state, number, rate, decay):
    """(the change of the weight, the state after it) of one coordinate, in Python's floats, from the formulas."""
    if settings.optimizer == "adamw":
        (b1, b2), (m, v) = settings.betas, state
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        corrected = (m / (1 - b1**number)) / (math.sqrt(v / (1 - b2**number)) + settings.epsilon)
        return -rate * corrected - rate * decay * weight, (m, v)
    total = gradient + decay * weight + sum(settings.momentum * m for m in state)
    return -rate * total, (total,) * len(state)


def odd(value):
    """Whether the bfloat16 value next to it towards 0 is not even, so that a tie goes to the other."""
    return int(np.float32(value).view(np.uint32)) >> 16 & 1


@OPTIMIZERS
@pytest.mark.parametrize("arm", ARMS)
def test_steps_by_the_formulas_and_the_drawn_bits(settings, arm):
    """Each stored value is what the exact one becomes by its bits; only where float32's own rounding decides is it not.

    Of 50 coordinates of each buffer at 6 steps, each from the stored state.
    """
    settings = replace(settings, seed=2**31 + 5, **ARMS[arm])
    ours = flats(0)
    optimizer = rounded.optimizer([settings], ours, DECAYS)
    places = rounded.places(SHAPE)
    names = {"adamw": ["first", "second"], "sgd": ["momentum"] if settings.momentum else []}[settings.optimizer]
    chosen = np.random.default_rng(0).choice(min(SIZES), 50, replace=False).tolist()
    right = total = 0
    for number in range(1, 7):
        before = [flat.clone() for flat in ours]
        states = {name: value.clone() for name, value in optimizer.state.items()}
        gradients = flats(number)
        step(optimizer, ours, number)
        for i, decay in enumerate(DECAYS):
            for at in chosen:
                weight = before[i][at].item()
                state = [states[f"{name}.{i}"][at].item() for name in names]
                change, state = exact_step(settings, weight, gradients[i][at].item(), state, number, 1e-2, decay)
                first, second = threefry([int(n) for n in places[i][:, at]], (settings.seed, number))
                kinds = [settings.rounding.weights, *[settings.rounding.state] * 2]
                drawn = zip(kinds, (first & 0xFFFF, first >> 16, second & 0xFFFF), strict=True)
                bits = [own if kind == "stochastic" else None for kind, own in drawn]
                if settings.compensation == "kahan":
                    change += states[f"compensation.{i}"][at].item()
                values = [weight + change, *state]
                found = [ours[i][at], *(optimizer.state[f"{name}.{i}"][at] for name in names)]
                for value, own, result in zip(values, bits, found, strict=False):
                    towards, away, share = between(value)
                    up = share * 65536 > own if own is not None else (share, odd(value)) > (Fraction(1, 2), 0)
                    right += result.item() == float(away if up else towards)
                    total += 1
                    apart = abs(result.item() - value)
                    assert apart <= abs(float(away - towards)) + 1e-6 * (abs(weight) + abs(change) + 1e-3)
                if settings.compensation == "kahan":
                    left = weight + change - ours[i][at].item()
                    kept = optimizer.state[f"compensation.{i}"][at].item()
                    assert kept == pytest.approx(left, rel=2**-8, abs=2**-22 * abs(weight))
    assert right >= 0.995 * total
    assert not ours[0].equal(flats(0)[0])


@pytest.mark.parametrize("arm", ARMS)
def test_it_goes_on_where_it_was(arm):
    settings = replace(ADAMW, **ARMS[arm])
    ours, others = flats(0), flats(0)
    one, other = (rounded.optimizer([settings], each, DECAYS) for each in (ours, others))
    for seed in range(6):
        step(one, ours, seed)
        if seed == 2:  # the other takes over what the first has become
            for parameter, value in zip(others, ours, strict=True):
                parameter.copy_(value)
            for name, value in other.state.items():
                value.copy_(one.state[name])
        elif seed > 2:
            step(other, others, seed)
    assert all(a.equal(b) for a, b in zip(ours, others, strict=True))
    assert all(value.equal(other.state[name]) for name, value in one.state.items())


@pytest.mark.parametrize("arm", ARMS)
def test_runs_that_are_stacked_get_the_bits_they_get_alone(arm):
    settings = [replace(ADAMW, seed=seed, **ARMS[arm]) for seed in (43, 44, 45)]
    together = flats(0, runs=3)
    stacked = rounded.optimizer(settings, together, DECAYS)
    alone = [[flat[k].clone() for flat in together] for k in range(3)]
    optimizers = [rounded.optimizer([own], each, DECAYS) for own, each in zip(settings, alone, strict=True)]
    for seed in range(4):
        step(stacked, together, seed)
        for optimizer, each in zip(optimizers, alone, strict=True):
            step(optimizer, each, seed)
    for k, each in enumerate(alone):
        assert all(flat[k].equal(own) for flat, own in zip(together, each, strict=True))


def test_seeds_and_steps_draw_other_bits():
    settings = [replace(ADAMW, seed=seed, **ARMS["both"]) for seed in (43, 44)]
    together = [torch.ones(2, size).bfloat16() for size in SIZES]
    optimizer = rounded.optimizer(settings, together, DECAYS)
    moved = []
    for _ in range(2):
        before = together[0].clone()
        for parameter in together:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.update(1e-2)  # decay alone: 1e-3 of a value, a quarter of a cell
        moved.append(bf16.ordinal(before) != bf16.ordinal(together[0]))
    assert all(0.1 < each.double().mean() < 0.5 for run in moved for each in run)
    assert not moved[0][0].equal(moved[0][1])
    assert not moved[0][0].equal(moved[1][0])


def test_small_updates_add_up_with_compensation_and_in_the_mean_with_stochastic_rounding():
    """100 steps of 3e-4, of which a weight near 1 takes up none when it is rounded to nearest."""
    kinds = {"nearest": {}, "weights": ARMS["weights"], "kahan": ARMS["kahan"]}
    moves = {}
    for name, arm in kinds.items():
        ours = [torch.full((size,), 1.0).bfloat16() for size in SIZES]
        optimizer = rounded.optimizer([replace(PLAIN, **arm)], ours, (0.0, 0.0))
        for _ in range(100):
            for parameter in ours:
                parameter.grad = torch.ones_like(parameter)
            optimizer.update(3e-4)
        moves[name] = 1 - ours[0].double()
    assert moves["nearest"].unique().tolist() == [0]
    assert len(moves["kahan"].unique()) == 1
    assert moves["kahan"][0].item() == pytest.approx(0.03, abs=2**-8)
    assert len(moves["weights"].unique()) > 3
    assert moves["weights"].mean().item() == pytest.approx(0.03, abs=0.002)
