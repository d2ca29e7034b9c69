"""Number of black holes, population of all, population of the largest: mean ± σ over the runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from blackholes.figures import curves, data, scales, style


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: counts (one per run), tokens (optional: marks the number of dead tokens). options: experiment."""
    series = data.read_series(data.paths(inputs.counts), ["counts", "populations", "largest_bh_size"])
    tokens = data.optional(inputs, "tokens")
    dead = None if tokens is None else int((data.read_tokens(tokens)["status"] == "dead").sum())
    return draw(*series.values(), dead, options.get("experiment"))


@style.styled
def draw(
    counts: np.ndarray,
    populations: np.ndarray,
    largest: np.ndarray,
    dead: int | None = None,
    experiment: str | None = None,
) -> Figure:
    """counts, populations, largest (R, S); dead: number of dead tokens."""
    steps = np.arange(counts.shape[1])
    figure, grid = style.panels(
        3, 1, (7.2, 6.4), style.heading(experiment, len(counts), "black holes and their populations"), sharex=True
    )
    rows = [
        (counts, "holes", "black holes\n(number)"),
        (populations, "population", "population of all holes\n(tokens)"),
        (largest, "largest", "population of the\nlargest hole (tokens)"),
    ]
    for axes, (values, role, label) in zip(grid[:, 0], rows, strict=True):
        curves.runs_and_mean(axes, steps, values, style.COLOURS[role])
        scales.step_axis(axes, steps[-1], label=axes is grid[-1, 0])
        scales.count_axis(axes, label, top=max(values.max(), (dead or 0) * (role != "holes")))
        if dead and role != "holes":
            curves.reference(axes, dead, f"{dead:,} dead tokens", style.COLOURS["dead"])
        if not counts.any():
            style.note(axes, "no black hole in any run at any step")
    curves.run_legend(figure, len(counts), [style.COLOURS[role] for _, role, _ in rows])
    return figure
