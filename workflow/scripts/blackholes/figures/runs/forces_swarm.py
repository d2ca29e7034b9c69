"""Whether the dead tokens move as one: cosines of their moves with each other and with the mean hidden state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures import curves, scales, style
from blackholes.figures.runs.forces_data import Series, read, title

_COSINES = {
    "mutual": ("#3565a8", "between two of their moves"),
    "with_hidden": ("#d9762b", "of a move with the mean hidden state"),
}


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: series, tokens. options: experiment, run."""
    return draw(read(inputs), title(inputs, options, "whether the dead tokens move as one"))


@style.styled
def draw(series: Series, name: str = "") -> Figure:
    figure, grid = style.panels(2, 1, (7.4, 5.2), name, sharex=True, gridspec_kw={"height_ratios": [1.8, 1]})
    cosines, movers = grid[:, 0]
    last, dead = int(series.steps[-1]), series.numbers["dead"]
    cosines.set_ylim(-1.06, 1.06)
    cosines.set_ylabel("cosine (mean over dead tokens that move)")
    cosines.axhline(0, color=style.COLOURS["reference"], linewidth=0.8, zorder=1.5)
    for key, (colour, _) in _COSINES.items():
        there = ~np.isnan(series.values[key])
        cosines.plot(
            series.steps[there], series.values[key][there], ".", markersize=2.2, color=colour, alpha=0.5, linewidth=0
        )
    if not (series.values["movers"] > 0).any():
        style.note(cosines, "no dead token" if not dead else "no dead token moves at any step")
    curves.curve(movers, series.steps, series.values["movers"], color=style.COLOURS["dead"], linewidth=1.2)
    scales.count_axis(movers, "dead tokens\nthat move", dead)
    scales.log_axis(movers, last)
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 4}
    entries = [(Line2D([], [], color=colour, **dot), text) for colour, text in _COSINES.values()]
    style.legend(figure, entries)
    return figure
