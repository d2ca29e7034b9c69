"""Share of tokens in each phase of their lifecycle on the lattice, at every step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from blackholes.figures import curves, scales, style
from blackholes.figures.lattice import lattice_data

_WORDS = {
    "early": "early: will still move\nmore than √D cells (L2)",
    "midlife": "midlife: a dimension will\nmove more than one cell",
    "late": "late: will still move,\none cell at most",
    "frozen": "frozen: will not\nmove again",
}


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: lifecycle, raster. options: lattice (name)."""
    steps = len(lattice_data.read_raster(inputs.raster).displacement)
    return draw(lattice_data.read_lifecycle(inputs.lifecycle), steps, options)


def shares(table: pd.DataFrame, steps: int) -> np.ndarray:
    """(4, steps + 1): share of tokens that are early, midlife, late and frozen after each of the steps 0, 1, ….

    The phase of a token depends on what it will still do: it is early until the last step that counts as early, etc.
    """
    ends = np.sort(table[list(lattice_data.PHASES)].to_numpy().T, axis=1)
    over = np.stack([np.searchsorted(end, np.arange(steps + 1), side="right") for end in ends]) / len(table)
    over = np.concatenate([np.ones((1, steps + 1)), over])  # ends are in order: early ≤ midlife ≤ late
    return over - np.concatenate([over[1:], np.zeros((1, steps + 1))])


@style.styled
def draw(groups: Mapping[str, pd.DataFrame], steps: int, options: Mapping) -> Figure:
    """groups: name → lifecycle of its tokens."""
    heading = lattice_data.title(options, "phases of the tokens' lifecycle")
    figure, grid = style.panels(2, len(groups), (1.0 + 4.1 * len(groups), 6.0), heading, sharey=True)
    x = np.arange(steps + 1)
    for column, (group, table) in zip(grid.T, groups.items(), strict=True):
        edges = 100 * np.concatenate([np.zeros((1, steps + 1)), shares(table, steps)[::-1].cumsum(0)])
        for axes, log in zip(column, (True, False), strict=True):  # one for the early steps, one for the late
            index = curves.thin(x, *edges[1:-1], log=log)
            for low, high, phase in zip(edges, edges[1:], reversed(_WORDS), strict=False):
                axes.fill_between(
                    x[index], low[index], high[index], color=style.COLOURS[phase], linewidth=0, step="post"
                )
            (scales.step_axis if log else scales.linear_step_axis)(axes, steps)
            axes.set_ylim(0, 100)
            axes.grid(False)
        column[0].set_title(f"{len(table):,} {lattice_data.GROUPS[group]}", color=lattice_data.colour(group))
    for axes in grid[:, 0]:
        axes.set_ylabel("tokens (%)")
    style.legend(figure, [(style.patch(style.COLOURS[phase]), words) for phase, words in _WORDS.items()])
    return figure
