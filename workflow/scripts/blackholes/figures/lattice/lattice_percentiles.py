"""How far tokens move in a step, in cells: percentiles over dead and over live tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from blackholes.figures import curves, scales, style
from blackholes.figures.lattice import lattice_data

_WIDEST, _THINNEST = 4.0, 0.8  # points
_LEAST = 0.25  # the axis is logarithmic from here up; below, the only value is 0


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: steps, raster. options: lattice (name)."""
    dimensions = lattice_data.read_raster(inputs.raster).displacement.shape[1]
    return draw(lattice_data.read_steps(inputs.steps), dimensions, options)


@style.styled
def draw(groups: Mapping[str, pd.DataFrame], dimensions: int, options: Mapping) -> Figure:
    """groups: name → step, number, percentile_…: the L2 norm of the displacement, in cells."""
    heading = lattice_data.title(options, "how far a token moves in one step")
    figure, grid = style.panels(1, len(groups), (1.0 + 4.1 * len(groups), 4.0), heading, sharey=True)
    names = [c.removeprefix("percentile_") for c in next(iter(groups.values())) if c.startswith("percentile_")]
    shades = [colormaps["viridis_r"](0.12 + 0.82 * k / max(len(names) - 1, 1)) for k in range(len(names))]
    # from wide to thin, each over those before: of lines that coincide, all colours are seen
    widths = np.linspace(_WIDEST, _THINNEST, len(names))
    for axes, (group, table) in zip(grid[0], groups.items(), strict=True):
        steps = table["step"].to_numpy()
        for name, shade, width in zip(names, shades, widths, strict=True):
            values = table[f"percentile_{name}"].to_numpy(float)
            curves.curve(axes, steps, lattice_data.running_median(steps, values), False, color=shade, linewidth=width)
        _axes(axes, steps[-1], dimensions)
        tokens = f"{table['number'].iloc[0]:,} {lattice_data.GROUPS[group]}"
        alike = (table.filter(like="percentile_").nunique(axis=1) == 1).all()
        said = f"percentiles over {tokens}" + ", all equal at every step" * bool(alike)
        axes.set_title(said, color=lattice_data.colour(group))
    grid[0, 0].set_ylabel("L2 norm of the displacement (cells per step)")
    top = max(axes.dataLim.y1 for axes in grid[0])
    grid[0, 0].set_ylim(-0.02, max(top * 1.6, 10))
    words = [f"{name} %" + (" (median)" if name == "50" else "") for name in names]
    lines = [Line2D([], [], color=shade, linewidth=width) for shade, width in zip(shades, widths, strict=True)]
    entries = list(zip(lines, words, strict=True))
    dashed = Line2D([], [], color=style.COLOURS["reference"], linewidth=0.8, linestyle=(0, (4, 3)))
    entries.append((dashed, f"√{dimensions}: one cell in each dimension"))
    style.legend(figure, entries)
    return figure


def _axes(axes: Axes, last: int, dimensions: int) -> None:
    scales.log_axis(axes, last)
    axes.set_yscale("symlog", linthresh=_LEAST, linscale=0.25)
    axes.yaxis.set_major_locator(FixedLocator([0, *(10.0**k for k in range(10))]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    axes.axhline(dimensions**0.5, color=style.COLOURS["reference"], linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)
