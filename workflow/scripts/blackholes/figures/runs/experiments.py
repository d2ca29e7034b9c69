"""Loss, black holes and touching components of all experiments: mean ± σ over the runs of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from blackholes.errors import UserError
from blackholes.figures import curves, data, scales, style

_PANELS = [
    ("loss", "cross-entropy (nats per token), running mean"),
    ("counts", "black holes (number)"),
    ("populations", "population of all holes (tokens)"),
    ("largest_bh_size", "population of the largest hole (tokens)"),
    ("touching.n_components", "touching components (number)"),
    ("touching.largest_component_size", "largest touching component (tokens)"),
]


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: logs, counts, graphs (one per run, in the same order); tokens (optional: marks the number
    of dead tokens). options: experiments (the name of each run's experiment)."""
    names = list(options["experiments"])
    files = {kind: data.paths(getattr(inputs, kind)) for kind in ("logs", "counts", "graphs")}
    for kind, paths in files.items():
        if len(paths) != len(names):
            raise UserError(f"experiments: {len(names)} names for {len(paths)} {kind}; expected one for each file")
    results = {}
    for name in dict.fromkeys(names):
        mine = {kind: [f for f, n in zip(paths, names, strict=True) if n == name] for kind, paths in files.items()}
        _, losses = data.read_losses(mine["logs"])
        results[name] = {
            "loss": losses,
            **data.read_series(mine["counts"], ["counts", "populations", "largest_bh_size"]),
            **data.read_series(mine["graphs"], [key for key, _ in _PANELS if key.startswith("touching.")]),
        }
    tokens = data.optional(inputs, "tokens")
    dead = None if tokens is None else int((data.read_tokens(tokens)["status"] == "dead").sum())
    return draw(results, dead)


@style.styled
def draw(results: Mapping[str, Mapping[str, np.ndarray]], dead: int | None = None) -> Figure:
    """results: {experiment: {"loss": (R, N), series: (R, S)}}; experiments may differ in runs and steps."""
    figure, grid = style.panels(3, 2, (7.8, 7.2), "Loss, black holes and touching tokens, by experiment", sharex=True)
    last = max(series["counts"].shape[1] for series in results.values()) - 1
    for axes, (key, label) in zip(grid.flat, _PANELS, strict=True):
        top = 0
        for index, series in enumerate(results.values()):
            values = np.asarray(series[key], float)
            steps = np.arange(values.shape[1])
            if key == "loss":
                steps = steps + 1
                values = curves.smoothed(steps, values)
            curves.experiment_curve(axes, index, len(results), steps, values, stepped=key != "loss", pixels=300)
            top = max(top, values.max())
        axes.set_title(label)
        scales.step_axis(axes, last, label=axes in grid[-1])
        if dead and key in ("populations", "largest_bh_size"):
            curves.reference(axes, dead, f"{dead:,} dead tokens", style.COLOURS["dead"])
            top = max(top, dead)
        if key != "loss":
            scales.count_axis(axes, top=top)
    style.legend(figure, curves.experiment_entries({name: len(series["counts"]) for name, series in results.items()}))
    return figure
