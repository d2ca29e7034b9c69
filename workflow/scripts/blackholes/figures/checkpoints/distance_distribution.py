"""Distances in a checkpoint's overdensity: between all pairs, and from each token to its nearest neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from blackholes.artifacts.tables import read_statistics
from blackholes.figures import scales, style
from blackholes.figures.checkpoints import checkpoint_data

_BARS = 160  # at most, in a histogram
_FINEST = np.log10(129 / 128)  # the widest bin in the file, which has 128 bins per power of two
_LINES = {"lower median": (0, (5, 2)), "mean": (0, (1, 1.2))}


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: statistics (distance_statistics.safetensors), table (overdensity.csv). options: checkpoint."""
    tensors = checkpoint_data.tensors(inputs.statistics, "histogram", "edges", "nearest")
    statistics = read_statistics(inputs.table)
    return draw(tensors["histogram"], tensors["edges"], tensors["nearest"], statistics, options.get("checkpoint"))


@style.styled
def draw(
    histogram: np.ndarray,
    edges: np.ndarray,
    nearest: np.ndarray,
    statistics: Mapping[str, float],
    checkpoint: str | None = None,
) -> Figure:
    """histogram (B,) of the pairs at a distance above 0, edges (B + 1,); nearest (N,), NaN if there is only one token.

    statistics: pairs, zeros, threshold, and (if there are pairs) lower median, mean, max.
    """
    tokens = f"{len(nearest):,} tokens in the box, {statistics['pairs']:,.0f} pairs"
    title = style.titled(f"{checkpoint}, {tokens}" if checkpoint else tokens, "distances")
    figure, grid = style.panels(2, 1, (7.2, 5.8), title)
    nearest = nearest[~np.isnan(nearest)]
    positive = nearest[nearest > 0]
    limits = _limits(histogram, edges, statistics["threshold"])
    bars, borders = evened(histogram, edges)
    _panel(grid[0, 0], bars, borders, limits, statistics["zeros"], "pairs", statistics, _LINES)
    bars = np.histogram(np.log10(positive).clip(borders[0], borders[-1]), borders)[0]
    _panel(grid[1, 0], bars, borders, limits, (nearest == 0).sum(), "tokens", statistics, {})
    grid[0, 0].set_title("all pairs", fontweight="bold")
    grid[1, 0].set_title("each token and its nearest neighbour", fontweight="bold")
    entries = [
        (style.patch(style.COLOURS["distances"]), "distance above 0"),
        (style.patch(style.COLOURS["holes"]), "distance 0: in one hole"),
        (Line2D([], [], color=style.COLOURS["box"], linewidth=1), "adjacent up to here"),
        *(
            (Line2D([], [], color=style.INK, linewidth=0.9, linestyle=line), name)
            for name, line in _LINES.items()
            if statistics.get(name, 0) > 0
        ),
    ]
    style.legend(figure, entries)
    return figure


def _limits(histogram: np.ndarray, edges: np.ndarray, threshold: float) -> tuple[float, float]:
    """The logarithms (base 10) of the range of distances shown: all distances above 0, and the threshold."""
    ends = [*(edges[[0, -1]] if histogram.any() else []), *([threshold] if threshold > 0 else [])]
    low, high = (np.log10(min(ends)), np.log10(max(ends))) if ends else (-1.0, 0.0)
    margin = 0.04 * max(high - low, 0.1)
    return low - margin, high + margin


def _panel(
    axes: Axes,
    bars: np.ndarray,
    borders: np.ndarray,
    limits: tuple[float, float],
    zeros: float,
    things: str,
    statistics: Mapping[str, float],
    lines: Mapping[str, Any],
) -> None:
    width = limits[1] - limits[0]
    place = limits[0] - 0.05 * width
    if bars.any():
        axes.stairs(bars, borders, fill=True, color=style.COLOURS["distances"])
    top = max(bars.max(initial=0), zeros, 1)
    if zeros:
        axes.bar(place, zeros, 0.05 * width, color=style.COLOURS["holes"])
        axes.annotate(
            f"{zeros:,.0f} {things} at 0",
            (place + 0.025 * width, zeros),
            (3, -1),
            textcoords="offset points",
            va="top",
            fontsize=7,
            color=style.COLOURS["holes"],
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.8, "linewidth": 0},
        )
    if not bars.any() and not zeros:
        style.note(axes, f"no {things}: the box holds a single token")
    if statistics["threshold"] > 0:
        axes.axvline(np.log10(statistics["threshold"]), color=style.COLOURS["box"], linewidth=1)
    for name in lines:
        if statistics.get(name, 0) > 0:
            axes.axvline(np.log10(statistics[name]), color=style.INK, linewidth=0.9, linestyle=lines[name])
    axes.set_yscale("log")
    axes.set_ylim(0.7, 3 * top)
    axes.yaxis.set_major_formatter(FuncFormatter(scales.number))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(limits[0] - 0.1 * width, limits[1])
    ticks = scales.log_ticks(*limits)
    axes.set_xticks([place, *np.log10(ticks)], ["0", *(f"{tick:g}" for tick in ticks)])
    axes.set_xlabel("Euclidean distance (embedding units, logarithmic; 0 has its own bar)")
    axes.set_ylabel(f"{things} (number, logarithmic)")


def evened(histogram: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts in bins of equal width on a logarithmic axis, and the logarithms (base 10) of their borders.

    The file's bins have equal widths between powers of two, so their counts would jump at each. A bin cut by a border
    is divided in proportion, rounded to whole numbers.
    """
    if not histogram.any():
        return np.zeros(1, int), np.array([-1.0, 0.0])
    places = np.log10(edges.astype(float))
    width = places[-1] - places[0]
    borders = np.linspace(places[0], places[-1], int(np.clip(width / (2 * _FINEST), 1, _BARS)) + 1)
    below = np.append(0, np.cumsum(histogram))
    return np.diff(np.round(np.interp(borders, places, below)).astype(np.int64)), borders
