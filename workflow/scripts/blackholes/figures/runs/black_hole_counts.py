"""Number of black holes at every step, one panel per run; steps on which it increased are marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures import curves, data, scales, style


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: counts (one per run). options: experiment, runs (names; default: the files' folders)."""
    files = data.paths(inputs.counts)
    series = data.read_series(files, ["counts"])
    return draw(series["counts"], data.run_names(files, options), options.get("experiment"))


@style.styled
def draw(counts: np.ndarray, runs: Sequence[str], experiment: str | None = None) -> Figure:
    """counts (R, S): holes at every step of every run."""
    counts = np.asarray(counts)
    steps = np.arange(counts.shape[1])
    columns = min(len(counts), 4)
    rows = -(-len(counts) // columns)
    size = (max(2.25 * columns, 5.0), max(1.55 * rows + 0.9, 3.0))
    figure, grid = style.panels(
        rows, columns, size, style.heading(experiment, len(counts), "number of holes in each"), sharex=True, sharey=True
    )
    for axes, count, name in zip(grid.flat, counts, runs, strict=False):
        curves.curve(axes, steps, count, pixels=300, color=style.COLOURS["holes"], linewidth=0.9)
        rises = np.flatnonzero(np.diff(count) > 0) + 1
        shown = rises[_distinct(rises, count[rises])]
        axes.plot(shown, count[shown], "^", color=style.COLOURS["increase"], markersize=3, markeredgewidth=0, alpha=0.8)
        axes.set_title(str(name).replace("_", " "))
        axes.set_title(
            f"{len(rises):,} increase{'s' * (len(rises) != 1)}",
            loc="right",
            fontsize=7,
            color=style.COLOURS["increase"],
        )
        scales.step_axis(axes, steps[-1], label=False)
        axes.tick_params(axis="x", labelsize=6.5)
        scales.count_axis(axes, top=counts.max())
    for axes in list(grid.flat)[len(counts) :]:
        axes.set_visible(False)
    for column in range(columns):  # the lowest visible panel of each column has the labels
        lowest = grid[(len(counts) - 1 - column) // columns, column]
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel("training step (linear 0 to 1, then log)", fontsize=7)
    figure.supylabel("black holes (number)", fontsize=8)
    entries = [
        (Line2D([], [], color=style.COLOURS["holes"], linewidth=0.9), "black holes"),
        (
            Line2D([], [], color=style.COLOURS["increase"], marker="^", linestyle="", markersize=4),
            "more than a step before",
        ),
    ]
    style.legend(figure, entries)
    return figure


def _distinct(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Indices of points (step, value) on different pixels of a logarithmic axis, one for each pixel."""
    if not len(steps):
        return np.zeros(0, int)
    return np.sort(np.unique(np.stack([np.log10(steps) * 120 // 1, values]), axis=1, return_index=True)[1])
