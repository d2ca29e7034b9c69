"""Tokens of a trial: what they depend on, and that leaving out what cannot move changes no distribution."""

import hashlib
import math
import struct

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import backends, snowball
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp, kstest, norm

LEVEL = 1e-4  # of each of 20 tests with fixed seeds


def centroid(D=64, scale=0.003, seed=0):
    return torch.randn(D, generator=torch.Generator().manual_seed(seed)) * scale


# ---- what a trial depends on --------------------------------------------------------------------------------------


def test_a_trial_depends_on_seed_sigma_and_number_alone():
    around, before = centroid(600), torch.get_num_threads()
    expected = {k: snowball.sample(around, 0.01, 700, 42, k) for k in (0, 1, 2)}  # large enough for several threads
    try:
        for threads in (3, 1):
            torch.set_num_threads(threads)
            for k in (2, 0, 1):
                assert torch.equal(snowball.sample(around, 0.01, 700, 42, k), expected[k])
    finally:
        torch.set_num_threads(before)
    others = [(0.01, 42, 1), (0.01, 43, 0), (0.010001, 42, 0)]
    for sigma, seed, trial in others:
        assert not torch.equal(snowball.sample(around, sigma, 700, seed, trial), expected[0])


def test_more_tokens_begin_with_the_same():
    around = centroid()
    many = snowball.sample(around, 1.0, 900, 1, 0)
    for n in (1, 255, 256, 257, 600):
        assert torch.equal(snowball.sample(around, 1.0, n, 1, 0), many[:n])


def test_the_formula():
    """Drawn again here: a Philox stream for a block of tokens, float32 noise, one float32 sum, one rounding."""
    around, sigma = centroid(1200), 0.002
    key = int.from_bytes(hashlib.sha256(struct.pack("<qdq", 7, sigma, 5)).digest()[:16], "little")
    found = snowball.sample(around, sigma, 300, 7, 5, every=True)
    for block, tokens in enumerate((218, 82)):  # 2**18 numbers in a stream
        random = np.random.Generator(np.random.Philox(key=key, counter=block << 192))
        noise = random.standard_normal((tokens, 1200), np.float32) * np.float32(sigma)
        expected = torch.from_numpy(around.numpy() + noise).bfloat16()
        assert torch.equal(found[218 * block : 218 * block + tokens], expected)
    with backends.torch_only():
        assert torch.equal(snowball.sample(around, sigma, 300, 7, 5, every=True), found)


def test_sigma_0_of_either_sign_is_the_centroid_from_one_stream(monkeypatch):
    """Its noise is 0, whichever stream it comes from, so what is watched is the stream."""
    around, keys, philox = centroid(), [], np.random.Philox
    monkeypatch.setattr(np.random, "Philox", lambda key, **more: keys.append(key) or philox(key=key, **more))
    for sigma in (0.0, -0.0):
        assert torch.equal(snowball.sample(around, sigma, 9, 7, 5, every=True), around.bfloat16().expand(9, -1))
    assert keys == [int.from_bytes(hashlib.sha256(struct.pack("<qdq", 7, 0.0, 5)).digest()[:16], "little")] * 2


def test_the_noise_is_normal():
    values = snowball.sample(torch.zeros(50), 2.0, 2000, 3, 0, every=True).float().flatten().numpy()
    spread = np.random.default_rng(0).uniform(-0.5, 0.5, len(values)) * 2.0**-8 * np.abs(values)  # what rounding took
    assert kstest((values + spread)[::7], "norm", (0, 2)).pvalue > 0.01
    assert abs(values.mean()) < 4 * 2 / math.sqrt(len(values))
    assert values.std() == pytest.approx(2, rel=4 / math.sqrt(2 * len(values)))


# ---- dimensions that cannot move ----------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    st.floats(-4, 4, width=32).filter(lambda c: c == 0 or abs(c) > 1e-30),
    st.floats(-12, 1).map(lambda e: 10.0**e),
    st.integers(0, 2**32),
)
def test_what_is_left_out_cannot_move(value, sigma, seed):
    around = torch.tensor([value], dtype=torch.float32)
    ends = torch.tensor([-snowball.REACH, snowball.REACH])
    rounded = lambda z: (around + z * np.float32(sigma)).bfloat16()  # noqa: E731
    moves = bool(snowball.movable(around, sigma)[0])
    assert moves == bool(rounded(ends)[0] != rounded(ends)[1])
    inside = torch.from_numpy(np.random.default_rng(seed).uniform(-9.5, 9.5, 1000).astype(np.float32))
    if not moves:
        assert len(rounded(inside).unique()) == 1


def test_the_reach_covers_the_generator_and_the_distribution():
    assert 2 * norm.sf(snowball.REACH) < 2**-60
    # the tail of numpy's float32 ziggurat begins at 3.65 and is the logarithm of a number of 24 bits: at most 8.21
    assert 3.6541528853610088 + 0.27366123732975828 * 24 * math.log(2) < snowball.REACH


@pytest.mark.parametrize("boundary", [0.5, 2.9, 3.1, 3.7])
def test_how_often_a_dimension_moves(boundary):
    """A coordinate that is 0 or 1 cells away from the middle of two values: how many tokens round to which."""
    tokens, spacing = 2_000_000, 2.0**-8
    sigma = spacing / 2 / boundary  # one boundary on each side, and further ones three and five times as far
    rounded = snowball.sample(torch.tensor([0.75, 1e9]), sigma, tokens, 5, 0)
    assert rounded.shape == (tokens, 1)
    assert bool(snowball.movable(torch.tensor([0.75]), sigma, snowball.NEAR)) == (boundary < snowball.NEAR)
    cells = ((rounded.double()[:, 0] - 0.75) / spacing).long()
    edges = boundary * np.array([-np.inf, -3, -1, 1, 3, np.inf])
    expected = tokens * np.diff(norm.cdf(edges))
    found = np.array(
        [(cells < -1).sum(), (cells == -1).sum(), (cells == 0).sum(), (cells == 1).sum(), (cells > 1).sum()]
    )
    some = expected > 5
    assert chisquare(found[some], expected[some] * found[some].sum() / expected[some].sum()).pvalue > 1e-3
    assert found[~some].sum() <= 5


def test_which_dimensions_move_depends_on_the_distance_to_a_boundary():
    spacing = 2.0**-8  # at 0.75; boundaries lie half of it away from bfloat16's values
    at = torch.tensor([0.75, 0.75 + 0.49 * spacing, 0.75 + 0.5 * spacing, 0.0, 1e-6])
    reach = lambda share: share * spacing / snowball.REACH  # noqa: E731
    assert snowball.movable(at, 0.0).tolist() == [False] * 5
    assert snowball.movable(at, reach(0.005)).tolist() == [False, False, True, True, True]
    assert snowball.movable(at, reach(0.02)).tolist() == [False, True, True, True, True]
    assert snowball.movable(at, reach(0.6)).tolist() == [True] * 5


def test_at_least_one_dimension_is_kept():
    tokens = snowball.sample(torch.tensor([0.75, 0.5]), 0.0, 9, 0, 0)
    assert tokens.shape == (9, 1)
    assert snowball.trial_statistics(tokens, 1.0, 2.0)["n_unique"] == 1
    assert snowball.sample(centroid(30), 1.0, 9, 0, 0).shape == (9, 30)


def test_few_of_qwens_dimensions_move_at_a_small_sigma():
    around = centroid(2560, 0.166061 / math.sqrt(2560))
    assert 0 < int(snowball.movable(around, 1.5e-9).sum()) < 60
    assert int(snowball.movable(around, 3.281911e-3).sum()) == 2560


# ---- the same distribution ----------------------------------------------------------------------------------------

SIGMAS = [1e-8, 3e-8, 1e-6]  # few, some, many of the dimensions move; one, some, all vectors are distinct
N, TRIALS = 24, 200


def trials(sigma, seed, **options):
    """(TRIALS, 20) statistics around a point of which some dimensions lie close to a boundary."""
    around = centroid(160, seed=4)
    epsilon = 2.0**-16
    return np.array(
        [
            [
                *snowball.trial_statistics(
                    snowball.sample(around, sigma, N, seed, k, **options), epsilon, 2 * epsilon
                ).values()
            ]
            for k in range(TRIALS)
        ]
    )


@pytest.fixture(scope="module")
def naive():
    return {sigma: trials(sigma, seed=1, every=True) for sigma in SIGMAS}


def smallest_p(one, other):
    """Of two-sample tests of every statistic (they are conservative where values repeat)."""
    return min(ks_2samp(a, b, method="asymp").pvalue for a, b in zip(one.T, other.T, strict=True))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_every_statistic_has_the_distribution_of_the_naive_way(sigma, naive):
    found = trials(sigma, seed=2)
    assert smallest_p(found, naive[sigma]) > LEVEL
    assert not np.array_equal(found, naive[sigma])


def test_the_cases_differ(naive):
    """They are not all of one vector, or all of distinct ones."""
    unique = [naive[sigma][:, snowball.STATISTICS.index("n_unique")].mean() for sigma in SIGMAS]
    assert 2 < unique[0] < 8 < unique[1] < 23.5
    movable = [int(snowball.movable(centroid(160, seed=4), sigma).sum()) for sigma in SIGMAS]
    assert 0 < movable[0] < movable[1] < movable[2] < 160


def test_a_wrong_sampler_is_told_apart(naive, monkeypatch):
    assert smallest_p(trials(1.4 * SIGMAS[0], seed=2), naive[SIGMAS[0]]) < LEVEL / 100
    movable = snowball.movable
    monkeypatch.setattr(snowball, "movable", lambda c, s, reach=1.0: movable(c, s, min(reach, 1.0)))
    assert smallest_p(trials(SIGMAS[0], seed=2), naive[SIGMAS[0]]) < LEVEL / 100  # what moves now and then is left out
    assert smallest_p(trials(SIGMAS[1], seed=2), naive[SIGMAS[1]]) < LEVEL / 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.tensor([1.0, float("inf")]), 1.0, 3, 0, 0), "centroid: finite numbers"),
        ((torch.zeros(0), 1.0, 3, 0, 0), "centroid: finite numbers"),
        ((torch.ones(2), -1.0, 3, 0, 0), "sigma is -1.0, where a finite number from 0 up is expected"),
        ((torch.ones(2), float("nan"), 3, 0, 0), "sigma is nan"),
        ((torch.ones(2), 1.0, 0, 0, 0), "n_tokens is 0, where"),
    ],
)
def test_bad_input(arguments, message, bad_input):
    with pytest.raises(UserError, match=message):
        snowball.sample(*arguments)
