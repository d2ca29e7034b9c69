"""Are the elements normally distributed? Those of a checkpoint's hole members, and those of snowballs' tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures import data, style
from blackholes.figures.snowballs import snowball_data

_PARTS = [  # key, relative to what, colour
    ("global", "about one mean (σ global)", "population"),
    ("within", "about their mean (σ within)", "holes"),
    ("snowball", "about the centroid", "duplicates"),
]
_KEYS = ("edges", "counts", "z", "quantiles", "fit", "moments")


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: elements; latent, if there is a checkpoint. options: snowball."""
    tensors, metadata = data.read_tensors(data.paths(inputs.elements)[0])
    parts = {
        name: {key: tensors[f"{name}.{key}"] for key in _KEYS} for name, *_ in _PARTS if f"{name}.moments" in tensors
    }
    sigma, trials = float(metadata.get("sigma", "nan")), int(metadata.get("trials", 1))
    whose = snowball_data.compared(inputs)
    return draw(parts, metadata.get("label", ""), sigma, trials, options.get("snowball"), whose)


@style.styled
def draw(
    parts: Mapping[str, Mapping[str, np.ndarray]],
    label: str,
    sigma: float,
    trials: int,
    snowball: str | None = None,
    whose: str = snowball_data.HOLES,
) -> Figure:
    """parts: global, within, snowball → edges, counts, z, quantiles, fit (slope, intercept, R²), moments (mean, σ,
    skewness, excess kurtosis); label and sigma: of the snowballs shown; trials: how many; whose: the tokens that global
    and within are of. Equal elements are left out.
    """
    present = [part for part in _PARTS if part[0] in parts]  # without a checkpoint only the snowball
    shown = [part for part in present if parts[part[0]]["moments"][1] > 0]
    title = style.titled(snowball, "are the elements normally distributed?")
    if not shown:
        figure, grid = style.panels(1, 1, (5.2, 1.8), title)
        style.note(grid[0, 0], "all tokens are at the centroid: no spread to show")
        grid[0, 0].set_axis_off()
        return figure
    figure, grid = style.panels(2, len(shown), (2.7 * len(shown) + 0.5 * (len(shown) < 3), 5.9), title)
    word = "" if label.startswith("holes") or label == f"{sigma:g}" else f" ({label})"
    noise = f"{trials:,} snowball{'s' * (trials != 1)}, σ = {sigma:.3g}{word}"
    for column, (name, about, colour) in enumerate(shown):
        top, bottom = grid[:, column]
        top.set_title(f"{noise if name == 'snowball' else whose}\n{about}")
        _histogram(top, parts[name], style.COLOURS[colour])
        _quantiles(bottom, parts[name], style.COLOURS[colour])
    grid[0, 0].set_ylabel("density × σ (logarithmic)")
    grid[1, 0].set_ylabel("Q–Q plot: value − mean (in σ)")
    entries = [
        (Line2D([], [], color=style.INK, linewidth=1.0), "normal distribution of the same mean and σ"),
        (_fitted(), "line fitted to the quantiles"),
    ]
    equal = [part for part in present if part not in shown]
    for name, about, _ in equal:
        left_out = "snowballs" if name == "snowball" else whose
        entries.append((style.nothing(), f"not shown: {left_out} {about}, since all are equal"))
    style.legend(figure, entries, 1 if equal else 2)
    return figure


def _fitted(xdata: Any = (), ydata: Any = ()) -> Line2D:
    return Line2D(xdata, ydata, color=style.COLOURS["box"], linewidth=1.1, linestyle=(0, (4, 2)))


def _histogram(axes: Axes, part: Mapping[str, np.ndarray], colour: str) -> None:
    mean, std = part["moments"][:2]
    edges = (part["edges"] - mean) / std
    density = part["counts"] / part["counts"].sum() / np.diff(edges)
    axes.stairs(density, edges, fill=True, color=colour, alpha=0.55, linewidth=0)
    x = np.linspace(min(edges[0], -3), max(edges[-1], 3), 800)
    axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=style.INK, linewidth=1.0)
    axes.set_yscale("log")
    axes.set_ylim(min(density[density > 0].min() / 2, 0.005), max(density.max(), 0.4) * 2)
    axes.set_xlabel("value − mean (in σ)")


def _quantiles(axes: Axes, part: Mapping[str, np.ndarray], colour: str) -> None:
    """A Q–Q plot, with the numbers below it."""
    mean, std, skewness, kurtosis = part["moments"]
    slope, intercept, r2 = part["fit"]
    axes.plot(part["z"], part["z"], color=style.INK, linewidth=1.0)
    axes.plot(part["z"], (part["quantiles"] - mean) / std, ".", color=colour, markersize=3)
    line = _fitted(part["z"], (intercept + slope * part["z"] - mean) / std)
    axes.add_line(line)
    numbers = [
        f"mean {mean:.3g}, σ {std:.3g}",
        f"skewness {skewness:.3g}",
        f"excess kurtosis {kurtosis:.3g}",
        f"line: slope {slope:.3g}, R² {r2:.4f}",
    ]
    axes.set_xlabel("normal quantile (in σ)\n" + "\n".join(numbers).replace("-", "−"))
