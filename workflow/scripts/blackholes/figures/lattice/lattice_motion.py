"""The steps at which tokens move for the first and for the last time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures import curves, scales, style
from blackholes.figures.lattice import lattice_data


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: lifecycle, raster. options: lattice (name)."""
    steps = len(lattice_data.read_raster(inputs.raster).displacement)
    return draw(lattice_data.read_lifecycle(inputs.lifecycle), steps, options)


@style.styled
def draw(groups: Mapping[str, pd.DataFrame], steps: int, options: Mapping) -> Figure:
    """groups: name → lifecycle of its tokens. Curves are cumulative shares of the group's tokens."""
    title = lattice_data.title(options, "when tokens move for the first and for the last time")
    figure, grid = style.panels(1, 2, (8.4, 3.5), title, sharey=True)
    x = np.arange(steps + 1)
    panels = [  # the first motion is early, the last one late: each on the axis that shows it
        ("first_motion", "first motion: tokens that have moved at least once", True),
        ("late", "last motion: tokens that will not move again", False),
    ]
    for axes, (column, words, log) in zip(grid[0], panels, strict=True):
        for place, (group, table) in enumerate(groups.items()):
            moves = np.sort(table[column].to_numpy()[table[column].to_numpy() > 0])
            share = 100 * np.searchsorted(moves, x, side="right") / len(table)
            curves.curve(axes, x, share, log=log, **_line(group, place))
        (scales.step_axis if log else scales.linear_step_axis)(axes, steps)
        axes.set_title(words)
        axes.set_ylim(-3, 103)
    grid[0, 0].set_ylabel("tokens (%)")
    entries = []
    for place, (group, table) in enumerate(groups.items()):
        line = Line2D([], [], **_line(group, place))
        never, moving = (table["first_motion"] == 0).sum(), (table["late"] == steps).sum()
        words = f"{never:,} never move, {moving:,} still move in the last step"
        entries.append((line, f"{len(table):,} {lattice_data.GROUPS[group]}:\n{words}"))
    style.legend(figure, entries)
    return figure


def _line(group: str, place: int) -> dict[str, Any]:
    """Later groups are drawn thinner and over the earlier ones, so that curves that coincide are both seen."""
    return {"color": lattice_data.colour(group), "linewidth": 1.3 if place else 3.0}
