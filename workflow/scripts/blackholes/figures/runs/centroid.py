"""Position and size of the cloud of tokens: norm, path and displacement of its centroid, and its radius."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from blackholes.figures import curves, data, scales, style

_KEYS = ["centroid_norm", "centroid_distance", "centroid_displacement", "cloud_radius"]


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: geometry (one per run). options: experiment."""
    series = data.read_series(data.paths(inputs.geometry), _KEYS)
    return draw(*series.values(), options.get("experiment"))


@style.styled
def draw(
    norm: np.ndarray, distance: np.ndarray, displacement: np.ndarray, radius: np.ndarray, experiment: str | None = None
) -> Figure:
    """norm, distance (from step 0), displacement, radius (R, S), in units of the embedding."""
    steps = np.arange(norm.shape[1])
    figure, grid = style.panels(
        4,
        1,
        (7.2, 8.0),
        style.heading(experiment, len(norm), "where the cloud of tokens is, and its size"),
        sharex=True,
    )
    rows = [
        (norm, "centroid_norm", "norm of the centroid\n(embedding units)"),
        (distance, "centroid_distance", "centroid's distance from\nstep 0 (embedding units)"),
        (displacement, "centroid_displacement", "centroid's displacement\n(embedding units per step)"),
        (radius, "cloud_radius", "radius of the cloud\n(embedding units)"),
    ]
    for axes, (values, role, label) in zip(grid[:, 0], rows, strict=True):
        values = np.array(values, float)
        if role == "centroid_displacement":
            _displacement(axes, steps, values)
        else:
            curves.runs_and_mean(axes, steps, values, style.COLOURS[role], stepped=False, band=False)
        axes.set_ylabel(label)
        scales.step_axis(axes, steps[-1], label=axes is grid[-1, 0])
    for axes in grid[[0, 1, 3], 0]:
        low, high = axes.dataLim.intervaly
        margin = 0.06 * (high - low or abs(high) or 1)
        axes.set_ylim(max(low - margin, -0.03 * high or -0.03), high + margin)
    curves.noisy_legend(figure, len(norm), [style.COLOURS[role] for _, role, _ in rows])
    return figure


def _displacement(axes, steps: np.ndarray, values: np.ndarray) -> None:
    """From step 1 on, logarithmic. Displacements of 0 are off the axis: they count in the averages and in the title."""
    still = int((values[:, 1:] == 0).sum())
    if not (values > 0).any():
        style.note(axes, "the centroid never moved")
        return
    smooth = curves.smoothed(steps[1:], values[:, 1:]).mean(0)  # a few smaller values may be off the axis
    curves.noisy_runs(axes, steps[1:], values[:, 1:], style.COLOURS["centroid_displacement"])
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(max(0.5 * values[values > 0].min(), 0.03 * smooth[smooth > 0].min()), 2 * values.max())
    if still:
        axes.set_title(f"{still:,} of {values[:, 1:].size:,} updates moved it by exactly 0", fontsize=7, loc="right")
