"""The probability that the model gives to dead tokens, and how far they move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter

from blackholes.figures import curves, scales, style
from blackholes.figures.runs.forces_data import GROUPS, Series, read, title


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: series, tokens. options: experiment, run."""
    return draw(read(inputs), title(inputs, options, "probability of dead tokens, and their motion"))


@style.styled
def draw(series: Series, name: str = "") -> Figure:
    figure, ((over, against),) = style.panels(1, 2, (7.4, 3.8), name)
    steps, values = series.steps, series.values
    for group in GROUPS:
        if series.numbers[group]:
            colour = style.COLOURS[group]
            curves.curve(over, steps, values[f"{group}_mean_probability"], stepped=False, color=colour, linewidth=1.3)
    over.set_yscale("log")
    over.set_ylabel("softmax probability of a token (mean)")
    scales.log_axis(over, int(steps[-1]))
    against.set_xlabel("probability of a dead token (mean)")
    against.set_ylabel("length of its move (mean, L2)")
    entries = [(Line2D([], [], color=style.COLOURS[group]), f"{group} tokens") for group in GROUPS]
    if not series.numbers["dead"]:
        style.note(against, "no dead token")
    else:
        against.set(xscale="log", yscale="log")
        chosen = _spaced(steps)
        across = values["dead_mean_probability"][chosen]
        _few_ticks(against, across)
        for force, marker in (("intended", "x"), ("realised", "o")):
            moved = values[f"dead_mean_{force}"][chosen]
            there = moved > 0
            dots = against.scatter(
                across[there], moved[there], c=steps[chosen][there], marker=marker, s=11, linewidths=0.7,
                norm=LogNorm(1, max(2, steps[-1])), cmap="viridis",
            )  # fmt: skip
            grey: dict[str, Any] = {"color": style.COLOURS["run"], "marker": marker, "linestyle": "", "markersize": 4}
            entries.append((Line2D([], [], **grey), f"{force}, a step"))
        bar = figure.colorbar(dots, ax=against, pad=0.02)
        bar.set_label("training step")
        bar.outline.set_visible(False)
    style.legend(figure, entries)
    return figure


def _few_ticks(axes: Axes, values: np.ndarray) -> None:
    """Ticks for a logarithmic axis that may be shorter than a power of ten."""
    low, high = np.log10(values.min()), np.log10(values.max())
    if high - low < 1:
        axes.xaxis.set_major_locator(FixedLocator(scales.log_ticks(low, high, most=4).tolist()))
        axes.xaxis.set_major_formatter("{x:.2g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _spaced(steps: np.ndarray, most: int = 300) -> np.ndarray:
    """Indices of steps that are as far apart on a logarithmic axis."""
    return np.unique(np.searchsorted(steps, np.geomspace(1, steps[-1], most)))
