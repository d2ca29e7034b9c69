"""Curves of the figures: thinned lines, runs with their mean, and the legends that explain them. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures.scales import LINEAR
from blackholes.figures.style import COLOURS, RULE, experiment_colour, experiment_dashes, legend, patch

_BANDS = 6  # experiments: bands of more hide one another
RUN: dict[str, Any] = {"color": COLOURS["run"], "linewidth": 0.45, "alpha": 0.4}
SPREAD = 1.1  # values that jump from step to step are averaged over the steps t / SPREAD to t · SPREAD
_PIXELS = 500  # columns of a full-width figure


def thin(steps, *series, log: bool = True, pixels: int = _PIXELS) -> np.ndarray:
    """Indices of the points needed to draw `series` over `steps` in `pixels` columns.

    The first, last, smallest and largest value of each column are kept, which draws the same pixels as all points
    (M4: Jugel et al., PVLDB 7(10), 2014); then points between equal neighbours are dropped. Gaps (NaN) are kept.
    """
    steps = np.asarray(steps, float)
    values = [np.asarray(s, float) for s in series]
    place = np.where(steps < 1, steps * LINEAR, LINEAR + np.log10(np.maximum(steps, 1))) if log else steps
    column = np.floor(place / (place[-1] or 1) * pixels).astype(int)
    edge = np.flatnonzero(np.diff(column))
    keep = np.zeros(len(steps), bool)
    keep[[0, -1]] = keep[edge] = keep[edge + 1] = True
    for value in values:
        starts = np.r_[0, edge + 1]
        for hidden in (np.inf, -np.inf):  # NaN sorts last when looking for the smallest, first for the largest
            order = np.lexsort((np.where(np.isnan(value), hidden, value), column))
            keep[order[starts if hidden > 0 else np.r_[edge, len(steps) - 1]]] = True
        gap = np.flatnonzero(np.diff(np.isnan(value)))
        keep[gap] = keep[gap + 1] = True
    index = np.flatnonzero(keep)
    flat = np.ones(len(index), bool)
    for value in values:
        same = [np.equal(a, b) | (np.isnan(a) & np.isnan(b)) for a, b in _neighbours(value[index])]
        flat[1:-1] &= same[0] & same[1]
    flat[[0, -1]] = False
    return index[~flat]


def _neighbours(value: np.ndarray):
    return (value[1:-1], value[:-2]), (value[1:-1], value[2:])


def mean_and_deviation(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample standard deviation over the runs with a value (not NaN): (R, S) → (S,), (S,)."""
    present = ~np.isnan(values)
    runs = present.sum(0)
    filled = np.where(present, values, 0.0)
    mean = np.divide(filled.sum(0), runs, out=np.full(runs.shape, np.nan), where=runs > 0)
    squares = np.where(present, (values - mean) ** 2, 0.0).sum(0)
    return mean, np.sqrt(np.divide(squares, runs - 1, out=np.zeros(runs.shape), where=runs > 1))


def smoothed(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean over the steps t / SPREAD to t · SPREAD for every step t, (R, N) → (R, N): constant width on a log axis."""
    total = np.cumsum(np.pad(np.asarray(values, float), ((0, 0), (1, 0))), axis=1)
    first = np.searchsorted(steps, steps / SPREAD, side="left")
    end = np.searchsorted(steps, steps * SPREAD, side="right")
    return (total[:, end] - total[:, first]) / (end - first)


def noisy_runs(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str, log: bool = True) -> None:
    """Curves (R, N) that jump from step to step: the range over the runs, the smoothed runs and their mean."""
    smooth = smoothed(steps, values)
    low, high = values.min(0), values.max(0)
    if len(values) == 1:
        curve(axes, steps, values[0], False, log, **RUN)
    else:
        index = thin(steps, low, high, log=log)
        axes.fill_between(steps[index], low[index], high[index], color=RULE, alpha=0.75, linewidth=0)
        for value in smooth:
            curve(axes, steps, value, False, log, **{**RUN, "linewidth": 0.6, "alpha": 0.5})
    curve(axes, steps, smooth.mean(0), False, log, color=colour, linewidth=1.5)


def noisy_legend(figure: Figure, runs: int, colours: Sequence[str], more: Sequence[tuple[object, str]] = ()) -> None:
    """The legend for `noisy_runs`, with `more` entries."""
    mean = tuple(Line2D([], [], color=colour, linewidth=1.5) for colour in colours)
    grey = Line2D([], [], **{**RUN, "linewidth": 0.8, "alpha": 0.7})
    wide = f"averaged over steps t/{SPREAD} to {SPREAD} t"
    if runs == 1:
        entries = [(mean, f"the only run, {wide}"), (grey, "step by step")]
    else:
        spread = (patch(RULE, 0.75), "range over the runs, step by step")
        entries = [(mean, "mean over the runs"), (grey, f"a single run, {wide}"), spread]
    legend(figure, [*entries, *more], 2 if more else None)


def curve(axes: Axes, steps, values, stepped: bool = True, log: bool = True, pixels: int = _PIXELS, **line) -> None:
    """One line of values (S,), thinned; stepped: each value holds until the next step."""
    index = thin(steps, values, log=log, pixels=pixels)
    drawstyle = "steps-post" if stepped else "default"
    if len(steps) <= 10:  # a single point or the last value of a stepped line would be invisible
        line = {"marker": "o", "markersize": 2 + line.get("linewidth", 1), **line}
    axes.plot(np.asarray(steps)[index], np.asarray(values, float)[index], drawstyle=drawstyle, **line)


def runs_and_mean(
    axes: Axes,
    steps: np.ndarray,
    values: np.ndarray,
    colour: str,
    stepped: bool = True,
    runs: bool = True,
    band: bool = True,
    pixels: int = _PIXELS,
    width: float = 1.5,
    dashes: Any = "solid",
) -> None:
    """Runs (R, S) as thin grey lines, their mean bold, ± σ as a band; a single run is drawn bold."""
    values = np.asarray(values, float)
    mean, deviation = mean_and_deviation(values)
    if band and len(values) > 1:
        index = thin(steps, mean - deviation, mean + deviation, pixels=pixels)
        low, high = (mean - deviation)[index], (mean + deviation)[index]
        step: Literal["post"] | None = "post" if stepped else None
        axes.fill_between(steps[index], low, high, step=step, color=colour, alpha=0.18, linewidth=0)
    if runs and len(values) > 1:
        for value in values:
            curve(axes, steps, value, stepped, pixels=pixels, **RUN)
    curve(axes, steps, mean, stepped, pixels=pixels, color=colour, linewidth=width, linestyle=dashes)


def run_legend(figure: Figure, runs: int, colours: Sequence[str], band: bool = True, lines: bool = True) -> None:
    """The legend for `runs_and_mean`: mean, band, single runs."""
    if runs == 1:
        entries: list[tuple[Any, str]] = [
            (tuple(Line2D([], [], color=c, linewidth=1.5) for c in colours), "the only run")
        ]
    else:
        entries = [(tuple(Line2D([], [], color=c, linewidth=1.5) for c in colours), "mean over the runs")]
        if band:
            entries.append((tuple(patch(c, 0.18) for c in colours), "± one standard deviation"))
        if lines:
            entries.append((Line2D([], [], **{**RUN, "linewidth": 0.8, "alpha": 0.7}), "a single run"))
    legend(figure, entries)


def experiment_curve(axes: Axes, index: int, number: int, steps: np.ndarray, values: np.ndarray, **options) -> None:
    """The mean of experiment `index` of `number`, with a band of ± σ where few enough experiments share the panel."""
    runs_and_mean(
        axes,
        steps,
        values,
        experiment_colour(index),
        runs=False,
        band=number <= _BANDS,
        width=max(2 - 0.7 * index, 1),
        dashes=experiment_dashes(index),
        **options,
    )


def experiment_entries(runs: Mapping[str, int]) -> list[tuple[Any, str]]:
    """Legend entries for curves of `experiment_curve`; runs: name → number of runs."""
    entries: list[tuple[Any, str]] = []
    for index, (name, number) in enumerate(runs.items()):
        colour = experiment_colour(index)
        mean = Line2D([], [], color=colour, linewidth=1.5, linestyle=experiment_dashes(index))
        if number == 1:
            entries.append((mean, f"{name}: 1 run"))
        elif len(runs) > _BANDS:
            entries.append((mean, f"{name}: mean of {number} runs"))
        else:
            band = f"{name}: mean of {number} runs ± one standard deviation"
            entries.append(((patch(colour, 0.18), mean), band))
    return entries


def reference(axes: Axes, value: float, text: str, colour: str = COLOURS["reference"]) -> None:
    """A dashed horizontal line with a label above its right end."""
    axes.axhline(value, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)
    axes.annotate(
        text,
        (1, value),
        (-2, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=7,
        color=colour,
    )
