"""The estimate of point and noise: against quadrature, on clouds with known noise, and where nothing can be known."""

import math

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import latent
from scipy import integrate, special


def cloud(N, D, sigma, seed, norm=0.37, dtype=torch.bfloat16):
    """(centre, tokens): noise is added in float64, so that rounding to `dtype` is the only one."""
    random = np.random.default_rng(seed)
    centre = random.standard_normal(D)
    centre *= norm / np.linalg.norm(centre)
    return centre, torch.from_numpy(centre + sigma * random.standard_normal((N, D))).to(dtype)


def slow_likelihood(tokens, sigma):
    """log ∫ Π P(value | μ, σ) dμ, dimension by dimension, on a fine grid."""
    total, ulps = 0.0, torch.nextafter
    for column in tokens.T:
        up, down = ulps(column, torch.full_like(column, math.inf)), ulps(column, torch.full_like(column, -math.inf))
        low, high = (((column.double() + other.double()) / 2).numpy() for other in (down, up))
        grid = np.linspace(low.min() - 9 * sigma, high.max() + 9 * sigma, 100_001)
        logs = np.zeros_like(grid)
        for cell in zip(low, high, strict=True):
            logs += np.log(
                np.maximum(special.ndtr((cell[1] - grid) / sigma) - special.ndtr((cell[0] - grid) / sigma), 1e-280)
            )
        total += math.log(integrate.trapezoid(np.exp(logs - logs.max()), grid)) + logs.max()
    return total


@pytest.mark.parametrize("sigma", [1e-3, 4e-3, 0.02, 0.1])
def test_against_a_grid(sigma):
    """Maximum and interval of the likelihood, written out. Cells are 1/256: noise from a quarter to 26 of them."""
    tokens = torch.from_numpy(np.random.default_rng(3).normal([0.7, -0.6, 0.8, 0.55], sigma, (7, 4))).bfloat16()
    found = latent.fit(tokens)
    assert found.low < found.sigma < found.high
    top, *around = (slow_likelihood(tokens, found.sigma * factor) for factor in (1, 0.97, 1.03))
    assert top >= max(around)
    for end in (found.low, found.high):
        assert top - slow_likelihood(tokens, end) == pytest.approx(latent.DROP, abs=0.01)


@pytest.mark.parametrize("sigma", [1e-9, 5e-9, 1e-7, 1e-6, 1e-5, 1e-3])
def test_known_noise(sigma):
    """300 tokens in 1,000 dimensions, whose cells are from 1e-8 to 1e-4: noise far below them, and far above."""
    inside = 0
    for seed in range(4):
        centre, tokens = cloud(300, 1000, sigma, seed)
        found = latent.fit(tokens)
        varying = int((tokens != tokens[0]).any(0).sum())
        within = float((tokens.double() - tokens.double().mean(0)).square().mean().sqrt())
        print(f"σ {sigma:g}: latent {found.sigma:.3g} [{found.low:.3g}, {found.high:.3g}], within {within:.3g}, "
              f"{varying} dimensions vary")  # fmt: skip
        inside += found.low <= sigma <= found.high
        if varying > 100:
            assert found.sigma == pytest.approx(sigma, rel=0.05)
            errors = [
                np.abs(each - centre).mean() for each in (found.centroid.numpy(), tokens.double().mean(0).numpy())
            ]
            assert errors[0] <= errors[1] * 1.001  # than the mean
    assert inside >= 3  # of four 95 % intervals: fewer in one of 70


def test_noise_below_a_cell_is_not_the_measured_spread():
    _, tokens = cloud(400, 1500, 4e-9, 1)
    within = float((tokens.double() - tokens.double().mean(0)).square().mean().sqrt())
    found = latent.fit(tokens)
    assert within > 10 * 4e-9
    assert found.sigma == pytest.approx(4e-9, rel=0.3)


def test_varying_dimensions_lie_at_their_boundary():
    """90 of 100 tokens have the lower of two values: the centre is 1.28 σ below the boundary; else in the middle."""
    lower, upper = 0.75, 0.75 + 2**-8
    tokens = torch.full((100, 400), 0.625).bfloat16()
    tokens[:90, :4], tokens[90:, :4] = lower, upper
    found = latent.fit(tokens)
    below = ((lower + upper) / 2 - found.centroid[:4]) / found.sigma
    assert np.allclose(below, 1.2816, atol=0.02)
    assert (found.centroid[4:] == 0.625).all()


def test_equal_tokens_have_an_upper_limit_only():
    """The limit is where a likelihood, written out, has fallen by DROP since σ = 0."""
    found = latent.fit(torch.full((34, 64), 0.75).bfloat16())
    assert (found.sigma, found.low) == (0.0, 0.0)
    assert (found.centroid == 0.75).all()
    tokens = torch.full((34, 1), 0.75).bfloat16()
    fall = math.log(2**-8) - slow_likelihood(tokens, found.high)
    assert 64 * fall == pytest.approx(latent.DROP, rel=0.01)
    assert latent.fit(torch.full((34, 640), 0.75).bfloat16()).high < found.high / 5


def test_zeros_are_left_out():
    _, tokens = cloud(50, 100, 1e-6, 2)
    padded = torch.cat([tokens, torch.zeros(50, 7, dtype=torch.bfloat16)], 1)
    one, other = latent.fit(tokens), latent.fit(padded)
    assert other[1:] == pytest.approx(one[1:], rel=1e-9)
    assert (other.centroid[100:] == 0).all()
    assert latent.fit(torch.zeros(3, 4).bfloat16())[1:] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_other_formats_have_their_own_cells(dtype):
    sigma = {torch.float16: 3e-5, torch.float32: 1e-9}[dtype]
    _, tokens = cloud(100, 400, sigma, 5, norm=5, dtype=dtype)
    found = latent.fit(tokens)
    assert 1 < int((tokens != tokens[0]).any(0).sum()) < 400
    assert found.low < sigma < found.high


def test_the_order_of_tokens_does_not_matter_nor_do_threads():
    _, tokens = cloud(60, 200, 1e-6, 6)
    expected, before = latent.fit(tokens), torch.get_num_threads()
    assert latent.fit(tokens.flip(0))[1:] == expected[1:]
    try:
        torch.set_num_threads(1 if before > 1 else 2)
        again = latent.fit(tokens)
    finally:
        torch.set_num_threads(before)
    assert again[1:] == expected[1:]
    assert torch.equal(again.centroid, expected.centroid)
    shuffled = latent.fit(tokens.flip(1))
    assert shuffled[1:] == pytest.approx(expected[1:], rel=1e-6)


def test_pieces_of_dimensions_change_nothing_but_last_bits(monkeypatch):
    _, tokens = cloud(40, 150, 1e-5, 7)
    whole = latent.fit(tokens)
    monkeypatch.setattr(latent, "_AT_ONCE", 300)
    assert latent.fit(tokens)[1:] == pytest.approx(whole[1:], rel=1e-6)


def test_probabilities_far_out_and_of_narrow_cells():
    a = np.array([-40.0, -1.0, 3.0, 39.0, 2.0])
    b = np.array([-39.0, 1.0, 3.0 + 1e-9, 40.0, math.inf])
    found = latent.log_probability(a, b)
    assert found[0] == found[3] == pytest.approx(special.log_ndtr(-39.0), abs=1e-12)
    assert found[1] == pytest.approx(math.log(special.ndtr(1) - special.ndtr(-1)))
    assert found[2] == pytest.approx(-4.5 - 0.5 * math.log(2 * math.pi) + math.log(1e-9), abs=1e-7)
    assert found[4] == pytest.approx(special.log_ndtr(-2.0))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.ones(1, 3).bfloat16(), "two tokens are needed"),
        (torch.ones(4, 3).double(), "vectors are torch.float64"),
        (torch.tensor([[1.0, 2.0], [1.0, math.nan]]), "nan at token 1, dimension 1"),
    ],
)
def test_bad_input(tokens, message, bad_input):
    with pytest.raises(UserError, match=message):
        latent.fit(tokens)
