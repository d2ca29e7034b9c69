"""The point and the noise that tokens were rounded from, estimated from the rounded values (row D).

Model: a coordinate is its dimension's centre μ plus normal noise of scale σ, rounded to the nearest representable
number. So it has a given value with probability Φ((upper − μ) / σ) − Φ((lower − μ) / σ), where `lower` and `upper` are
the midpoints to its neighbours, the ends of its cell: an ordered probit whose thresholds are known.

σ is common to all dimensions. Its likelihood is integrated over each μ with a flat weight, not maximised: where noise
is small against a cell no dimension has more than two values, any small σ then fits each of them with a μ of its own,
and the maximum is at 0 whatever the truth. Integrated, the share of dimensions that vary says how large σ is.
(Neyman and Scott, Econometrica 16, 1948: a common parameter beside one of its own for every group.)
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy import optimize, special
from torch import Tensor

from blackholes.kernels import cells
from blackholes.kernels.checks import refuse_non_finite, require

DROP = 1.920729  # of the log-likelihood at the ends of a 95 % interval: half of the 95 % point of χ² with 1 degree
_FAR = 12.0  # standard deviations; Φ(−12) is 2e-33
_WIDE = 2.0  # noise of so many cells: then a rounding error is as good as uniform, to 1e-4 of a standard deviation
_NEGLIGIBLE = 40.0  # drop of a log-likelihood beyond which an integrand counts as 0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_STEPS = 1001  # of the integral over a dimension in which all tokens are equal
_AT_ONCE = 1 << 21  # numbers in memory at once
_GRID, _FINE, _FEW = 16, 0.15, 50  # a first look at the likelihood: points; their distance where few dimensions vary


class Latent(NamedTuple):
    """`centroid` float64 (D,), `sigma` and the ends of its 95 % interval."""

    centroid: Float64[Tensor, "D"]
    sigma: float
    low: float
    high: float


class Part(NamedTuple):
    """Some dimensions: the ends of their cells and the number of tokens in each, (n, 1), one dimension after the other;
    where each dimension begins, and how many cells it has, (M,)."""

    lower: np.ndarray
    upper: np.ndarray
    counts: np.ndarray
    starts: np.ndarray
    kinds: np.ndarray

    def total(self, values: np.ndarray) -> np.ndarray:
        """(n, G) → (M, G): sums over the tokens of every dimension."""
        return np.add.reduceat(self.counts * values, self.starts, axis=0)

    def highest(self) -> np.ndarray:
        return np.maximum.reduceat(self.upper[:, 0], self.starts)


def fit(vectors: Float[Tensor, "N D"]) -> Latent:
    """Maximum likelihood of σ, and of the centre given σ, for tokens in bfloat16, float16 or float32, N ≥ 2.

    `low` and `high` are where the likelihood has fallen by DROP: a 95 % interval, if the model holds. If all tokens are
    equal, `sigma` and `low` are 0 and `high` is the largest σ that still explains this. A centre that could as well be
    anywhere in a cell is put into its middle. Dimensions in which every token is exactly 0 are left out of the
    estimate: next to 0 cells are so small that no noise at all could have been there. If they all are, σ is 0.

    Likelihoods are right to about 1e-6. Results depend neither on threads nor on the order of the tokens; that of the
    dimensions may change the last bits. Memory: a few times that of the vectors in int64.
    Raises UserError for another dtype or number of tokens, and for NaN or infinity.
    """
    require(vectors.ndim == 2 and len(vectors) > 1, f"vectors have shape {tuple(vectors.shape)}; two tokens are needed")
    refuse_non_finite(vectors, ("token", "dimension"))
    places = _sorted(vectors)
    varies, zero = places[0] != places[-1], (places[0] == 0) & (places[-1] == 0)
    lower, upper = (each[0] for each in _edges(places[:1], vectors.dtype))
    centroid = np.where(zero, 0.0, (lower + upper) / 2)
    still = _Still(len(places), (upper - lower)[~varies & ~zero])
    if not varies.any():
        return Latent(torch.from_numpy(centroid), 0.0, 0.0, still.limit() if len(still.widths) else 0.0)
    moving = _Moving(places[:, varies], vectors.dtype)
    # below: one cloud in a hundred would vary in any dimension, or a token would lie 100 σ away
    first = math.log(max(0.01 / (still.inverse() + np.sum(1 / moving.smallest)), moving.gap / 200))
    last = math.log(4 * moving.extent)
    points = _GRID if len(moving.kinds) > _FEW else max(_GRID, math.ceil((last - first) / _FINE))
    sigma, low, high = _interval(
        lambda log: still.likelihood(math.exp(log)) + moving.likelihood(math.exp(log)), np.linspace(first, last, points)
    )
    centroid[varies] = moving.modes(sigma)
    return Latent(torch.from_numpy(centroid), sigma, low, high)


def _sorted(vectors: Tensor) -> np.ndarray:
    """Ordinals int32 (N, D), ascending in every dimension."""
    places = np.empty(tuple(vectors.shape), np.int32)
    width = max(1, _AT_ONCE // len(vectors))
    for start in range(0, vectors.shape[1], width):
        part = slice(start, start + width)
        places[:, part] = np.sort(cells.ordinals(vectors[:, part]).cpu().numpy(), axis=0)
    return places


def _interval(likelihood: Callable[[float], float], grid: np.ndarray) -> tuple[float, float, float]:
    """The σ of the largest likelihood, a function of log σ, and the outermost σ at which it is DROP less.

    Where few dimensions vary it may have several maxima, one for each size of their cells, hence the grid.
    """
    seen = np.array([likelihood(x) for x in grid])
    best = int(seen.argmax())
    ends = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(lambda x: -likelihood(x), bounds=ends, method="bounded", options={"xatol": 1e-5})
    excess = lambda x: likelihood(x) + found.fun + DROP  # noqa: E731 - above 0 inside the interval
    inside = [found.x, *grid[seen > -found.fun - DROP]]
    return math.exp(found.x), math.exp(_crossing(excess, min(inside), -1)), math.exp(_crossing(excess, max(inside), 1))


def _crossing(excess: Callable[[float], float], inside: float, side: int) -> float:
    """Where `excess` falls to 0 on this side of `inside`."""
    step = 0.01
    while excess(inside + side * step) > 0:
        step *= 2
    return optimize.brentq(excess, inside + side * step / 2 if step > 0.01 else inside, inside + side * step, xtol=1e-4)


def _edges(places: np.ndarray, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the cells around representable numbers, float64. Exact."""
    below, at, above = (cells.values(torch.from_numpy(places + k), dtype).double().numpy() for k in (-1, 0, 1))
    return (below + at) / 2, (at + above) / 2


def log_probability(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log(Φ(b) − Φ(a)) for a < b, right also far out and for ends close together."""
    right = a + b > 0
    a, b = np.where(right, -b, a), np.where(right, -a, b)  # the mirror image lies on the left, where Φ is small
    near, gap = special.log_ndtr(b), b - a
    with np.errstate(divide="ignore"):
        exact = near + np.log(-np.expm1(special.log_ndtr(a) - near))
    close = gap < 1e-5
    if close.any():
        exact[close] = np.log(gap[close]) - (a[close] + b[close]) ** 2 / 8 - 0.5 * math.log(2 * math.pi)
    return exact


class _Still:
    """Dimensions in which all tokens are equal. Only the widths of their cells matter."""

    def __init__(self, n_tokens: int, widths: np.ndarray):
        self.n_tokens = n_tokens
        self.widths, self.counts = np.unique(widths, return_counts=True)
        t = np.linspace(-_FAR, _FAR, 20 * _STEPS)
        self.rise = np.trapezoid(np.exp(n_tokens * special.log_ndtr(t)), t)  # at one end of a wide cell

    def inverse(self) -> float:
        return float(np.sum(self.counts / self.widths))

    def limit(self) -> float:
        """If no dimension varies: the largest σ that explains it, from the likelihood's fall since σ = 0."""
        at_zero = float(np.sum(self.counts * np.log(self.widths)))
        excess = lambda log: self.likelihood(math.exp(log)) - at_zero + DROP  # noqa: E731
        return math.exp(_crossing(excess, math.log(1e-3 / self.inverse()), 1))

    def likelihood(self, sigma: float) -> float:
        """Σ log ∫ (Φ((h − μ) / σ) − Φ(−μ / σ))^N dμ over the dimensions, for cells from 0 to h."""
        widths = self.widths / sigma
        return float(np.sum(self.counts * (math.log(sigma) + np.array([self._log_integral(h) for h in widths]))))

    def _log_integral(self, width: float) -> float:
        """log ∫ (Φ(t) − Φ(t − width))^N dt. The integrand is symmetric about the middle of the cell."""
        middle = width / 2
        if middle > _FAR:  # its ends do not see each other, and it is 1 between them
            return math.log(2 * (self.rise + middle - _FAR))
        logs = lambda t: self.n_tokens * log_probability(-t, width - t)  # noqa: E731
        coarse = np.linspace(-_FAR, middle, 201)
        seen = logs(coarse)
        start = coarse[max(int(np.argmax(seen > seen[-1] - _NEGLIGIBLE)) - 1, 0)]
        t = np.linspace(start, middle, _STEPS)
        values = logs(t)
        return math.log(2 * np.trapezoid(np.exp(values - values[-1]), t)) + values[-1]


class _Moving:
    """Dimensions with several values. Those with the largest cells come first."""

    def __init__(self, places: np.ndarray, dtype: torch.dtype):
        columns = np.ascontiguousarray(places.T)  # (M, N), ascending
        lower, upper = _edges(columns[:, [0, -1]], dtype)
        order = np.argsort(-(upper - lower).max(1), kind="stable")  # cells grow away from 0: an end has the largest
        self.order, columns = order, columns[order]
        self.largest = (upper - lower).max(1)[order]
        self.n_tokens = columns.shape[1]
        first = np.ones(columns.shape, bool)
        first[:, 1:] = columns[:, 1:] != columns[:, :-1]
        self.kinds = first.sum(1)
        self.starts = np.concatenate([[0], self.kinds.cumsum()])  # of every dimension's cells
        counts = np.diff(np.flatnonzero(first.ravel()), append=columns.size)
        lower, upper = _edges(columns[first], dtype)
        self.base = lower[self.starts[:-1]]  # ends are stored relative to the lowest: small differences survive
        ends = [(each - np.repeat(self.base, self.kinds))[:, None] for each in (lower, upper)]
        self.all = Part(ends[0], ends[1], counts[:, None].astype(float), self.starts[:-1], self.kinds)
        widths = upper - lower
        self.smallest = np.minimum.reduceat(widths, self.starts[:-1])
        self.extent = float(ends[1].max())
        self.gap = float((lower[self.starts[1:] - 1] - upper[self.starts[:-1]]).max())
        middles = (ends[0] + ends[1]) / 2
        self.means = self.all.total(middles)[:, 0] / self.n_tokens
        self.squares = self.all.total((middles - np.repeat(self.means, self.kinds)[:, None]) ** 2)[:, 0]
        self.roundings = self.all.total(widths[:, None] ** 2)[:, 0] / (12 * self.n_tokens)
        self.logs = self.all.total(np.log(widths)[:, None])[:, 0]

    def _narrow(self, sigma: float) -> int:
        """How many dimensions, the first ones, have cells that this noise is not wide against."""
        return int(np.searchsorted(-self.largest, -sigma / _WIDE))

    def _parts(self, dimensions: int, width: int) -> Iterator[tuple[slice, Part]]:
        """The first dimensions, so many at a time that their cells times `width` fit into memory."""
        start, limit = 0, max(1, _AT_ONCE // width)
        while start < dimensions:
            stop = int(np.searchsorted(self.starts, self.starts[start] + limit, side="right")) - 1
            stop = min(max(stop, start + 1), dimensions)
            cells_ = slice(self.starts[start], self.starts[stop])
            lower, upper, counts = (each[cells_] for each in self.all[:3])
            starts = self.starts[start:stop] - self.starts[start]
            yield slice(start, stop), Part(lower, upper, counts, starts, self.kinds[start:stop])
            start = stop

    def modes(self, sigma: float) -> np.ndarray:
        """The most likely centre of every dimension, in their original order."""
        centres = self.means.copy()
        for dimensions, part in self._parts(self._narrow(sigma), 1):
            centres[dimensions] = _mode(part, sigma)[0]
        result = np.empty_like(centres)
        result[self.order] = self.base + centres
        return result

    def likelihood(self, sigma: float) -> float:
        """Σ log ∫ Π P(value | μ, σ) dμ over the dimensions."""
        narrow, n = self._narrow(sigma), self.n_tokens
        integrals = [_integrals(part, sigma) for _, part in self._parts(narrow, len(_NODES))]
        variance = sigma**2 + self.roundings[narrow:]  # of noise and rounding error
        normal = -(n - 1) / 2 * np.log(2 * math.pi * variance) - math.log(n) / 2 - self.squares[narrow:] / variance / 2
        return float(sum(each.sum() for each in integrals) + (normal + self.logs[narrow:]).sum())


def _integrals(part: Part, sigma: float) -> np.ndarray:
    """log ∫ Π P(value | μ, σ) dμ (M,). The integrand is log-concave: it falls on both sides of its mode."""
    mode, width = _mode(part, sigma)
    top = _logs(part, mode[:, None], sigma)[:, 0]
    ends = []
    for side in (-1, 1):
        reach = 8.0 * width
        while (left := _logs(part, (mode + side * reach)[:, None], sigma)[:, 0] > top - _NEGLIGIBLE).any():
            reach = np.where(left, 1.5 * reach, reach)
        ends.append(mode + side * reach)
    half = (ends[1] - ends[0]) / 2
    logs = _logs(part, ((ends[0] + ends[1]) / 2)[:, None] + half[:, None] * _NODES, sigma)
    top = logs.max(1)
    return top + np.log(half * (np.exp(logs - top[:, None]) @ _WEIGHTS))


def _mode(part: Part, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """(most likely centre, 1 / √−curvature there) of every dimension: Newton's method within a bracket."""
    low, high = np.zeros(len(part.kinds)), part.highest()
    centre = part.total((part.lower + part.upper) / 2)[:, 0] / part.total(np.ones_like(part.lower))[:, 0]
    for _ in range(200):
        slope, curvature = _slopes(part, centre, sigma)
        low, high = np.where(slope > 0, centre, low), np.where(slope > 0, high, centre)
        width = 1 / np.sqrt(np.maximum(-curvature, 1e-300))
        with np.errstate(over="ignore"):
            step = centre + slope * width**2
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        done, centre = np.abs(step - centre) <= 1e-4 * width, step
        if (done | (high - low <= 1e-15 * high)).all():
            break
    return centre, np.minimum(width, part.highest() + sigma)


def _slopes(part: Part, centre: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of the log-likelihood of every dimension in its centre (M,)."""
    centre = np.repeat(centre, part.kinds)[:, None]
    a, b = (part.lower - centre) / sigma, (part.upper - centre) / sigma
    logs = log_probability(a, b) + 0.5 * math.log(2 * math.pi)
    at_a, at_b = np.exp(-(a**2) / 2 - logs), np.exp(-(b**2) / 2 - logs)
    slope = at_a - at_b
    return part.total(slope)[:, 0] / sigma, part.total(a * at_a - b * at_b - slope**2)[:, 0] / sigma**2


def _logs(part: Part, centres: np.ndarray, sigma: float) -> np.ndarray:
    """Log-likelihood (M, G) of centres (M, G)."""
    centres = np.repeat(centres, part.kinds, axis=0)
    return part.total(log_probability((part.lower - centres) / sigma, (part.upper - centres) / sigma))
