"""Are the elements normally distributed? Those of a checkpoint's hole members, and those of a snowball's tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures import data, style

_PARTS = [  # key, whose elements, relative to what, colour
    ("global", "checkpoint", "about one mean (σ global)", "population"),
    ("within", "checkpoint", "about the centroid (σ within)", "holes"),
    ("snowball", "snowball", "about the centroid", "duplicates"),
]


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: elements. options: snowball."""
    tensors, metadata = data.read_tensors(data.paths(inputs.elements)[0])
    parts = {
        name: {key: tensors[f"{name}.{key}"] for key in ("edges", "counts", "z", "quantiles", "moments")}
        for name, *_ in _PARTS
        if f"{name}.moments" in tensors
    }
    return draw(parts, metadata.get("label", ""), float(metadata.get("sigma", "nan")), options.get("snowball"))


@style.styled
def draw(
    parts: Mapping[str, Mapping[str, np.ndarray]], label: str, sigma: float, snowball: str | None = None
) -> Figure:
    """parts: global, within, snowball → edges, counts, z, quantiles, moments (mean, σ, skewness, excess kurtosis);
    label and sigma: of the snowball shown."""
    shown = [part for part in _PARTS if part[0] in parts]  # without a checkpoint only the snowball
    figure, grid = style.panels(2, len(shown), (2.6 * len(shown) + 0.4 * (len(shown) == 1), 5.4), snowball or "")
    for column, (name, whose, about, colour) in enumerate(shown):
        top, bottom = grid[:, column]
        noise = f", σ = {sigma:.3g}" + (f" ({label})" if label == "global" else "") if name == "snowball" else ""
        top.set_title(f"{whose}{noise}\n{about}")
        part = parts[name]
        if part["moments"][1] == 0:
            for axes in (top, bottom):
                _nothing(axes, "all tokens are at the centroid:\nno spread to show")
        else:
            _histogram(top, part, style.COLOURS[colour])
            _quantiles(bottom, part, style.COLOURS[colour])
    grid[0, 0].set_ylabel("density × σ (logarithmic)")
    grid[1, 0].set_ylabel("Q–Q plot: value − mean (in σ)")
    normal = Line2D([], [], color=style.INK, linewidth=1.0)
    style.legend(figure, [(normal, "normal distribution of the same mean and σ")])
    return figure


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
    """A Q–Q plot. Quantiles rise, so the lower right corner is free for the moments."""
    mean, std, skewness, kurtosis = part["moments"]
    axes.plot(part["z"], part["z"], color=style.INK, linewidth=1.0)
    axes.plot(part["z"], (part["quantiles"] - mean) / std, ".", color=colour, markersize=3)
    axes.set_xlabel("normal quantile (in σ)")
    words = {"mean": mean, "σ": std, "skewness": skewness, "excess kurtosis": kurtosis}
    text = "\n".join(f"{word} {value:.3g}".replace("-", "−") for word, value in words.items())
    axes.text(0.98, 0.03, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=6.5)


def _nothing(axes: Axes, text: str) -> None:
    style.note(axes, text)
    axes.set_xticks([])
    axes.set_yticks([])
