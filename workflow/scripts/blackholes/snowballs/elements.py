"""Are elements normally distributed? Histograms, quantiles and moments, for the figure (row D)."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from blackholes.kernels import snowball
from blackholes.snowballs.source import Source

BINS = 60  # of a histogram
QUANTILES = 241
MOST = 200_000_000  # elements of trials that are looked at
_FINE = 1 << 16  # bins that the elements of trials are counted in


def distribution(values: Float[Tensor, "n D"]) -> dict[str, Tensor]:
    """Histogram, quantiles and moments of all elements.

    `edges` (BINS + 1,), `counts` (BINS,); `quantiles` (QUANTILES,): the values with a share Φ(`z`) of the elements
    below them, for equally spaced `z` from the smallest element's to the largest's; `fit` (3,): slope, intercept and R²
    of the line fitted to all quantiles, as scipy.stats.probplot; `moments` (4,): mean, standard deviation, skewness and
    excess kurtosis (0 if all elements are equal).
    """
    numbers = np.sort(values.flatten().double().numpy())
    mean, std = float(numbers.mean()), float(numbers.std())
    span = (float(numbers[0]), float(numbers[-1])) if std else (mean - 1, mean + 1)
    counts, edges = np.histogram(numbers, BINS, span)
    z = _quantile_places(len(numbers))
    place = (special.ndtr(z) * len(numbers)).astype(np.int64).clip(0, len(numbers) - 1)
    centred = (numbers - mean) / (std or 1.0)
    moments = [float((centred**k).mean()) for k in (3, 4)]
    return _tensors(edges, counts, z, numbers[place], [mean, std, *moments])


def of_trials(around: Source, sigma: float, seed: int, n_trials: int) -> tuple[dict[str, Tensor], int]:
    """As `distribution`, of the elements minus the centroid over so many trials; how many those are.

    Trials are drawn one at a time, as many as hold MOST elements. They are counted in 65,536 bins, in which quantiles
    are interpolated; the first trial says how wide the bins have to be.
    """
    size = around.n_tokens * len(around.centroid)
    used = max(1, min(n_trials, MOST // size))
    deviations = lambda: _deviations(around, sigma, seed, used)  # noqa: E731
    widest = float(np.abs(next(deviations())).max())
    if widest == 0 and sigma == 0:
        return distribution(torch.zeros(1, 1)), used
    reach = 2 * max(widest, snowball.REACH * sigma)
    counts, sums = np.zeros(_FINE, np.int64), np.zeros(4)
    for numbers in deviations():
        bins = ((numbers / reach + 1) * (_FINE / 2)).astype(np.int64).clip(0, _FINE - 1)
        counts += np.bincount(bins, minlength=_FINE)
        sums += [np.sum(numbers**k) for k in (1, 2, 3, 4)]
    total = counts.sum()
    mean, *raw = sums / total
    std = max(raw[0] - mean**2, 0.0) ** 0.5
    skewness = (raw[1] - 3 * mean * raw[0] + 2 * mean**3) / (std or 1.0) ** 3
    kurtosis = (raw[2] - 4 * mean * raw[1] + 6 * mean**2 * raw[0] - 3 * mean**4) / (std or 1.0) ** 4
    filled = np.flatnonzero(counts)
    cuts = np.unique(np.linspace(filled[0], filled[-1] + 1, BINS + 1).astype(np.int64))
    fine_edges = np.linspace(-reach, reach, _FINE + 1)
    z = _quantile_places(int(total))
    below = np.concatenate([[0], counts.cumsum()])
    quantiles = np.interp(
        special.ndtr(z) * total, below[filled[0] : filled[-1] + 2], fine_edges[filled[0] : filled[-1] + 2]
    )
    coarse = np.add.reduceat(counts, cuts[:-1]) if len(cuts) > 1 else counts[filled]
    return _tensors(fine_edges[cuts], coarse, z, quantiles, [mean, std, skewness, kurtosis]), used


def _deviations(around: Source, sigma: float, seed: int, n_trials: int) -> Iterator[np.ndarray]:
    for trial in range(n_trials):
        tokens = snowball.sample(around.centroid, sigma, around.n_tokens, seed, trial, every=True)
        yield (tokens.double() - around.centroid.double()).flatten().numpy()


def _quantile_places(number: int) -> np.ndarray:
    end = -special.ndtri(0.5 / number)
    return np.linspace(-end, end, QUANTILES)


def _tensors(edges, counts, z, quantiles, moments) -> dict[str, Tensor]:
    mean, std, skewness, fourth = moments
    everything = {
        "edges": edges,
        "counts": counts,
        "z": z,
        "quantiles": quantiles,
        "fit": _line(z, quantiles),
        "moments": np.array([mean, std, skewness if std else 0.0, fourth - 3 if std else 0.0]),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in everything.items()}


def _line(z: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Slope, intercept, R² of a least-squares line. Elements lie densest where |z| is small: so do the weights."""
    weights = np.exp(-(z**2) / 2)
    weights /= weights.sum()
    middle, centre = weights @ z, weights @ quantiles
    spread, height = weights @ (z - middle) ** 2, weights @ (quantiles - centre) ** 2
    both = weights @ ((z - middle) * (quantiles - centre))
    slope = both / spread if spread else 0.0
    return np.array([slope, centre - slope * middle, both**2 / (spread * height) if spread * height else 1.0])
