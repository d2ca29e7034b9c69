"""One token: how far each of its dimensions moves at each step, in cells."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from blackholes.figures import scales, style
from blackholes.figures.lattice import lattice_data

_COLUMNS = 500


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: raster, lifecycle. options: lattice (name)."""
    raster = lattice_data.read_raster(inputs.raster)
    status, row = next(
        (group, table[table["token_id"] == raster.token].iloc[0])
        for group, table in lattice_data.read_lifecycle(inputs.lifecycle).items()
        if raster.token in set(table["token_id"])
    )
    token = f"token {raster.token:,}" + (f" ({status})" if status != "all" else "")
    ends = {phase: int(row[phase]) for phase in lattice_data.PHASES}
    return draw(raster.displacement, ends, lattice_data.title(options, f"how far {token} moves in each dimension"))


def columns(displacement: np.ndarray, number: int = _COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """(edges, values): steps grouped into columns of equal width on a logarithmic axis, and each dimension's farthest
    move in each column."""
    steps = len(displacement)
    edges = np.unique(np.round(np.geomspace(1, steps + 1, number + 1)).astype(int))
    groups = [displacement[a - 1 : b - 1] for a, b in pairwise(edges)]
    farthest = [np.abs(group).argmax(0) for group in groups]
    values = [group[index, np.arange(group.shape[1])] for group, index in zip(groups, farthest, strict=True)]
    return edges - 0.5, np.array(values).T


@style.styled
def draw(displacement: np.ndarray, ends: Mapping[str, int], title: str) -> Figure:
    """displacement (S - 1, D), in cells; ends: the last step of each phase, 0 for none."""
    edges, values = columns(displacement)
    figure, grid = style.panels(1, 1, (8.4, 4.4), title)
    axes = grid[0, 0]
    sizes = np.abs(displacement[displacement != 0])
    limit = 10.0 ** np.clip(np.ceil(np.log10(np.quantile(sizes, 0.999))), 1, 6) if len(sizes) else 10.0
    norm = SymLogNorm(0.5, linscale=0.3, vmin=-limit, vmax=limit)
    rows = np.arange(len(values) + 1) - 0.5
    image = axes.pcolormesh(edges, rows, values, cmap="RdBu_r", norm=norm, rasterized=True)
    scales.log_axis(axes, len(displacement))
    axes.set_xlim(0.5, len(displacement) + 0.5)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_ylabel("dimension")
    axes.grid(False)
    if not len(sizes):
        style.note(axes, "this token never moved")
    for height, (phase, step) in zip((0.02, 0.35, 0.68), ends.items(), strict=True):  # the lines may be close together
        if 0 < step < len(displacement):
            axes.axvline(step + 0.5, color=style.INK, linewidth=0.8, linestyle=(0, (4, 3)))
            words = f" {phase} until step {step:,}"
            place = {"transform": axes.get_xaxis_transform(), "ha": "right", "va": "bottom", "rotation": 90}
            box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5}
            axes.text(step + 0.5, height, words, fontsize=7, bbox=box, **place)
    bar = figure.colorbar(image, ax=axes, extend="both", pad=0.015, fraction=0.04)
    decades = [10.0**k for k in range(int(np.log10(limit)) + 1)]
    bar.ax.yaxis.set_major_locator(FixedLocator([*(-d for d in reversed(decades)), 0, *decades]))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}".replace("-", "−")))
    bar.ax.minorticks_off()
    bar.set_label("displacement (cells per step)")
    return figure
