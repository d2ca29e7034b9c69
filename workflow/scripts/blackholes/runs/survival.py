"""When live tokens leave the dead, over the runs of an experiment: curves by frequency, and what sets the step.

The Cox model is written out here. The libraries tried have no interval for runs as clusters that is right where many
tokens escape at one step: that of lifelines 0.30.3 depends on the order of rows with the same step and leaves out late
entry, that of statsmodels 0.15.0 is right for Breslow's handling of ties only.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tables import read_columns

CURVE_COLUMNS = ["count_from", "count_to", "step", "share", "low", "high", "at_risk", "tokens"]
STATISTIC_COLUMNS = ["statistic", "value", "low", "high", "tokens", "escaped", "runs"]
LEVEL = 0.95  # of all intervals
LATE = 10  # tokens first seen after this step have an own row: by then most others are gone
_ITERATIONS = 50


@dataclass
class Escapes:
    """Live tokens of all runs that were with the dead at some step, N in all."""

    run: Int[np.ndarray, "N"]
    count: Float[np.ndarray, "N"]
    step: Float[np.ndarray, "N"]
    escaped: Bool[np.ndarray, "N"]  # False: censored at `step`
    first_seen: Float[np.ndarray, "N"]  # first step with the token as input or target; NaN: none

    def only(self, rows: Bool[np.ndarray, "N"]) -> "Escapes":
        return Escapes(*(of[rows] for of in vars(self).values()))


def read(files: Sequence[str]) -> Escapes:
    """The rows of every run's escapes.csv, but for tokens that were never with the dead (`escape_step` 0).

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    parts = []
    for run, path in enumerate(files):
        number = dict.fromkeys(("count", "escape_step", "censored"), float)
        steps = dict.fromkeys(("first_input", "first_target"), lambda text: float(text or "inf"))
        table = {name: np.array(of, float) for name, of in read_columns(path, number | steps).items()}
        seen = np.minimum(table["first_input"], table["first_target"])
        with_the_dead = table["escape_step"] > 0
        part = Escapes(
            np.full(len(seen), run),
            table["count"],
            table["escape_step"],
            table["censored"] == 0,
            np.where(np.isfinite(seen), seen, np.nan),
        )
        parts.append(part.only(with_the_dead))
    return Escapes(*(np.concatenate(of) for of in zip(*(vars(part).values() for part in parts), strict=True)))


def cox(
    time: Float[np.ndarray, "N"],
    event: Bool[np.ndarray, "N"],
    x: Float[np.ndarray, "N"],
    entry: Float[np.ndarray, "N"] | None = None,
    cluster: Int[np.ndarray, "N"] | None = None,
) -> tuple[float, float, float] | None:
    """Slope of the log hazard on x, with its interval: Cox's model, Efron's handling of ties.

    A row is at risk after `entry` (None: from the start) up to `time`. With two clusters or more the interval is that
    of Lin and Wei (1989) from score residuals summed in each cluster, widened by R / (R − 1) and by Student's t with
    R − 1 degrees of freedom for R clusters; else that of the model. None if the rows set no slope: no event, the same x
    in all, or a likelihood without a maximum.
    """
    entry = np.full(len(time), -np.inf) if entry is None else entry
    centre, scale = (x.mean(), x.std()) if len(x) else (0.0, 0.0)
    if not event.any() or scale == 0:
        return None
    z = (x - centre) / scale
    times, at = np.unique(time[event], return_inverse=True)
    deaths = np.bincount(at)
    owner = np.repeat(np.arange(len(times)), deaths)
    part = (np.arange(len(owner)) - (np.cumsum(deaths) - deaths)[owner]) / deaths[owner]  # Efron: 0, 1/m, 2/m, …
    since, until = (np.searchsorted(times, of, side="right") for of in (entry, time))

    def sums(values: np.ndarray) -> np.ndarray:
        """Of the rows at risk at each event; a later one of the same time counts those that have it in part only."""
        steps = [np.bincount(of, values, len(times) + 1) for of in (since, until)]
        at_risk = np.cumsum(steps[0] - steps[1])[:-1]
        return at_risk[owner] - part * np.bincount(at, values[event], len(times))[owner]

    slope = 0.0
    for _ in range(_ITERATIONS):
        weight = np.exp(slope * z)
        s0, s1, s2 = (sums(weight * z**power) for power in range(3))
        mean = s1 / s0
        information = (s2 / s0 - mean**2).sum()
        if not information > 1e-12:
            return None
        change = (z[event].sum() - mean.sum()) / information
        slope += np.clip(change, -2, 2)
        if abs(change) < 1e-10:
            break
    else:
        return None

    width = scipy.stats.norm.ppf(0.5 + LEVEL / 2) / np.sqrt(information)
    of_row = np.zeros(len(time), int) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    R = int(of_row.max()) + 1
    if R > 1:
        hazard, moved = (np.append(0, np.cumsum(np.bincount(owner, of / s0))) for of in (1.0, mean))
        residual = weight * (moved[until] - moved[since] - z * (hazard[until] - hazard[since]))
        own = [np.bincount(owner, of)[at] for of in (part / s0, part * mean / s0, mean)]  # of the time of an event
        residual[event] += weight[event] * (z[event] * own[0] - own[1]) + z[event] - own[2] / deaths[at]
        of_cluster = np.bincount(of_row, residual) / information
        width = scipy.stats.t.ppf(0.5 + LEVEL / 2, R - 1) * np.sqrt((of_cluster**2).sum() * R / (R - 1))
    return float(slope / scale), float((slope - width) / scale), float((slope + width) / scale)


def over_runs(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of one number of each run, and its interval by Student's t (NaN for one run); NaN are left out."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return np.nan, np.nan, np.nan
    mean = float(known.mean())
    if len(known) == 1:
        return mean, np.nan, np.nan
    width = scipy.stats.t.ppf(0.5 + LEVEL / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return mean, float(mean - width), float(mean + width)


def partial_correlation(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Spearman's correlation of a and b with that of each with `given` taken out; NaN if a rank does not vary."""
    ranks = [scipy.stats.rankdata(of) for of in (a, b, given)]
    if len(a) < 4 or min(of.std() for of in ranks) == 0:
        return np.nan
    ab, ac, bc = (np.corrcoef(ranks[i], ranks[j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2)))
    rest = (1 - ac**2) * (1 - bc**2)
    return float((ab - ac * bc) / np.sqrt(rest)) if rest > 1e-12 else np.nan


def statistics(data: Escapes) -> list[list]:
    """Rows of escape_statistics.csv: what the step of an escape depends on."""
    seen = data.only(data.first_seen <= data.step)  # the others are not at risk after their first occurrence
    rows = [
        _slopes("log_hazard_per_tenfold_count", data, None),
        _slopes("log_hazard_per_tenfold_count_once_seen", seen, seen.first_seen - 1),
    ]
    of_runs: dict[str, Callable[[Escapes], float]] = {
        "share_that_escapes_when_first_seen": _share_at_first_sight,
        f"share_that_escapes_when_first_seen_after_step_{LATE}": lambda run: _share_at_first_sight(
            run.only(run.first_seen > LATE)
        ),
        "rank_correlation_with_count_given_first_seen": lambda run: partial_correlation(
            run.step, run.count, run.first_seen
        ),
        "rank_correlation_with_first_seen_given_count": lambda run: partial_correlation(
            run.step, run.first_seen, run.count
        ),
    }
    table = [row for some in rows for row in some]
    for name, statistic in of_runs.items():
        runs = [seen.only(seen.run == run) for run in np.unique(seen.run)]
        possible = np.clip(over_runs([statistic(run) for run in runs]), 0 if name.startswith("share") else -1, 1)
        table.append([name, *possible.tolist(), *_numbers(seen)])
    return [["" if isinstance(cell, float) and np.isnan(cell) else cell for cell in row] for row in table]


def _share_at_first_sight(run: Escapes) -> float:
    return float((run.step == run.first_seen)[run.escaped].mean()) if run.escaped.any() else np.nan


def _slopes(name: str, data: Escapes, entry: np.ndarray | None) -> list[list]:
    """The slope on log10 of the count over all runs, and the mean of each run's own: two ways to the same."""
    x = np.log10(data.count)
    own = []
    for run in np.unique(data.run):
        rows = data.run == run
        fit = cox(data.step[rows], data.escaped[rows], x[rows], None if entry is None else entry[rows])
        own.append(fit[0] if fit else np.nan)
    together = cox(data.step, data.escaped, x, entry, data.run) or (np.nan, np.nan, np.nan)
    numbers = _numbers(data)
    return [[name, *together, *numbers], [f"{name}_mean_of_runs", *over_runs(own), *numbers]]


def _numbers(data: Escapes) -> tuple[int, int, int]:
    return len(data.step), int(data.escaped.sum()), len(np.unique(data.run))


def curves(data: Escapes) -> list[list]:
    """Rows of escape_curves.csv: Kaplan and Meier's share of tokens still with the dead, for each power of ten of the
    count, at every step on which it changes. The intervals (log-log) take all tokens as independent."""
    rows = []
    for power in np.unique(np.floor(np.log10(data.count))) if len(data.count) else []:
        low, high = 10**power, 10 ** (power + 1) - 1
        some = data.only((data.count >= low) & (data.count <= high))
        sample = scipy.stats.CensoredData(uncensored=some.step[some.escaped], right=some.step[~some.escaped])
        curve = scipy.stats.ecdf(sample).sf
        with warnings.catch_warnings(action="ignore"):  # there is no interval at shares of 0 and 1
            bounds = curve.confidence_interval(LEVEL, method="log-log")
        for i, step in enumerate(curve.quantiles):
            ends = [of.probabilities[i] for of in (bounds.low, bounds.high)]
            shown = ["" if np.isnan(end) else float(end) for end in ends]
            at_risk = int((some.step >= step).sum())
            rows.append(
                [int(low), int(high), int(step), float(curve.probabilities[i]), *shown, at_risk, len(some.step)]
            )
    return rows


def write(escapes: Sequence[str], curve_table: str, statistic_table: str) -> None:
    """Write escape_curves.csv and escape_statistics.csv from every run's escapes.csv.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    data = read(escapes)
    write_table(curve_table, CURVE_COLUMNS, curves(data))
    write_table(statistic_table, STATISTIC_COLUMNS, statistics(data))
