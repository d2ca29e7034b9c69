"""Duplicates and the components of each adjacency graph at every step: mean ± σ over the runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from blackholes.figures import curves, data, scales, style

_ROWS = [
    ("components", "n_components", "components\n(number)"),
    ("largest", "largest_component_size", "largest component\n(tokens)"),
    ("isolated", "n_isolated", "isolated tokens\n(number)"),
]
_WORDS = {
    "identical": "their vectors are equal (distance 0)",
    "touching": "their Chebyshev distance is below the threshold",
    "cells": "they are within one bfloat16 step in every dimension",
}


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: counts, graphs (one per run). options: experiment, adjacencies (default touching, identical)."""
    names = list(options.get("adjacencies") or ["touching", "identical"])
    counts = data.paths(inputs.counts)
    unique = data.read_series(counts, ["n_unique"])["n_unique"]
    vocabulary = data.read_rows(counts[:1], "labels", [0]).shape[-1]
    keys = [f"{name}.{key}" for name in names for _, key, _ in _ROWS]
    series = data.read_series(data.paths(inputs.graphs), keys)
    graphs = {name: {key: series[f"{name}.{key}"] for _, key, _ in _ROWS} for name in names}
    return draw(vocabulary - unique, graphs, options.get("experiment"))


@style.styled
def draw(
    duplicates: np.ndarray, graphs: Mapping[str, Mapping[str, np.ndarray]], experiment: str | None = None
) -> Figure:
    """duplicates (R, S): vocabulary minus distinct vectors; graphs: {adjacency: {series: (R, S)}}."""
    steps = np.arange(duplicates.shape[1])
    names = list(graphs)
    size = (max(3.6 * len(names), 5.2), 7.6)
    title = style.heading(experiment, len(duplicates), "components of the graphs of neighbours")
    figure, grid = style.panels(4, len(names), size, title, sharex=True, sharey="row")
    rows = [("duplicates", None, "duplicates (tokens −\ndistinct vectors)"), *_ROWS]
    for row, (role, key, label) in enumerate(rows):
        panels = [duplicates] if key is None else [graphs[name][key] for name in names]
        for axes, values, name in zip(grid[row], panels, names, strict=False):
            curves.runs_and_mean(axes, steps, values, style.COLOURS[role], pixels=250)
            scales.step_axis(axes, steps[-1], label=row == 3)
            first = axes is grid[row, 0]
            scales.count_axis(axes, label if first else "", top=max(panel.max() for panel in panels))
            if row == 1:
                axes.set_title(f"adjacency: {name}", fontweight="bold")
    for axes in grid[0, 1:]:
        axes.set_axis_off()
    if len(names) > 1:
        lines = [f"{name}: {_WORDS[name]}" for name in names if name in _WORDS]
        lines += ["", "A component is a set of tokens connected by such pairs;", "an isolated token has no neighbour."]
        lines = ["Two tokens are neighbours if", *lines, "Duplicates count equal vectors, whatever the adjacency."]
        grid[0, 1].text(
            0.02, 0.97, "\n".join(lines), va="top", fontsize=7, linespacing=1.5, transform=grid[0, 1].transAxes
        )
    curves.run_legend(figure, len(duplicates), [style.COLOURS[role] for role, _, _ in rows])
    return figure
