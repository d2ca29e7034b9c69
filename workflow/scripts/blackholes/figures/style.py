"""How every figure looks: one colour for each meaning, one step axis, one place that saves. No torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter
from matplotlib.typing import ColorType

from blackholes.artifacts.files import atomic

# One colour, one meaning, in every figure.
COLOURS = {
    "holes": "#3565a8",
    "population": "#d9762b",
    "largest": "#85489b",
    "tokens_per_hole": "#a88414",
    "duplicates": "#c2476f",
    "components": "#2e8b67",
    "isolated": "#45a7c4",
    "dead": "#7d3c2a",
    "live": "#5d8f1f",
    "increase": "#d62839",
    "loss": "#3f4450",
    "centroid_norm": "#14747c",
    "centroid_distance": "#b0467f",
    "centroid_displacement": "#9a5a3c",
    "cloud_radius": "#6c6fc0",
    "early": "#f2b134",
    "midlife": "#8ab17d",
    "late": "#4f86a6",
    "frozen": "#2b3a55",
    "run": "#6b7280",
    "reference": "#7f8692",
    "tokens": "#aab4c3",
    "cluster": "#e0a11b",
    "box": "#cf3f2e",
    "distances": "#4d7c8a",
}
CATEGORIES = {  # of the tokens of a checkpoint
    "ordinary": "#aab4c4",
    "special": "#7a4fa3",
    "byte": "#d9762d",
    "partial_utf8": "#e6b422",
    "unreachable": "#c8324a",
    "padding": "#3b3f48",
    "unknown": "#c9cdd4",
}
EXPERIMENTS = ("#1d2f5f", "#e2a01e", "#00876c", "#b5446e", "#5aa9e6", "#8d6a4f")  # by place in the configuration
HOLES = (  # fills under dark characters: a hole keeps its own through the snapshots of one figure
    *("#9dc3ea", "#f6b98a", "#b7dca0", "#d9b8e6", "#f3d66d", "#f2a9b8"),
    *("#8fd3c8", "#c9b79c", "#b9b9f2", "#d6e27a", "#a9cfd6", "#e8a3dc"),
)
SMALL_HOLES = "#c4c8cf"
INK, PALE, RULE = "#22262e", "#8f96a2", "#d9dce1"

_STYLE: Any = {  # Any: matplotlib types the keys of rcParams one by one
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # travels with matplotlib: the same letters on every machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8,
    "figure.titlesize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#8b919b",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9ebee",
    "grid.linewidth": 0.6,
    "xtick.color": "#8b919b",
    "ytick.color": "#8b919b",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 3,
    "xtick.minor.size": 1.6,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "lines.solid_joinstyle": "round",
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.05,
    "svg.fonttype": "none",
    "svg.hashsalt": "black-holes",  # without it the ids in an SVG are random
}
_PIXELS = 500  # columns that a curve of a full-width figure is reduced to
_LINEAR = 0.4  # width of the part from step 0 to 1, in decades
_WHOLE = "{x:,.0f}"  # format of a tick

RUN: dict[str, Any] = {"color": COLOURS["run"], "linewidth": 0.45, "alpha": 0.4}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a draw function under the house style, whatever the caller's own settings are."""

    @functools.wraps(draw)
    def wrapper(*args, **kwargs) -> Figure:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return wrapper


def save(figure: Figure, *paths: str | Path, dpi: int = 200) -> None:
    """Write the figure once for each path, in the format of its suffix; the same figure gives the same bytes."""
    for path in map(Path, paths):
        kind = path.suffix.lstrip(".")
        metadata: dict[str, None] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            with atomic(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata)


def panels(rows: int, columns: int, size: tuple[float, float], title: str = "", **options):
    """A figure of inches `size` with a grid of axes, (rows, columns) always; no pyplot, so no global state."""
    figure = Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(title, x=0.008, ha="left", fontweight="bold")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def experiment_colour(index: int) -> str:
    return EXPERIMENTS[index % len(EXPERIMENTS)]


def heading(experiment: str | None, runs: int) -> str:
    """`qwen, 16 runs`"""
    return ", ".join([*([experiment] if experiment else []), f"{runs} run{'s' * (runs != 1)}"])


# Axes


def step_axis(axes: Axes, last: int, label: bool = True) -> None:
    """Logarithmic steps with room for step 0: linear from 0 to 1, which the label says."""
    last = max(int(last), 1)
    axes.set_xscale("symlog", linthresh=1, linscale=_LINEAR * 0.9)
    decades = [10**k for k in range(int(np.log10(last)) + 1)]
    major = [0, *decades] if last >= 10 else list(range(last + 1))
    minor = [m * d for d in decades for m in range(2, 10) if m * d <= last]
    _steps(axes, major, [] if last < 10 else minor)
    axes.set_xlim(-0.12, last * 1.08)
    if label:
        axes.set_xlabel("training step (linear from 0 to 1, then logarithmic)")


def _steps(axes: Axes, major: Sequence[int], minor: Sequence[int]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(major))
    axes.xaxis.set_minor_locator(FixedLocator(minor))
    axes.xaxis.set_major_formatter(_WHOLE)
    axes.xaxis.set_minor_formatter(NullFormatter())


def log_axis(axes: Axes, last: int) -> None:
    """Logarithmic steps for what begins with step 1."""
    axes.set_xscale("log")
    decades = [10**k for k in range(int(np.log10(max(last, 1))) + 1)]
    _steps(axes, decades, [m * d for d in decades for m in range(2, 10) if m * d <= last])
    axes.set_xlim(0.93, max(last, 1) * 1.08)
    axes.set_xlabel("training step (logarithmic)")


def linear_step_axis(axes: Axes, last: int) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.xaxis.set_major_formatter(_WHOLE)
    axes.set_xlim(0, max(last, 1) * 1.02)
    axes.set_xlabel("training step")


def count_axis(axes: Axes, label: str = "", top: float = 1, ticks: int = 5) -> None:
    """Whole numbers from 0 to a little above `top`."""
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=ticks, min_n_ticks=2))
    axes.yaxis.set_major_formatter(_WHOLE)
    axes.set_ylim(-0.03 * max(top, 1), max(top, 1) * 1.1)
    axes.set_ylabel(label)


def log_ticks(low: float, high: float, most: int = 10) -> np.ndarray:
    """Round numbers whose logarithms to 10 lie in low … high: decades, or 1, 2, 5, … where there are few."""
    decades = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
    for factors in ((1,), (1, 2, 5), np.arange(1, 10), np.arange(1, 10, 0.2), np.arange(1, 10, 0.01)):
        ticks = np.outer(decades, factors).ravel()
        ticks = ticks[(np.log10(ticks) >= low) & (np.log10(ticks) <= high)]
        if len(ticks) >= 3:
            break
    return ticks[:: max(1, -(-len(ticks) // most))]


def number(value: float, _: object = None) -> str:
    """`20,000`, `2e7`: a tick of an axis over many powers of ten."""
    return f"{value:,.0f}" if value < 1e6 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


# Curves


def thin(steps, *series, log: bool = True, pixels: int = _PIXELS) -> np.ndarray:
    """Indices that are enough to draw `series` over `steps` in `pixels` columns.

    First, last, smallest and largest value of each column are kept, which draws the same pixels as all points
    (M4: Jugel et al., PVLDB 7(10), 2014); then points between equal neighbours go. NaN marks a gap and stays one.
    """
    steps = np.asarray(steps, float)
    values = [np.asarray(s, float) for s in series]
    place = np.where(steps < 1, steps * _LINEAR, _LINEAR + np.log10(np.maximum(steps, 1))) if log else steps
    column = np.floor(place / (place[-1] or 1) * pixels).astype(int)
    edge = np.flatnonzero(np.diff(column))
    keep = np.zeros(len(steps), bool)
    keep[[0, -1]] = keep[edge] = keep[edge + 1] = True
    for value in values:
        starts = np.r_[0, edge + 1]
        for hidden in (np.inf, -np.inf):  # where the gaps go: after the smallest, before the largest
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
    """Over the runs, (R, S) → (S,), (S,): the mean and the sample standard deviation of the runs that have a value."""
    present = ~np.isnan(values)
    runs = present.sum(0)
    filled = np.where(present, values, 0.0)
    mean = np.divide(filled.sum(0), runs, out=np.full(runs.shape, np.nan), where=runs > 0)
    squares = np.where(present, (values - mean) ** 2, 0.0).sum(0)
    return mean, np.sqrt(np.divide(squares, runs - 1, out=np.zeros(runs.shape), where=runs > 1))


SPREAD = 1.1


def smoothed(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean over the steps t / 1.1 to 1.1 t, for every step t, (R, N) → (R, N): as wide everywhere on a log axis."""
    total = np.cumsum(np.pad(np.asarray(values, float), ((0, 0), (1, 0))), axis=1)
    first = np.searchsorted(steps, steps / SPREAD, side="left")
    end = np.searchsorted(steps, steps * SPREAD, side="right")
    return (total[:, end] - total[:, first]) / (end - first)


def noisy_runs(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str, log: bool = True) -> None:
    """For what jumps from step to step, (R, N): the range over the runs, pale, and smoothed runs and mean."""
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


def noisy_legend(figure: Figure, runs: int, colours: Sequence[str], more: Sequence[tuple[Any, str]] = ()) -> None:
    """The legend of `noisy_runs`, and `more` entries."""
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
    """One line of (S,) values, thinned; stepped: a value holds until the next step."""
    index = thin(steps, values, log=log, pixels=pixels)
    drawstyle = "steps-post" if stepped else "default"
    if len(steps) <= 10:  # a point is no line, and the last level has no length
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
) -> None:
    """Runs (R, S) thin and grey, their mean bold, ± σ as a band; one run alone is drawn bold."""
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
    curve(axes, steps, mean, stepped, pixels=pixels, color=colour, linewidth=width)


def reference(axes: Axes, value: float, text: str, colour: str = COLOURS["reference"]) -> None:
    """A dashed level with its name above its right end."""
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


def say(axes: Axes, text: str) -> None:
    """What is to be said where there is nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=COLOURS["run"])


def legend(figure: Figure, entries: Sequence[tuple[Any, str]], columns: int | None = None) -> None:
    """A line of names below the panels, where it can hide nothing."""
    figure.legend(
        [handle for handle, _ in entries],
        [name for _, name in entries],
        loc="outside lower center",
        ncols=columns or len(entries),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        columnspacing=1.8,
    )


def patch(colour: ColorType, alpha: float = 1) -> Patch:
    return Patch(facecolor=colour, alpha=alpha, linewidth=0)


def nothing() -> Line2D:
    """The handle of a legend entry that is only words."""
    return Line2D([], [], linestyle="")


def run_legend(figure: Figure, runs: int, colours: Sequence[str], band: bool = True, lines: bool = True) -> None:
    """The legend of `runs_and_mean`: which line is a run, which the mean, what the band is."""
    mean = tuple(Line2D([], [], color=colour, linewidth=1.5) for colour in colours)
    entries: list[tuple[Any, str]] = [(mean, "the only run" if runs == 1 else "mean over the runs")]
    if runs > 1:
        if band:
            entries.append((tuple(patch(c, 0.18) for c in colours), "± one standard deviation"))
        if lines:
            entries.append((Line2D([], [], **{**RUN, "linewidth": 0.8, "alpha": 0.7}), "a single run"))
    legend(figure, entries)
