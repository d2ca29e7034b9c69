"""Stochastic rounding to bfloat16 with bits of a generator without state, and compensated sums."""

from contextlib import nullcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from blackholes.kernels import backends, rounding
from hypothesis import given
from hypothesis import strategies as st

BACKENDS = {"compiled": nullcontext, "torch": backends.torch_only}
WORD = st.integers(0, 2**32 - 1)
# Random123's own test vectors of threefry2x32 with 20 rounds: counter, key, result
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def threefry(counter, key):
    """The generator in Python's integers, as its paper writes it."""
    low = 2**32 - 1
    keys = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
    x, y = ((c + k) & low for c, k in zip(counter, keys, strict=False))
    for number, by in enumerate([13, 15, 26, 6, 17, 29, 16, 24] * 2 + [13, 15, 26, 6], 1):
        x = (x + y) & low
        y = ((y << by) | (y >> (32 - by))) & low ^ x
        if number % 4 == 0:
            x = (x + keys[number // 4 % 3]) & low
            y = (y + keys[(number // 4 + 1) % 3] + number // 4) & low
    return x, y


def as_places(*counters):
    return torch.from_numpy(np.array(counters, dtype=np.uint32).T.copy().view(np.int32))


def words(places, seeds, step):
    drawn = rounding.draw(places, torch.tensor(seeds), torch.tensor(step))
    return drawn.numpy().view(np.uint32).tolist()  # [word][run][place]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("counter", "key", "result"), KNOWN, ids=["zeros", "ones", "pi"])
def test_the_published_vectors(backend, counter, key, result):
    assert threefry(counter, key) == result
    with BACKENDS[backend]():
        assert words(as_places(counter), [key[0]], key[1]) == [[[result[0]]], [[result[1]]]]


@given(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=40), st.lists(WORD, min_size=1, max_size=3), WORD)
def test_bits_of_a_place(counters, seeds, step):
    expected = [[threefry(counter, (seed, step)) for counter in counters] for seed in seeds]
    for context in BACKENDS.values():
        with context():
            first, second = words(as_places(*counters), seeds, step)
        assert [list(zip(*run, strict=True)) for run in zip(first, second, strict=True)] == expected


def test_bits_are_uniform_and_independent_of_their_neighbours():
    """Means of the 16 bits used and of their products with those of the next coordinate, parameter, step and seed."""
    n = 200_000
    place = torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.int64)]).to(torch.int32)
    other = place + torch.tensor([[0], [1]], dtype=torch.int32)

    def drawn(places, seed, step):
        first, second = rounding.draw(places, torch.tensor([seed]), torch.tensor(step))
        return [(word & 0xFFFF)[0].double() / 65536 - 0.5 for word in (first, first >> 16, second)]

    own = drawn(place, 43, 7)
    neighbours = [
        own[0].roll(1),
        own[0].roll(64),
        drawn(other, 43, 7)[0],
        drawn(place, 43, 8)[0],
        drawn(place, 44, 7)[0],
    ]
    for bits in own:
        assert abs(bits.mean()) < 5 / (12 * n) ** 0.5
        assert abs(bits.square().mean() * 12 - 1) < 0.01
    for bits in [*neighbours, own[1], own[2]]:
        assert abs((own[0] * bits).mean() * 12) < 5 / n**0.5


# Rounding


def stored(values, bits, backend="compiled"):
    values, bits = torch.as_tensor(values, dtype=torch.float32), torch.as_tensor(bits, dtype=torch.int32)
    out = torch.empty(values.shape, dtype=torch.bfloat16)
    with BACKENDS[backend]():
        rounding.store_stochastic(values[None], bits[None], out[None])
    return out


def between(value):
    """(the bfloat16 values next to it towards and away from 0, its place between them), exact."""
    pattern = int(np.float32(value).view(np.uint32))
    ends = [int(pattern >> 16) + up for up in (0, 1)]
    towards, away = (Fraction(float(np.uint32(end << 16).view(np.float32))) for end in ends)
    return towards, away, (Fraction(float(np.float32(value))) - towards) / (away - towards)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [1.003, -0.7512345, 3.3e38, 1e-39, -5e-41, 2.0**-126, 1.5, 0.0, -1e20], ids=str)
def test_every_drawn_number_decides_as_it_should(backend, value):
    """Of all 65,536 numbers, as many round away from 0 as make the mean exact; what lies above them is ignored."""
    numbers = torch.arange(65536, dtype=torch.int32)
    found = stored(torch.full((65536,), value), numbers | (0x7ABC << 16), backend).double()
    towards, away, share = between(value)
    expected = torch.where(numbers < float(share * 65536), float(away), float(towards))
    assert found.equal(expected)
    assert sum(map(Fraction, found.tolist())) / 65536 == Fraction(float(np.float32(value)))


@given(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=50))
def test_backends_agree_on_any_pattern(pairs):
    patterns, bits = (
        torch.from_numpy(np.array(each, dtype=np.uint32).view(np.int32)) for each in zip(*pairs, strict=True)
    )
    values = patterns.view(torch.float32)
    one, other = (stored(values, bits, backend) for backend in BACKENDS)
    known = ~values.isnan()
    assert one[known].view(torch.int16).equal(other[known].view(torch.int16))
    assert one[~known].isnan().all()
    assert other[~known].isnan().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_finite_stays_so(backend):
    values = torch.tensor([torch.inf, -torch.inf, torch.nan, 3.4028235e38])
    low, high = (stored(values, torch.full((4,), bits), backend).float() for bits in (0, 0xFFFF))
    assert low[:2].tolist() == high[:2].tolist() == [torch.inf, -torch.inf]
    assert low[2].isnan()
    assert high[2].isnan()
    assert (low[3], high[3]) == (torch.inf, torch.finfo(torch.bfloat16).max)


def test_a_compensated_sum():
    """Each step: the sum to the nearest value, and of what is left as much as bfloat16 holds, in float64 arithmetic."""
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 500, generator=random).bfloat16()
    start, plain, kept = weights.double(), weights.clone(), torch.zeros_like(weights)
    moved = torch.zeros(2, 500, dtype=torch.float64)
    for _ in range(300):
        update = 1e-4 * torch.randn(2, 500, generator=random)
        pending = kept.float() + update
        before = weights.clone()
        rounding.store_compensated(weights, kept, pending)
        total = before.double() + pending.double()
        assert weights.equal(total.float().bfloat16())
        left = total - weights.double()
        assert (kept.double() - left).abs().le(2**-8 * left.abs() + 2**-24 * before.double().abs()).all()
        moved += update.double()
        plain = (plain.float() + update).bfloat16()
    apart = [
        (each - start - moved).norm() / moved.norm() for each in (weights.double() + kept.double(), plain.double())
    ]
    assert apart[0] < 0.05
    assert apart[1] > 0.5  # a sum that is only rounded
