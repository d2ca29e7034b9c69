"""Mean population of a black hole, where a run has any; mean ± σ over the runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from blackholes.figures import curves, data, scales, style


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: counts (one per run). options: experiment."""
    series = data.read_series(data.paths(inputs.counts), ["counts", "populations"])
    return draw(series["counts"], series["populations"], options.get("experiment"))


@style.styled
def draw(counts: np.ndarray, populations: np.ndarray, experiment: str | None = None) -> Figure:
    """counts, populations (R, S); at steps where a run has no hole it is left out of the mean."""
    colour = style.COLOURS["tokens_per_hole"]
    steps = np.arange(counts.shape[1])
    ratio = np.divide(populations, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    figure, grid = style.panels(
        2,
        1,
        (7.2, 4.5),
        style.heading(experiment, len(counts), "mean population of a hole"),
        sharex=True,
        height_ratios=[3.4, 1],
    )
    axes, below = grid[:, 0]
    curves.runs_and_mean(axes, steps, ratio, colour)
    scales.count_axis(axes, "mean population of a hole\n(tokens per hole)", top=np.nanmax(ratio, initial=2))
    if not counts.any():
        style.note(axes, "no black hole in any run at any step")
    curves.curve(below, steps, (counts > 0).sum(0), color=style.COLOURS["run"], linewidth=1)
    scales.count_axis(below, "runs with\nholes (number)", top=len(counts), ticks=2)
    scales.step_axis(axes, steps[-1], label=False)
    scales.step_axis(below, steps[-1])
    curves.run_legend(figure, len(counts), [colour])
    return figure
