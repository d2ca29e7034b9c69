"""The answers to the questions: each seed's number, the mean with its interval, and the limits of yes and no."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from blackholes.artifacts.tables import read_columns
from blackholes.figures import style

_WIDTH = 50  # characters of a line in a panel's title
_COLOURS = {"yes": style.COLOURS["live"], "no": style.COLOURS["increase"], "undecided": style.COLOURS["run"]}


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: questions (questions.csv), values (question_values.csv)."""
    number = dict.fromkeys(("effect", "low", "high", "yes", "no"), lambda text: float(text or "nan"))
    words = dict.fromkeys(("key", "question", "answer", "unit", "counted"), str)
    table = pd.DataFrame(read_columns(inputs.questions, words | {"n": int} | number))
    return draw(table, pd.DataFrame(read_columns(inputs.values, {"key": str, "seed": int, "value": float})))


@style.styled
def draw(table: pd.DataFrame, values: pd.DataFrame) -> Figure:
    """table: questions.csv; values: `key, seed, value`. Questions without numbers are left out."""
    shown = table[~np.isnan(table["effect"])]
    if shown.empty:
        figure, grid = style.panels(1, 1, (7.8, 2))
        style.note(grid[0, 0], "no run says anything of a question: questions.csv has what to run")
        grid[0, 0].set_axis_off()
        return figure
    rows = -(-len(shown) // 2)
    figure, grid = style.panels(rows, 2, (7.8, 0.4 + 1.12 * rows))
    for axes, row in zip(grid.flat, shown.itertuples(), strict=False):
        own = values[values["key"] == row.key]
        seeds = own.groupby("seed")["value"].mean()
        colour = _COLOURS[row.answer]
        for limit in dict.fromkeys(_limits(row)):
            axes.axvline(limit, color=style.COLOURS["reference"], linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        axes.plot(own["value"], np.full(len(own), 0.55), "|", color=style.COLOURS["tokens"], markersize=5)
        axes.plot(seeds, np.full(len(seeds), 0.55), "o", color=style.COLOURS["run"], markersize=3.5, alpha=0.8)
        axes.plot([row.low, row.high], [-0.45, -0.45], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(row.effect, -0.45, "o", color=colour, markersize=5)
        axes.set_title(textwrap.fill(row.question, _WIDTH), fontsize=8)
        axes.text(
            1, 1.02, row.answer, transform=axes.transAxes, ha="right", va="bottom", color=colour, fontweight="bold"
        )
        axes.set_xlabel(f"{row.unit}; {row.n} {row.counted}", fontsize=7.5, labelpad=1)
        axes.set_ylim(-1.1, 1.2)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.margins(x=0.08)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    dashes = style.Line2D([], [], color=style.COLOURS["reference"], linewidth=0.8, linestyle=(0, (4, 2)))
    entries = [
        (style.Line2D([], [], color=style.COLOURS["tokens"], marker="|", linestyle=""), "a run or pair"),
        (style.Line2D([], [], color=style.COLOURS["run"], marker="o", markersize=3.5, linestyle=""), "a seed's mean"),
        (
            style.Line2D([], [], color=style.INK, marker="o", linewidth=2, markersize=5),
            "mean over seeds, 95 % interval",
        ),
        (dashes, "limits of yes and no"),
    ]
    style.legend(figure, entries)
    return figure


def _limits(row) -> list[float]:
    """Where the answer turns; on both sides of 0 where the direction does not matter."""
    both = [row.yes, row.no]
    return [*both, *(-limit for limit in both)] if row.key == "dead_move_along_hidden" else both
