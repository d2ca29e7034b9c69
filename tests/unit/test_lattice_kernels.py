"""Displacement on the lattice against fractions, on every bfloat16 value; loops, formula and threads bit for bit."""

import math
from contextlib import contextmanager
from fractions import Fraction
from functools import cache

import numba
import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import backends, bf16, lattice
from blackholes.kernels.compiled import lattice as _lattice_loops

EVERY = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
FINITE = EVERY[EVERY.isfinite()]
LARGEST = 3.3895313892515355e38
SHAPES = [(2, 1, 1), (3, 2, 7), (2, 3, 8), (4, 17, 65), (3, 129, 9), (6, 16, 64), (2, 3, 5000)]
INTEGERS = [torch.int8, torch.int16, torch.int32, torch.int64]


# --- oracles: integers and fractions


@cache
def exact(pattern: int) -> Fraction:
    """Value of a bfloat16 bit pattern, from the definition of the format."""
    exponent, mantissa = pattern >> 7 & 0xFF, pattern & 0x7F
    magnitude = (
        Fraction(mantissa, 2**133) if exponent == 0 else Fraction(128 + mantissa) * Fraction(2) ** (exponent - 134)
    )
    return -magnitude if pattern >> 15 else magnitude


def spacing(pattern: int) -> Fraction:
    value = abs(exact(pattern))
    return Fraction(1, 2**126) if value == 0 else exact((pattern & 0x7F80) + 1) - exact(pattern & 0x7F80)


@cache
def as_float32(value: Fraction) -> float:
    """The nearest float32, ties to even: in whole numbers of the spacing there."""
    if value == 0:
        return 0.0
    exponent = max(math.floor(math.log2(abs(value))) - 23, -149)
    while abs(value) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    while exponent > -149 and abs(value) < Fraction(2) ** (exponent + 23):
        exponent -= 1
    rounded = round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent  # Python rounds half to even
    return math.copysign(math.inf, value) if abs(rounded) >= 2**128 else float(rounded)


def displaced(before: int, after: int) -> float:
    """ΔW′ of two bit patterns."""
    difference = as_float32(exact(after) - exact(before))
    return difference if math.isinf(difference) else as_float32(Fraction(difference) / spacing(before))


@cache
def places() -> dict[int, int]:
    """Bit pattern → its place among all finite values in ascending order; both zeros share one."""
    finite = [pattern for pattern in range(2**16) if pattern & 0x7F80 != 0x7F80]
    order = {value: place for place, value in enumerate(sorted(set(map(exact, finite))))}
    return {pattern: order[exact(pattern)] for pattern in finite}


def ordinals(before: int, after: int) -> int:
    return places()[after] - places()[before]


def patterns(values: torch.Tensor) -> list[int]:
    return [bits & 0xFFFF for bits in values.view(torch.int16).flatten().tolist()]


def test_the_oracle_rounds_as_float32_does():
    random = np.random.default_rng(0)
    values = random.standard_normal(3000) * 2.0 ** random.integers(-149, 125, 3000)
    assert [as_float32(Fraction(v)) for v in values] == np.float32(values).tolist()
    assert as_float32(Fraction(2**24 + 1)) == 2**24
    assert as_float32(Fraction(2**24 + 3)) == 2**24 + 4
    assert as_float32(Fraction(2) ** 128) == math.inf


# --- displacement


@pytest.mark.parametrize("direction", [1, -1])
def test_one_cell_up_or_down_from_every_value(direction):
    place = bf16.ordinal(FINITE) + direction
    inside = place.abs() <= 0x7F7F
    before, place = FINITE[inside], place[inside]
    after = torch.where(place < 0, place.abs() | 0x8000, place).to(torch.int32).to(torch.int16).view(torch.bfloat16)
    assert len(before) == 2 * 0x7F80 - 1
    found = lattice.displacement(before, after)
    wanted = [displaced(b, a) for b, a in zip(patterns(before), patterns(after), strict=True)]
    assert found.tolist() == wanted
    # one ULP away from zero; half of one where the exponent shrinks; a subnormal is 1/128 of a zero's ULP
    assert set(found.abs().tolist()) == {1.0, 0.5, 2.0**-7}
    assert set(lattice.delta_ordinal(before, after).tolist()) == {direction}
    outwards = (place.abs() > bf16.ordinal(before).abs()) & (before != 0)
    assert (found[outwards].abs() == 1).all()


def test_any_two_values():
    random = torch.Generator().manual_seed(1)
    before, after = (FINITE[torch.randint(len(FINITE), (8000,), generator=random)] for _ in "ab")
    after[::2] = (before[::2].float() * (1 + 0.02 * torch.randn(4000, generator=random))).bfloat16()  # as in training
    after = torch.where(after.isfinite(), after, before)
    wanted = [displaced(b, a) for b, a in zip(patterns(before), patterns(after), strict=True)]
    assert lattice.displacement(before, after).tolist() == wanted
    moved = exact_differ(before, after)
    assert torch.equal(lattice.displacement(before, after) != 0, moved)
    pairs = zip(patterns(before), patterns(after), strict=True)
    assert lattice.delta_ordinal(before, after).tolist() == [ordinals(b, a) for b, a in pairs]
    assert torch.equal(lattice.delta_ordinal(before, after) != 0, moved)


def exact_differ(before, after):
    return torch.tensor([exact(b) != exact(a) for b, a in zip(patterns(before), patterns(after), strict=True)])


@pytest.mark.parametrize(
    ("before", "after", "delta", "cells", "crosses"),
    [
        (1.0, 1.0078125, 1.0, 1, False),
        (1.0, 0.99609375, -0.5, -1, True),  # to the finer lattice below a power of two
        (1.9921875, 2.0, 1.0, 1, True),  # and up again
        (2.0, 1.9921875, -0.5, -1, True),
        (2.0, 0.9921875, -64.5, -130, True),
        (1.0, -1.0, -256.0, -2 * 127 * 128, False),  # a change of sign alone
        (0.0, -0.0, 0.0, 0, False),
        (-0.0, 0.0, 0.0, 0, False),
        (0.0, 1.0, 2.0**126, 127 * 128, True),
        (0.0, 2.0**-133, 2.0**-7, 1, False),
        (2.0**-133, 0.0, -1.0, -1, False),
        (2.0**-126, 2.0**-133, -127.0, -127, True),
        (256.0, 258.0, 1.0, 1, False),  # where nextafter(|x|, |x| + 1) is |x|
        (LARGEST, -LARGEST, -math.inf, -65278, False),  # beyond float32
        (-LARGEST, 0.0, 255.0, 32639, True),
        (0.0, 4.0, math.inf, 129 * 128, True),
        (2.0**-133, 2.0**-5, math.inf, 122 * 128 - 1, True),
        (1.0, 2.0**-30, -128.0, -30 * 128, True),  # the difference is rounded
    ],
)
def test_by_hand(before, after, delta, cells, crosses):
    before, after = (torch.tensor([[[x]]], dtype=torch.bfloat16) for x in (before, after))
    assert lattice.displacement(before, after).item() == delta
    assert lattice.delta_ordinal(before, after).item() == cells
    assert lattice.exponent_crossings(before, after).item() is crosses
    found = lattice.transitions(torch.cat([before, after]))
    assert found.norms[:3].flatten().tolist() == [abs(cells)] * 3
    assert found.norms[5:8].flatten().tolist() == [abs(delta)] * 3
    assert found.crossed.item() == crosses
    assert found.moved.item() == (cells != 0)


def test_exponent_crossings_are_changes_of_the_exponent():
    random = torch.Generator().manual_seed(2)
    before, after = (FINITE[torch.randint(len(FINITE), (5, 4000), generator=random)] for _ in "ab")
    wanted = [b >> 7 & 0xFF != a >> 7 & 0xFF for b, a in zip(patterns(before), patterns(after), strict=True)]
    assert lattice.exponent_crossings(before, after).flatten().tolist() == wanted


# --- transitions


def walk(shape, seed=0, scale=1e-3):
    """As in training: most coordinates move some ULP, some cross 0; zeros of both signs, subnormals, still tokens."""
    random = torch.Generator().manual_seed(seed)
    steps = 0.02 * torch.randn(shape[1:], generator=random) + (scale * torch.randn(shape, generator=random)).cumsum(0)
    history = steps.bfloat16()
    history[:, ::3] = history[:1, ::3]
    special = torch.tensor([0.0, -0.0, 2.0**-133, -(2.0**-130), 1e38], dtype=torch.bfloat16)
    where = torch.rand(shape, generator=random) < 0.03
    history[where] = special[torch.randint(5, (int(where.sum()),), generator=random)]
    return history


def any_bits(shape, seed=0):
    return FINITE[torch.randint(len(FINITE), shape, generator=torch.Generator().manual_seed(seed))]


def outputs(shape, dtype):
    return [torch.empty((shape[0] - 1, *shape[1:]), dtype=t) for t in (dtype, torch.bool, torch.bfloat16, dtype)]


def tensors(found, filled=()):
    """Everything as integers: unlike floats, they tell -0 from 0."""
    floats = [found.norms, found.extremes]
    bits = [t.view(torch.int16) if t.dtype == torch.bfloat16 else t for t in filled]
    return [*(t.view(torch.int32) for t in floats), found.crossed, found.moved, found.counts, *bits]


def same(a, b):
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_comparator():
    found = lattice.transitions(walk((3, 4, 5)))
    other = lattice.transitions(walk((3, 4, 5)))
    assert same(tensors(found), tensors(other))
    other.extremes[0, 0] = -other.extremes[0, 0]
    assert not same(tensors(found), tensors(other))


@contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("make", [walk, any_bits])
@pytest.mark.parametrize("shape", SHAPES)
def test_loops_and_formula_are_equal_to_the_bit(shape, make):
    snapshots = make(shape)
    for dtype in INTEGERS:
        found = []
        for context in (backends.torch_only(), threads(1), threads(3)):
            filled = outputs(shape, dtype)
            with context:
                found.append(tensors(lattice.transitions(snapshots, *filled), filled))
        assert same(found[0], found[1])
        assert same(found[0], found[2])


@pytest.mark.parametrize("make", [walk, any_bits])
def test_pieces_and_blocks_change_no_bit(make, monkeypatch):
    snapshots = make((14, 70, 9))
    filled = outputs(snapshots.shape, torch.int16)
    whole = tensors(lattice.transitions(snapshots, *filled), filled)
    for cut in (1, 5, 13):
        pieces = [slice(a, min(a + cut, 13)) for a in range(0, 13, cut)]
        again = outputs(snapshots.shape, torch.int16)
        found = [lattice.transitions(snapshots[p.start : p.stop + 1], *(o[p] for o in again)) for p in pieces]
        joined = lattice.Transitions(
            torch.cat([f.norms for f in found], 1),
            *(torch.cat([getattr(f, name) for f in found]) for name in ("crossed", "moved", "counts", "extremes")),
        )
        assert same(tensors(joined, again), whole)
    monkeypatch.setattr(backends, "block_length", lambda *_: 1)
    with backends.torch_only():
        assert same(tensors(lattice.transitions(snapshots)), whole[:5])


@pytest.mark.parametrize("make", [walk, any_bits])
def test_transitions_against_the_definitions(make):
    shape = (4, 11, 13)
    snapshots, filled = make(shape, seed=5), outputs(shape, torch.int64)
    found = lattice.transitions(snapshots, *filled)
    bits = np.array(patterns(snapshots)).reshape(shape)
    for s in range(shape[0] - 1):
        counts, every, held, ulps, steps = dict.fromkeys(lattice.COUNTS, 0), [], [], [], []
        for v in range(shape[1]):
            pairs = list(zip(bits[s, v].tolist(), bits[s + 1, v].tolist(), strict=True))
            deltas = [displaced(b, a) for b, a in pairs]
            cells = [ordinals(b, a) for b, a in pairs]
            moved = [as_float32(exact(a) - exact(b)) for b, a in pairs]
            least = max(abs(exact(b)) for b, _ in pairs) / 256
            large = [n for n, (b, a) in zip(cells, pairs, strict=True) if min(abs(exact(b)), abs(exact(a))) >= least]
            norms = {
                "L1": sum(map(abs, cells)),
                "L2": math.hypot(*cells),
                "Linf": max(map(abs, cells)),
                "L2_without_tiny": math.hypot(*large),
                "Linf_without_tiny": max(map(abs, large), default=0),
                "L1_delta_W_prime": math.fsum(map(abs, deltas)),
                "L2_delta_W_prime": math.hypot(*deltas),
                "Linf_delta_W_prime": max(map(abs, deltas)),
                "L2_delta_W": math.hypot(*moved),
            }
            assert tuple(norms) == lattice.NORMS
            with np.errstate(over="ignore"):
                np.testing.assert_allclose(found.norms[:, s, v], np.float32(list(norms.values())), rtol=1.2e-7)
            assert found.crossed[s, v] == sum(b >> 7 & 0xFF != a >> 7 & 0xFF for b, a in pairs)
            assert found.moved[s, v] == sum(exact(b) != exact(a) for b, a in pairs)
            counts["crossings"] += int(found.crossed[s, v])
            counts["moved"] += int(found.moved[s, v])
            every += deltas
            steps += cells
            for (b, a), delta, n, d in zip(pairs, deltas, cells, range(shape[2]), strict=True):
                whole = 0 if math.isinf(delta) else round(Fraction(delta))
                fraction = 0 if math.isinf(delta) else abs(Fraction(delta) - whole)
                counts["sign_changes"] += exact(b) * exact(a) < 0
                counts["zeros"] += exact(b) == 0
                counts["non_integer"] += fraction != 0
                counts["almost_integer"] += 0 < fraction < Fraction(1e-6)
                counts["half"] += fraction == Fraction(1, 2)
                counts["rounded_to_0"] += whole == 0 and delta != 0 and not math.isinf(delta)
                counts["beyond_float"] += abs(delta) > 2**24
                counts["beyond_int"] += abs(delta) >= 2**63
                for name, dtype in (("int8", torch.int8), ("int16", torch.int16), ("int32", torch.int32)):
                    type_ = torch.iinfo(dtype)
                    counts[f"fit_{name}"] += not math.isinf(delta) and type_.min <= whole <= type_.max
                    if name != "int32":
                        counts[f"ordinal_fit_{name}"] += type_.min <= n <= type_.max
                ulps.append(spacing(b))
                if abs(delta) < 2**63:
                    held.append(whole)
                    assert filled[0][s, v, d] == whole
                else:
                    assert filled[0][s, v, d] == -(2**63)
                assert Fraction(filled[2][s, v, d].item()) == spacing(b)
                assert filled[1][s, v, d] == (b >> 7 & 0xFF != a >> 7 & 0xFF)
                assert filled[3][s, v, d] == n
        assert dict(zip(lattice.COUNTS, found.counts[s].tolist(), strict=True)) == counts
        limits = {"": every, "_held": held or [0], "_ulp": [float(u) for u in ulps], "_ordinal": steps}
        if counts["beyond_int"]:  # they count as 0
            limits["_held"] = [0, *held]
        wanted = {
            f"{end}{kind}": {"min": min, "max": max}[end](values)
            for kind, values in limits.items()
            for end in ("min", "max")
        }
        assert dict(zip(lattice.EXTREMES, found.extremes[s].tolist(), strict=True)) == wanted


def test_fractions_are_rounded_half_to_even():
    before = torch.tensor([1.0] * 4 + [2.0] * 3, dtype=torch.bfloat16)
    after = torch.tensor([0.99609375, 0.98828125, 0.98046875, 0.998046875, 1.98046875, 1.99, 2.0], dtype=torch.bfloat16)
    delta = lattice.displacement(before, after)
    assert delta[:3].tolist() == [-0.5, -1.5, -2.5]
    for context in (backends.torch_only(), threads(1)):
        stored = torch.empty((1, 1, 7), dtype=torch.int8)
        with context:
            lattice.transitions(torch.stack([before, after])[:, None], stored)
        assert stored.flatten().tolist() == [0, -2, -2, *(round(x) for x in delta[3:].tolist())]


def test_values_beyond_a_type():
    snapshots = torch.tensor([[1.0, 1.0, 1.0, 0.0, 1.0], [3.0, -1.0, 2.0, 1.0, 0.0]], dtype=torch.bfloat16)[:, None]
    for context in (backends.torch_only(), threads(1)):
        stored = torch.empty((1, 1, 5), dtype=torch.int8)
        with context:
            found = lattice.transitions(snapshots, stored)
        assert stored.flatten().tolist() == [127, -128, 127, -128, -128]
        assert found.extremes[0, :4].tolist() == [-256, 2.0**126, -256, 256]


def test_ordinals_beyond_a_type():
    """From 1 by 127, 128 and 129 cells, and over 0: clamped to the type, where `extremes` say that it is too narrow."""
    cells = torch.tensor([127, 128, 129, -128, -129], dtype=torch.int32)
    after = (cells + bf16.ordinal(torch.ones(5, dtype=torch.bfloat16))).to(torch.int16).view(torch.bfloat16)
    snapshots = torch.stack([torch.ones_like(after), after])[:, None]
    snapshots = torch.cat([snapshots, torch.tensor([[[2.0], [-2.0]]], dtype=torch.bfloat16).mT.reshape(2, 1, 1)], 2)
    for backend in (backends.torch_only, lambda: threads(1)):
        for dtype in (torch.int8, torch.int16, torch.int32):
            stored, limits = torch.empty((1, 1, 6), dtype=dtype), torch.iinfo(dtype)
            with backend():
                found = lattice.transitions(snapshots, ordinals=stored)
            assert stored.flatten().tolist() == [max(min(n, limits.max), limits.min) for n in [*cells.tolist(), -32768]]
            assert found.extremes[0, 6:].tolist() == [-32768, 129]
            counts = dict(zip(lattice.COUNTS, found.counts[0].tolist(), strict=True))
            assert (counts["ordinal_fit_int8"], counts["ordinal_fit_int16"]) == (2, 6)


def test_tiny_coordinates():
    """2⁻⁸ of the largest is not tiny, the value below it is, before or after the step; the largest is that before."""
    part = torch.tensor(2.0**-8).bfloat16()
    below = (part.view(torch.int16) - 1).view(torch.bfloat16)
    for scale in (1.0, *(2.0**-n for n in range(116, 131))):  # down to where the limit is subnormal
        rows = [(1.0, 1.0), (part, 2 * part), (below, 2 * part), (2 * part, -below), (part, -part), (0.0, 8.0)]
        snapshots = torch.tensor(rows, dtype=torch.float64).T[:, None] * scale
        snapshots = snapshots.bfloat16()
        before, after = ([exact(p) for p in patterns(snapshots[t])] for t in (0, 1))
        large = [min(abs(b), abs(a)) * 256 >= before[0] for b, a in zip(before, after, strict=True)]
        cells = [ordinals(*pair) for pair in zip(*(patterns(snapshots[t]) for t in (0, 1)), strict=True)]
        kept = [n for n, is_large in zip(cells, large, strict=True) if is_large]
        assert scale < 1 or large == [True, True, False, False, True, False]
        for context in (backends.torch_only(), threads(1)):
            with context:
                norms = dict(zip(lattice.NORMS, lattice.transitions(snapshots).norms[:, 0, 0].tolist(), strict=True))
            assert norms["Linf_without_tiny"] == max(map(abs, kept))
            assert norms["L2_without_tiny"] == np.float32(math.hypot(*kept))
            assert norms["Linf"] == max(map(abs, cells))


def test_limits_of_exact_integers():
    """From 0, whose ULP is 2**-126, to the limits, and to the bfloat16 values on either side of them."""
    sizes = [2.0**24 * (1 - 2**-8), 2.0**24, 2.0**24 * (1 + 2**-7), 2.0**63 * (1 - 2**-8), 2.0**63]
    for sign in (1, -1):
        after = (sign * torch.tensor(sizes, dtype=torch.float64) * 2.0**-126).bfloat16()
        snapshots = torch.stack([torch.zeros_like(after), after])[:, None]
        assert lattice.displacement(*snapshots).flatten().tolist() == [sign * size for size in sizes]
        for context in (backends.torch_only(), threads(1)):
            with context:
                counts = dict(zip(lattice.COUNTS, lattice.transitions(snapshots).counts[0].tolist(), strict=True))
            assert counts["beyond_float"] == 3  # all from the third on: 2**24 itself is exact
            assert counts["beyond_int"] == 1  # 2**63 is the first that int64 does not hold


def test_outputs_are_optional_and_strides_do_not_matter():
    snapshots = walk((5, 6, 7))
    filled = outputs(snapshots.shape, torch.int32)
    whole = tensors(lattice.transitions(snapshots, *filled))
    assert same(tensors(lattice.transitions(snapshots)), whole)
    assert same(tensors(lattice.transitions(snapshots.transpose(0, 2).contiguous().transpose(0, 2))), whole)
    alone = outputs(snapshots.shape, torch.int32)[1]
    assert same(tensors(lattice.transitions(snapshots, crossings=alone)), whole)
    assert torch.equal(alone, filled[1])


# --- faults of the machine


def broken(difference, exponent):
    return np.float32(0)


def test_a_fault_in_the_loops_is_counted(monkeypatch):
    """The loops, compiled anew with displacements that are all 0: what the lattice notebook saw."""
    snapshots = walk((3, 5, 8))
    good = lattice.transitions(snapshots)
    assert good.counts[:, -3:].sum() == 0
    monkeypatch.setattr(_lattice_loops, "_displaced", numba.njit(broken))
    again = numba.njit(nogil=True, error_model="numpy")
    for name in ("_displace", "transitions"):
        monkeypatch.setattr(_lattice_loops, name, again(getattr(_lattice_loops, name).py_func))
    found = lattice.transitions(snapshots)
    crossings, changes, equal = found.counts[:, -3:].T
    assert torch.equal(crossings, good.counts[:, 0])
    assert changes.sum() == (snapshots[1:] != snapshots[:-1]).sum()
    assert equal.sum() == 0


def test_a_fault_in_the_formula_is_counted(monkeypatch):
    snapshots = walk((3, 5, 8))
    right = lattice.displacement
    monkeypatch.setattr(lattice, "displacement", lambda before, after: right(before, after) + 1)
    with backends.torch_only():
        found = lattice.transitions(snapshots)
    same_bits = snapshots[1:].view(torch.int16) == snapshots[:-1].view(torch.int16)
    assert found.counts[:, -1].sum() == same_bits.sum()


# --- refused


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("step", [0, 2, 3])
@pytest.mark.parametrize("torch_only", [True, False])
def test_non_finite_is_refused(value, step, torch_only):
    snapshots = walk((4, 5, 6))
    snapshots[step, 2, 1] = value
    with backends.torch_only() if torch_only else threads(2):
        with pytest.raises(UserError, match=f"^{value} at step {100 + step}, token 2, dimension 1, where a finite"):
            lattice.transitions(snapshots, first_step=100)
        if step:
            with pytest.raises(UserError, match=f"^{value} at step {100 + step - 1}, token 2, dimension 1"):
                lattice.displacement(snapshots[:-1], snapshots[1:], first_step=99)


def test_non_finite_before_is_refused():
    before = torch.tensor([[[1.0, math.nan]]], dtype=torch.bfloat16)
    with pytest.raises(UserError, match="nan at step 7, token 0, dimension 1"):
        lattice.displacement(before, torch.zeros_like(before), first_step=7)


def test_other_dtypes_and_shapes_are_refused(bad_input):
    good = walk((3, 4, 5))
    with pytest.raises(UserError, match=r"float32, where torch\.bfloat16"):
        lattice.transitions(good.float())
    with pytest.raises(UserError, match=r"float32, where torch\.bfloat16"):
        lattice.displacement(good.float(), good)
    with pytest.raises(UserError, match=r"not torch\.bfloat16"):
        lattice.exponent_crossings(good, good.float())
    with pytest.raises(UserError, match="expected equal"):
        lattice.displacement(good, good[:1])
    for shape in ((1, 4, 5), (4, 5), (3, 4, 0)):
        with pytest.raises(UserError, match=r"expected \(s \+ 1, V, D\)"):
            lattice.transitions(torch.zeros(shape, dtype=torch.bfloat16))
    for wrong in (torch.empty((3, 4, 5), dtype=torch.bool), torch.empty((2, 5, 4), dtype=torch.bool).transpose(1, 2)):
        with pytest.raises(UserError, match=r"crossings is no contiguous tensor of shape \(2, 4, 5\)"):
            lattice.transitions(good, crossings=wrong)
