"""Sizes of the components of each adjacency graph at key steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures import curves, data, scales, style


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: graphs (one per run). options: experiment, key_steps, adjacencies (default touching, identical)."""
    files = data.paths(inputs.graphs)
    names = list(options.get("adjacencies") or ["touching", "identical"])
    steps = data.key_steps(options, data.length(files[0], f"{names[0]}.labels") - 1)
    labels = {name: data.read_rows(files, f"{name}.labels", steps) for name in names}
    return draw(steps, labels, options.get("experiment"))


@style.styled
def draw(steps: Sequence[int], labels: Mapping[str, np.ndarray], experiment: str | None = None) -> Figure:
    """labels: {adjacency: (R, K, V)} at the K steps; bars: tokens by the size of their component, mean over runs."""
    names = list(labels)
    runs, _, vocabulary = labels[names[0]].shape
    classes = size_classes(vocabulary)
    size = (max(3.7 * len(names), 5.0), (1.0 if len(classes) <= 9 else 1.5) + max(1.25 * len(steps), 2.4))
    figure, grid = style.panels(
        len(steps),
        len(names),
        size,
        style.heading(experiment, runs, "sizes of the components of the graphs"),
        sharex=True,
        sharey=True,
    )
    place = np.arange(len(classes))
    colours = [style.COLOURS["isolated"], *[style.COLOURS["components"]] * (len(classes) - 1)]
    for column, name in enumerate(names):
        for row, step in enumerate(steps):
            axes = grid[row, column]
            tokens, components = distribution(labels[name][:, row], classes)
            mean, deviation = curves.mean_and_deviation(tokens)
            axes.bar(place, mean, 0.72, color=colours)
            if runs > 1:
                some = deviation > 0
                axes.errorbar(place[some], mean[some], deviation[some], fmt="none", ecolor=style.INK, elinewidth=0.7)
            for x, y, error, number in zip(place, mean, deviation, components.mean(0), strict=True):
                if y:
                    above = y + (error if runs > 1 else 0)
                    axes.annotate(
                        _short(number), (x, above), (0, 1.5), textcoords="offset points", ha="center", fontsize=6.5
                    )
            axes.set_title(f"step {step:,}", fontsize=8)
            axes.grid(axis="x", visible=False)
            axes.set_xticks(place, [f"{a:,}" if a == b else f"{a:,}–{b:,}" for a, b in classes])
            scales.count_axis(axes, top=vocabulary * 1.12)
            axes.tick_params(axis="x", length=0, labelsize=6.5)  # so that labels such as 33–64, 65–128 fit
            if len(classes) > 9:  # labels such as 1,025–2,048 do not fit side by side
                axes.tick_params(axis="x", rotation=90, pad=1)
        grid[0, column].set_title(f"adjacency: {name}", loc="right", fontweight="bold")
        grid[-1, column].set_xlabel("size of the component (tokens)")
    figure.supylabel(
        "tokens in components of that size (mean over the runs)" if runs > 1 else "tokens in components of that size",
        fontsize=8,
    )
    over = " (mean over the runs)" if runs > 1 else ""
    entries = [
        (style.patch(style.COLOURS["isolated"]), "isolated tokens"),
        (style.patch(style.COLOURS["components"]), "components of two or more"),
        (style.nothing(), "number above a bar: components" + over),
    ]
    if runs > 1:
        bar = Line2D([], [], color=style.INK, marker="|", linestyle="", markersize=8, markeredgewidth=0.7)
        entries.append((bar, "± one standard deviation"))
    style.legend(figure, entries, 2)
    return figure


def size_classes(vocabulary: int) -> list[tuple[int, int]]:
    """Smallest and largest size of each class: 1, 2, 3–4, 5–8, … up to the vocabulary."""
    tops = [1]
    while tops[-1] < vocabulary:
        tops.append(min(2 * tops[-1], vocabulary))
    return [(low + 1, top) for low, top in zip([0, *tops], tops, strict=False)]


def distribution(labels: np.ndarray, classes: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """labels (R, V) → tokens and components in each size class, both (R, C)."""
    sizes = np.stack([np.bincount(run, minlength=labels.shape[1]) for run in labels])
    inside = [(sizes >= low) & (sizes <= top) for low, top in classes]
    return (
        np.stack([(sizes * some).sum(1) for some in inside], 1).astype(float),
        np.stack([some.sum(1) for some in inside], 1).astype(float),
    )


def _short(number: float) -> str:
    return (
        f"{number:,.0f}"
        if number == round(number) or number >= 10
        else f"{number:.1f}"
        if number >= 0.1
        else f"{number:.2f}"
    )
