"""Snowballs: how many tokens share vectors at each level of noise σ, compared with the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from blackholes.figures import data, style

_PANELS = [
    ("n_unique", "unique vectors (number)", "duplicates"),
    ("n_singletons", "singletons (tokens)", "isolated"),
    ("n_black_holes", "black holes (number)", "holes"),
    ("largest_bh", "population of the largest hole (tokens)", "largest"),
]
CHECKPOINT = style.INK


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: trials, scores. options: snowball."""
    names = [name for name, _, _ in _PANELS]
    trials = data.read_table(data.paths(inputs.trials)[0], ["sigma", "n_tokens", *names])
    scores = data.read_table(
        data.paths(inputs.scores)[0], ["label", "sigma", "statistic", "checkpoint"], dtype={"label": str}
    )
    own = scores.drop_duplicates("statistic").set_index("statistic")["checkpoint"].dropna().to_dict()
    words = scores[scores["label"].isin(["within", "global"])].drop_duplicates("label").set_index("label")["sigma"]
    return draw(trials, own, words.to_dict(), options.get("snowball"))


@style.styled
def draw(
    trials: pd.DataFrame, own: Mapping[str, float], words: Mapping[str, float], snowball: str | None = None
) -> Figure:
    """trials: one row per trial with sigma, n_tokens and the four statistics; own: the checkpoint's statistics, if any;
    words: the σ of `within` and `global`."""
    tokens, number = int(trials["n_tokens"].iloc[0]), trials.groupby("sigma").size().max()
    title = f"{snowball or 'snowballs'}: {number:,} trials of {tokens:,} tokens for each σ"
    figure, grid = style.panels(2, 2, (7.8, 5.6), title, sharex=True)
    sigmas = np.sort(trials["sigma"].unique())
    place = places(sigmas)
    for axes, (name, label, colour) in zip(grid.flat, _PANELS, strict=True):
        groups = trials.groupby("sigma")[name]
        mean, deviation = groups.mean().to_numpy(), groups.std(ddof=1).fillna(0).to_numpy()
        x, colour = place(sigmas), style.COLOURS[colour]
        axes.vlines(x, groups.min(), groups.max(), color=colour, alpha=0.25, linewidth=5)
        axes.plot(x, mean, color=colour, linewidth=0.8, alpha=0.6)
        axes.errorbar(x, mean, deviation, fmt="o", color=colour, markersize=3.5, elinewidth=1.1, capsize=2)
        axes.set_title(label)
        _counts(axes, tokens)
        _sigmas(axes, sigmas, place)
        for word, sigma in words.items():
            axes.axvline(place(sigma), color=style.PALE, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0.9)
            if axes in grid[0]:
                _name(axes, word, place(sigma))
        if name in own:
            axes.axhline(own[name], color=CHECKPOINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
            axes.set_title(f"checkpoint: {own[name]:,.0f}", loc="right", fontsize=7)
    for axes in grid[-1]:
        axes.set_xlabel("noise σ (logarithmic)" + ("; 0 at the left end" if sigmas[0] == 0 else ""))
    style.legend(figure, _entries(own), 2)
    return figure


def places(sigmas: np.ndarray):
    """A function σ → position on the axis: log10 σ; 0 is placed about a decade below the smallest positive σ."""
    positive = sigmas[sigmas > 0]
    lowest = np.log10(positive.min()) if len(positive) else 0.0
    zero = np.floor(lowest - 0.5)

    def place(sigma):
        return np.where(np.asarray(sigma) > 0, np.log10(np.maximum(sigma, 1e-300)), zero)

    return place


def _sigmas(axes: Axes, sigmas: np.ndarray, place) -> None:
    at = place(sigmas)
    low, high = np.floor(at[sigmas > 0].min()) if (sigmas > 0).any() else 0, np.ceil(at.max())
    every = max(1, round((high - low) / 6))
    ticks = [float(tick) for tick in np.arange(high, low - 0.5, -every)[::-1] if (sigmas > 0).any()]
    zero = [float(place(0.0))] if sigmas[0] == 0 else []
    axes.xaxis.set_major_locator(FixedLocator(zero + [tick for tick in ticks if tick not in zero]))
    name = lambda x, _: "0" if zero and x == zero[0] else f"$10^{{{round(x)}}}$"  # noqa: E731
    axes.xaxis.set_major_formatter(FuncFormatter(name))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(at.min() - 0.4, at.max() + 0.4)


def _name(axes: Axes, word: str, x: float) -> None:
    """Label a line, on the side with more room."""
    left, right = axes.get_xlim()
    side = -1 if x > (left + right) / 2 else 1
    axes.annotate(
        word,
        (x, 1),
        (3 * side, -1),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="top",
        fontsize=7,
        color=style.COLOURS["run"],
    )


def _counts(axes: Axes, tokens: int) -> None:
    """An axis from 0 to the number of tokens, logarithmic from 1 up, which shows small and large counts alike."""
    axes.set_yscale("symlog", linthresh=1, linscale=0.35)
    decades = [10**k for k in range(len(str(tokens)))]
    axes.yaxis.set_major_locator(FixedLocator([0, *decades]))
    axes.yaxis.set_minor_locator(FixedLocator([m * d for d in decades for m in range(2, 10) if m * d <= tokens]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(-0.3, tokens * 3)


def _entries(own: Mapping[str, float]):
    grey = style.COLOURS["run"]
    entries = [
        (Line2D([], [], color=grey, marker="o", markersize=3.5, linewidth=0.8), "mean over the trials"),
        (Line2D([], [], color=grey, marker="|", linestyle="", markersize=7), "± one standard deviation"),
        (style.patch(grey, 0.25), "smallest to largest of the trials"),
    ]
    if own:
        line = Line2D([], [], color=CHECKPOINT, linewidth=0.9, linestyle=(0, (4, 3)))
        entries.append((line, "the checkpoint itself"))
    return entries
