"""Share of coordinates whose exponent, and with it their ULP, changes in each step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures import curves, scales, style
from blackholes.figures.lattice import lattice_data


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: steps, raster. options: lattice (name)."""
    dimensions = lattice_data.read_raster(inputs.raster).displacement.shape[1]
    return draw(lattice_data.read_steps(inputs.steps), dimensions, options)


@style.styled
def draw(groups: Mapping[str, pd.DataFrame], dimensions: int, options: Mapping) -> Figure:
    """groups: name → step, number (of tokens), exponent_crossings (of their coordinates)."""
    figure, grid = style.panels(
        1, len(groups), (1.0 + 4.1 * len(groups), 3.6), lattice_data.title(options, "exponent crossings"), sharey=True
    )
    for axes, (group, table) in zip(grid[0], groups.items(), strict=True):
        steps = table["step"].to_numpy()
        share = 100 * table["exponent_crossings"].to_numpy() / (table["number"].to_numpy() * dimensions)
        curves.noisy_runs(axes, steps, share[None], lattice_data.colour(group))
        scales.log_axis(axes, steps[-1])
        total = int(table["exponent_crossings"].sum())
        axes.set_title(f"{table['number'].iloc[0]:,} {lattice_data.GROUPS[group]}", color=lattice_data.colour(group))
        axes.set_title(f"{total:,} in all", loc="right", fontsize=7)
    grid[0, 0].set_ylabel("exponent crossings\n(% of coordinates per step)")
    top = max(np.nanmax(axes.dataLim.y1) for axes in grid[0])
    grid[0, 0].set_ylim(-0.03 * (top or 1), 1.05 * (top or 1))
    mean = tuple(Line2D([], [], color=lattice_data.colour(group), linewidth=1.5) for group in groups)
    grey = Line2D([], [], **{**curves.RUN, "linewidth": 0.8, "alpha": 0.7})
    style.legend(
        figure, [(mean, f"averaged over steps t/{curves.SPREAD} to {curves.SPREAD} t"), (grey, "step by step")]
    )
    return figure
