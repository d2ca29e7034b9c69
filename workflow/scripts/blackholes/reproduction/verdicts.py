"""Verdicts on differences: equivalence within a margin, not the failure to find a difference.

A row compares our runs with published numbers. Its interval is of the difference between the two means; where the
reference is one run, that is a prediction interval for a run like ours. The row `agrees` when the interval lies within
the margin, `differs` when it lies outside, and is `undecided` in between, or where there is no interval. Both are
one-sided tests at level ALPHA (two one-sided tests; Schuirmann 1987), so the interval has confidence 1 − 2 ALPHA.

Several rows of an experiment: Holm's (1979) levels, in the order of what decides a row, so that with probability
1 − ALPHA or more no verdict of the experiment is wrong. A curve is one row, and the runs are its replicates: it agrees
when it does at every step, which needs no correction; for `differs` the limit is that of the largest of all steps'
statistics, whose distribution is drawn with the correlation that our runs have between steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import stats

ALPHA = 0.05
DRAWS = 4_000  # of the largest statistic of a curve
AGREES, DIFFERS, UNDECIDED = "agrees", "differs", "undecided"


@dataclass(frozen=True)
class Reference:
    """What was published: a value, or one for each of K steps."""

    values: Float[np.ndarray, "K"]
    runs: int  # that the values are means of; 1: one run
    variance: float | None = None  # sample variance of these runs, where K is 1; None: not published, taken to be ours


@dataclass(frozen=True)
class Row:
    """One comparison, before and after it is judged beside the others of its experiment."""

    difference: float  # ours less published; of a curve, where it is largest beside its margin
    at: int  # index of the step of a curve that `difference`, `error` and `margin` are of
    error: float  # standard error of the difference; NaN without an interval
    freedom: float  # degrees of freedom of that error
    margin: float
    floor: float  # standard error with any number of runs of ours: that of the published value; NaN without an interval
    p_agrees: float  # against: the difference is as large as the margin, or larger
    p_differs: float  # against: it is the margin or less
    limit: float = math.nan  # of the statistics of a curve, in standard errors at ALPHA; NaN for a single number
    verdict: str = UNDECIDED
    low: float = math.nan  # the interval, at the level at which Holm's procedure judged the row
    high: float = math.nan


def compare(ours: Float[np.ndarray, "R K"], reference: Reference, margins: Float[np.ndarray, "K"]) -> Row:
    """One comparison, to be judged by `judge`.

    Args:
        ours: the values of our runs, at each step of a curve; K is 1 for a single number.
        margins: largest differences that are taken to be none, at each step.
    """
    difference = ours.mean(0) - reference.values
    error, freedom = _errors(ours, reference)
    worst = int(np.argmax(np.abs(difference) / margins))
    at = (float(difference[worst]), worst)
    if error is None:
        return Row(*at, math.nan, math.nan, float(margins[worst]), math.nan, 1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (margins - np.abs(difference)) / error  # standard errors to the margin; negative: beyond it
    inside[np.isnan(inside)] = 0.0  # exactly at the margin, without any spread
    p_agrees = float(stats.t.sf(inside, freedom).max())
    theirs = _floor(ours, reference, error)
    if len(margins) == 1:
        p_differs = float(stats.t.cdf(inside[0], freedom))
        return Row(*at, float(error[0]), freedom, float(margins[0]), float(theirs[0]), p_agrees, p_differs)
    largest = _largest(ours)
    p_differs = float((1 + (largest >= (-inside).max()).sum()) / (1 + len(largest)))
    worst = int(np.argmin(inside))  # the step that decides
    limit = float(np.quantile(largest, 1 - ALPHA))
    where = [float(of[worst]) for of in (difference, error, margins, theirs)]
    return Row(where[0], worst, where[1], freedom, where[2], where[3], p_agrees, p_differs, limit)


def judge(rows: Sequence[Row]) -> list[Row]:
    """Verdicts and intervals of the rows of one experiment, by Holm's procedure."""
    decisive = [min(row.p_agrees, row.p_differs) for row in rows]
    order = sorted(range(len(rows)), key=decisive.__getitem__)
    judged, going = list(rows), True
    level = ALPHA
    for rank, i in enumerate(order):
        if going:
            level = ALPHA / (len(rows) - rank)
            going = decisive[i] <= level
        row = rows[i]
        verdict = UNDECIDED if not going else AGREES if row.p_agrees <= row.p_differs else DIFFERS
        half = row.error * _limit(row, level, verdict) if row.error > 0 else row.error  # NaN stays
        judged[i] = replace(row, verdict=verdict, low=row.difference - half, high=row.difference + half)
    return judged


def joint(rows: Sequence[Row]) -> str:
    """One verdict on an experiment: it agrees if all its judged rows do, and differs if one of them does."""
    verdicts = {row.verdict for row in rows}
    if DIFFERS in verdicts:
        return DIFFERS
    return AGREES if verdicts == {AGREES} else UNDECIDED


def _limit(row: Row, level: float, verdict: str) -> float:
    """Half an interval in standard errors: of Student's t, or of a curve that differs, wider as its largest is."""
    limit = float(stats.t.isf(level, row.freedom))
    widened = row.limit - stats.t.isf(ALPHA, row.freedom) if verdict == DIFFERS and not math.isnan(row.limit) else 0.0
    return limit + max(0.0, float(widened))


def _errors(ours: np.ndarray, reference: Reference) -> tuple[np.ndarray | None, float]:
    """Standard errors of the differences (K,), None without any spread to take them from, and degrees of freedom."""
    n, m = len(ours), reference.runs
    theirs = reference.variance
    if n > 1:
        own = ours.var(0, ddof=1)
        if theirs is None:  # m runs like ours
            return np.sqrt(own * (1 / n + 1 / m)), n - 1
        a, b = own / n, np.array([theirs / m])  # Welch's
        total = a + b
        if not total.all():
            return np.sqrt(total), n + m - 2
        return np.sqrt(total), float(total[0] ** 2 / (a[0] ** 2 / (n - 1) + b[0] ** 2 / (m - 1)))
    if theirs is None or m == 1:
        return None, math.nan
    return np.array([math.sqrt(theirs * (1 + 1 / m))]), m - 1


def _floor(ours: np.ndarray, reference: Reference, error: np.ndarray) -> np.ndarray:
    """The part of the standard errors (K,) that the published runs make."""
    if reference.variance is not None:
        return np.full(len(error), math.sqrt(reference.variance / reference.runs))
    return error / math.sqrt(1 + reference.runs / len(ours))


def _largest(ours: np.ndarray) -> Float[np.ndarray, "DRAWS"]:
    """Draws of the largest of K statistics of R runs, with the correlation of our runs between the steps.

    Normal draws weight our runs' own deviations, so they have their correlation; each step is divided by its own
    spread, as ours.
    """
    runs = len(ours)
    centred = ours - ours.mean(0)
    scale = np.sqrt((centred**2).sum(0))
    varied = scale > 0
    if not varied.any():
        return np.zeros(DRAWS)
    random = np.random.default_rng(0)  # the same draws for every curve: the verdict is a function of the numbers
    drawn = random.standard_normal((DRAWS, runs, runs)) @ (
        centred[:, varied] / scale[varied]
    )  # (DRAWS, R, K), variance 1
    return np.abs(drawn.mean(1) / (drawn.std(1, ddof=1) / math.sqrt(runs))).max(1)
