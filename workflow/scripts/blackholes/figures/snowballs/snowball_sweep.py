"""Snowballs: how many tokens share vectors at each level of noise σ, compared with the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from blackholes.figures import data, style
from blackholes.figures.snowballs import sigma_axis, snowball_data

_PANELS = [
    ("n_unique", "unique vectors (number)", "duplicates"),
    ("n_singletons", "singletons (tokens)", "isolated"),
    ("n_black_holes", "black holes (number)", "holes"),
    ("largest_bh", "population of the largest hole (tokens)", "largest"),
]
CHECKPOINT = style.INK
BAND = "#efe9d8"
_SEEN = 0.01  # share of an axis: what is narrower hides behind the lines at σ


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: trials, scores; latent, if there is a checkpoint. options: snowball."""
    names = [name for name, _, _ in _PANELS]
    trials, _ = snowball_data.trials(data.paths(inputs.trials)[0], ["n_tokens", *names])
    scores, _ = snowball_data.scores(data.paths(inputs.scores)[0], ["sigma", "statistic", "checkpoint"])
    own = scores.drop_duplicates("statistic").set_index("statistic")["checkpoint"].dropna().to_dict()
    words = sigma_axis.words_of(scores["label"], scores["sigma"])
    interval, whose = snowball_data.latent_interval(inputs), snowball_data.compared(inputs)
    return draw(trials, own, words, interval, options.get("snowball"), whose)


@style.styled
def draw(
    trials: pd.DataFrame,
    own: Mapping[str, float],
    words: Mapping[str, float],
    interval: tuple[float, float] | None = None,
    snowball: str | None = None,
    whose: str = snowball_data.HOLES,
) -> Figure:
    """trials: one row per trial with sigma, n_tokens and the four statistics; own: the checkpoint's statistics, if any;
    words: the σ of `within`, `global` and `latent`; interval: of the latent σ; whose: what tokens of it `own` is of."""
    tokens, number = int(trials["n_tokens"].iloc[0]), trials.groupby("sigma").size().max()
    title = f"{snowball or 'snowballs'}: {number:,} trials of {tokens:,} tokens for each σ"
    figure, grid = style.panels(2, 2, (7.8, 6.2), title, sharex=True)
    groups = trials.groupby("sigma")
    sigmas = groups.size().index.to_numpy(float)
    layout = sigma_axis.Layout(sigmas)
    x = layout.place(sigmas)
    for axes, (name, label, colour) in zip(grid.flat, _PANELS, strict=True):
        values, colour = groups[name], style.COLOURS[colour]
        mean, deviation = values.mean().to_numpy(), values.std(ddof=1).fillna(0).to_numpy()
        axes.vlines(x, values.min(), values.max(), color=colour, alpha=0.25, linewidth=5)
        axes.plot(x, mean, color=colour, linewidth=0.8, alpha=0.6)
        axes.errorbar(x, mean, deviation, fmt="o", color=colour, markersize=3.5, elinewidth=1.1, capsize=2)
        sigma_axis.draw(axes, layout, named=axes in grid[-1])
        lines = sigma_axis.mark(axes, layout, words, named=axes in grid[0])
        counts(axes, tokens, lines)
        latent = band(axes, layout, interval) if interval else None
        if name in own:
            axes.axhline(own[name], color=CHECKPOINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
            axes.set_title(label, pad=15)
            said: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 7, "va": "bottom"}
            axes.text(0, 1.015, f"the {whose}: {own[name]:,.0f}", **said)
        else:
            axes.set_title(label)
    style.legend(figure, [*_entries(own, whose), *([latent] if latent else [])], 3)
    return figure


def band(axes: Axes, layout: sigma_axis.Layout, interval: tuple[float, float]) -> tuple[Any, str]:
    """The interval of the latent σ, as far as the axis reaches. Returns its entry in a legend: without a patch where
    the interval is too narrow to be seen."""
    low, high = axes.get_xlim()
    ends = [min(max(float(layout.place(end)), low), high) for end in interval]
    axes.axvspan(*ends, color=BAND, linewidth=0, zorder=0.5)
    words = "95 % interval of the latent σ"
    if ends[1] - ends[0] < _SEEN * (high - low):
        return style.nothing(), f"{words}: too narrow to be seen"
    return style.patch(BAND), words


def counts(axes: Axes, tokens: int, lines: int = 1) -> None:
    """An axis from 0 to the number of tokens, logarithmic from 1 up, which shows small and large counts alike; with
    room for so many lines of names above."""
    axes.set_yscale("symlog", linthresh=1, linscale=0.35)
    decades = [10**k for k in range(len(str(tokens)))]
    axes.yaxis.set_major_locator(FixedLocator([0, *decades]))
    axes.yaxis.set_minor_locator(FixedLocator([m * d for d in decades for m in range(2, 10) if m * d <= tokens]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(-0.3, 1.6 * (tokens + 1) * (tokens + 3) ** (0.07 + 0.08 * lines))


def _entries(own: Mapping[str, float], whose: str):
    grey = style.COLOURS["run"]
    entries = [
        (Line2D([], [], color=grey, marker="o", markersize=3.5, linewidth=0.8), "mean over the trials"),
        (Line2D([], [], color=grey, marker="|", linestyle="", markersize=7), "± one standard deviation"),
        (style.patch(grey, 0.25), "smallest to largest of the trials"),
    ]
    if own:
        line = Line2D([], [], color=CHECKPOINT, linewidth=0.9, linestyle=(0, (4, 3)))
        entries.append((line, f"tokens of the {whose}"))
    return entries
