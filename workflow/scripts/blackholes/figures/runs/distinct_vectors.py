"""Distinct vectors and black holes of all experiments at every step: mean ± σ over the runs of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from blackholes.errors import UserError
from blackholes.figures import curves, data, scales, style

_PANELS = [("n_unique", "distinct vectors (number)"), ("counts", "black holes (number)")]


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: counts (one per run). options: experiments (the name of each run's experiment)."""
    names, files = list(options["experiments"]), data.paths(inputs.counts)
    if len(files) != len(names):
        raise UserError(f"distinct_vectors: {len(names)} names for {len(files)} counts; expected one for each file")
    results = {
        name: data.read_series([f for f, n in zip(files, names, strict=True) if n == name], ["n_unique", "counts"])
        for name in dict.fromkeys(names)
    }
    return draw(results)


@style.styled
def draw(results: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """results: {experiment: {"n_unique", "counts": (R, S)}}; experiments may differ in runs and steps."""
    figure, grid = style.panels(2, 1, (7.2, 5.2), "Distinct vectors and black holes, by experiment", sharex=True)
    last = max(series["counts"].shape[1] for series in results.values()) - 1
    for axes, (key, label) in zip(grid[:, 0], _PANELS, strict=True):
        for index, series in enumerate(results.values()):
            values = np.asarray(series[key], float)
            curves.experiment_curve(axes, index, len(results), np.arange(values.shape[1]), values)
        axes.set_title(label)
        scales.step_axis(axes, last, label=axes is grid[-1, 0])
        scales.count_axis(axes, top=max(np.max(series[key]) for series in results.values()))
    style.legend(figure, curves.experiment_entries({name: len(series["counts"]) for name, series in results.items()}))
    return figure
