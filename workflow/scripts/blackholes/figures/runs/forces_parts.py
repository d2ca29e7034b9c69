"""The parts of an update, one upon the other: the gradient's, the weight decay's, and what rounding takes or adds."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from blackholes.figures import curves, scales, style
from blackholes.figures.runs.forces_data import Series, read, title

_PARTS = {"adam": ("#3565a8", "gradient"), "decay": ("#a88414", "weight decay"), "residual": ("#c2476f", "rounding")}


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: series, tokens. options: experiment, run."""
    return draw(read(inputs), title(inputs, options, "the parts of an update"))


@style.styled
def draw(series: Series, name: str = "") -> Figure:
    figure, grid = style.panels(2, 1, (7.4, 5.6), name, sharex=True)
    panels = {"dead_mean": f"the dead, mean of {series.numbers['dead']:,} tokens", "token": f"token {series.token!r}"}
    for axes, (group, heading) in zip(grid[:, 0], panels.items(), strict=True):
        axes.set_title(heading, parse_math=False)
        axes.set_ylabel("length (L2, in units of the weights)")
        scales.log_axis(axes, int(series.steps[-1]))
        if group == "dead_mean" and not series.numbers["dead"]:
            style.note(axes, "no dead token")
            continue
        values = [series.values[f"{group}_{part}"] for part in _PARTS]
        index = curves.thin(series.steps, *values)
        axes.stackplot(
            series.steps[index],
            *(value[index] for value in values),
            colors=[colour for colour, _ in _PARTS.values()],
            linewidth=0,
        )
        axes.set_ylim(bottom=0)
    grid[0, 0].set_xlabel("")
    style.legend(figure, [(style.patch(colour), text) for colour, text in _PARTS.values()])
    return figure
