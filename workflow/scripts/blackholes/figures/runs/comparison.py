"""Experiments against their references: mean difference over pairs of runs with one seed, and its interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from blackholes.artifacts.tables import read_columns
from blackholes.figures import style

_PANELS = {
    "loss": "loss (nats per token)",
    "distinct_vectors": "distinct vectors (number)",
    "population": "population of all holes (tokens)",
    "largest_hole": "population of the largest hole (tokens)",
    "black_holes": "black holes (number)",
    "dead_distinct": "distinct vectors of dead tokens (number)",
    "dead_frozen": "last step at which a dead token moves",
    "last_increase": "last step on which the holes multiply",
}
_LEAST = 1.0  # inches: of a row of panels without its pairs
_FEW = 8  # pairs; more are set closer, in smaller type


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: comparison (comparison.csv). Shown is each measure at the last step it has."""
    number = dict.fromkeys(("difference", "low", "high"), lambda text: float(text or "nan"))
    words = dict.fromkeys(("measure", "experiment", "reference"), str)
    return draw(pd.DataFrame(read_columns(inputs.comparison, words | {"step": int, "pairs": int} | number)))


@style.styled
def draw(table: pd.DataFrame) -> Figure:
    """table: `measure, step, experiment, reference, pairs, difference, low, high`."""
    last = table.groupby(["experiment", "reference", "measure"])["step"].transform("max")
    table = table[table["step"] == last]
    pairs = list(dict.fromkeys(zip(table["experiment"], table["reference"], strict=True)))
    shown = [measure for measure in _PANELS if (table["measure"] == measure).any()]
    rows = -(-len(shown) // 2)
    each, size = (0.22, 7.5) if len(pairs) <= _FEW else (0.15, 6.5)
    size_of_all = (7.8, rows * (_LEAST + each * len(pairs)))
    figure, grid = style.panels(
        rows, 2, size_of_all, "Differences between experiments and their references", sharey=True
    )
    labels = []
    for place, (one, other) in enumerate(pairs):
        own = table[(table["experiment"] == one) & (table["reference"] == other)]
        labels.append(f"{one} − {other}, n = {own['pairs'].iloc[0]}")
        for axes, measure in zip(grid.flat, shown, strict=False):
            for row in own[own["measure"] == measure].itertuples():
                colour = style.experiment_colour(place)
                axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
                axes.plot(row.difference, place, "o", color=colour, markersize=4)
    for axes, measure in zip(grid.flat, shown, strict=False):
        axes.axvline(0, color=style.COLOURS["reference"], linewidth=0.8, zorder=0)
        axes.set_title(_PANELS[measure])
        axes.set_yticks(range(len(pairs)), labels, size=size)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.08)
        if not np.nan_to_num(table.loc[table["measure"] == measure, ["difference", "low", "high"]]).any():
            axes.set_xlim(-1, 1)  # all differences are 0
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel(
        "difference at the last step: mean over pairs of runs with one seed, and its 95 % interval", size=8
    )
    return figure
