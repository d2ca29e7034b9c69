"""What the optimizer intends at every step and what rounding leaves of it, dead and live tokens apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures import curves, scales, style
from blackholes.figures.runs.forces_data import GROUPS, Series, heading, read, title

_COLOURS = {"intended": "#d9762b", "realised": "#3565a8", "intended_cells": "#d9762b", "mean_stalled": "#2b3a55"}
_HALF = 0.5  # of a cell


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: series, tokens. options: experiment, run."""
    return draw(read(inputs), title(inputs, options, "updates intended and what rounding leaves"))


@style.styled
def draw(series: Series, name: str = "") -> Figure:
    figure, grid = style.panels(3, 2, (7.4, 7.4), name, sharex=True, sharey="row")
    for column, group in enumerate(GROUPS):
        moves, cells, still = grid[:, column]
        moves.set_title(heading(series, group))
        if not series.numbers[group]:
            style.note(moves, f"no {group} token")
            continue
        for force in ("intended", "realised"):
            _percentiles(moves, series, f"{group}_{force}", _COLOURS[force])
        _percentiles(cells, series, f"{group}_intended_cells", _COLOURS["intended_cells"])
        curves.curve(
            still,
            series.steps,
            series.values[f"{group}_mean_stalled"],
            stepped=False,
            color=_COLOURS["mean_stalled"],
            linewidth=1.2,
        )
    for axes in (*grid[0], *grid[1]):
        axes.set_yscale("log")
    for axes in grid[1]:
        axes.axhline(_HALF, color=style.COLOURS["reference"], linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)
        axes.annotate(  # at the left: moves are large in the first steps
            "half a cell",
            (0, _HALF),
            (3, -3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="top",
            fontsize=7,
            color=style.COLOURS["reference"],
        )
    for axes in grid[2]:
        axes.set_ylim(-0.03, 1.03)
        scales.log_axis(axes, int(series.steps[-1]))
    grid[0, 0].set_ylabel("length of the move of a token\n(L2, in units of the weights)")
    grid[1, 0].set_ylabel("largest intended move of a token\n(cells of bfloat16)")
    grid[2, 0].set_ylabel("share of stalled dimensions\n(mean over the tokens)")
    entries = [
        ((style.patch(_COLOURS[force], 0.25), Line2D([], [], color=_COLOURS[force])), text)
        for force, text in (("intended", "intended: median, 10 to 90 %"), ("realised", "realised: median, 10 to 90 %"))
    ]
    style.legend(figure, [*entries, (Line2D([], [], color=_COLOURS["mean_stalled"]), "stalled")])
    return figure


def _percentiles(axes: Axes, series: Series, key: str, colour: str) -> None:
    low, middle, high = np.where(series.values[key] > 0, series.values[key], np.nan).T  # a logarithm has no 0
    index = curves.thin(series.steps, low, high)
    axes.fill_between(series.steps[index], low[index], high[index], color=colour, alpha=0.2, linewidth=0)
    curves.curve(axes, series.steps, middle, stepped=False, color=colour, linewidth=1.1)
