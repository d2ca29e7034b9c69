"""The tokens around a checkpoint's largest hole among their permutations, and what the test can notice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from blackholes.figures import data, style
from blackholes.figures.snowballs import snowball_data
from blackholes.figures.snowballs.z_scores import short

_FARTHEST = 6.0  # standard deviations that are shown
_LEVEL = 0.05


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: trials, scores, test. options: snowball."""
    _, scores = snowball_data.scores(
        data.paths(inputs.scores)[0], ["statistic", "checkpoint", "mean", "std", "z", "min", "max", "p", "note"]
    )
    _, permuted = snowball_data.trials(data.paths(inputs.trials)[0], list(scores["statistic"]))
    facts = snowball_data.facts(data.paths(inputs.test)[0])
    return draw(scores.set_index("statistic"), permuted, facts, options.get("snowball"))


@style.styled
def draw(scores: pd.DataFrame, permuted: pd.DataFrame, facts: Mapping[str, str], snowball: str | None = None) -> Figure:
    """scores: by statistic, checkpoint, mean, std, z, min, max, p; permuted: a row a permutation; facts: quantity →
    value of permutation_test.csv."""
    if "not_tested" in facts:
        figure, grid = style.panels(1, 1, (7.0, 1.6), f"{snowball or 'snowballs'}: permutations")
        style.note(grid[0, 0], f"not tested: {facts['not_tested']}")
        grid[0, 0].set_axis_off()
        return figure
    tokens, number = int(float(facts["tokens"])), int(float(facts["permutations"]))
    title = f"{snowball or 'snowballs'}: {tokens:,} tokens around the largest hole, and {number:,} permutations of them"
    figure, grid = style.panels(1, 3, (9.0, 5.2), title, gridspec_kw={"width_ratios": [2.6, 1.2, 1]})
    _statistics(grid[0, 0], scores, permuted)
    _numbers(grid[0, 1], scores)
    _power(grid[0, 2], facts)
    dot: dict[str, Any] = {
        "marker": "D",
        "linestyle": "",
        "markersize": 4,
        "color": style.COLOURS["box"],
        "markeredgewidth": 0,
    }
    entries = [
        (Line2D([], [], **dot), "the tokens themselves"),
        (style.patch(style.COLOURS["run"], 0.75), "middle 95 % of the permutations"),
        (Line2D([], [], color=style.PALE, linewidth=1), "smallest to largest permutation"),
    ]
    style.legend(figure, entries)
    return figure


def _statistics(axes: Axes, scores: pd.DataFrame, permuted: pd.DataFrame) -> None:
    """A row a statistic, in standard deviations from the permutations' mean; nothing for those with one value."""
    for row, (name, score) in enumerate(scores.iterrows()):
        if not score["std"]:
            continue
        scaled = lambda value: np.clip((value - score["mean"]) / score["std"], -_FARTHEST, _FARTHEST)  # noqa: E731
        axes.plot(scaled(score[["min", "max"]].to_numpy(float)), [row, row], color=style.PALE, linewidth=1)
        middle = scaled(np.quantile(permuted[name], [0.025, 0.975]))
        axes.barh(row, np.ptp(middle), 0.42, middle[0], color=style.COLOURS["run"], alpha=0.75, linewidth=0)
        beyond = abs(score["z"]) > _FARTHEST
        marker = ("<" if score["z"] < 0 else ">") if beyond else "D"
        axes.plot(scaled(score["checkpoint"]), row, marker, color=style.COLOURS["box"], markersize=4, markeredgewidth=0)
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.set_xlim(-_FARTHEST - 0.4, _FARTHEST + 0.4)
    axes.set_yticks(range(len(scores)), scores.index)
    axes.tick_params(axis="y", length=0, labelsize=6.8)
    axes.set_xlabel("value − mean of the permutations (in their standard deviation)")


def _numbers(axes: Axes, scores: pd.DataFrame) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(scores) - 0.4, -0.6)
    places = (0.0, 0.27, 0.82)
    for x, text in zip(places, ("tokens", "permutations", "p"), strict=True):
        axes.text(x, -0.9, text, va="bottom", fontsize=6.5, color=style.COLOURS["run"])
    for row, score in enumerate(scores.itertuples()):
        said = f"{short(score.mean)} ± {short(score.std)}" if score.std else f"always {short(score.mean)}"
        for x, text in zip(places, (short(score.checkpoint), said, f"{score.p:.3g}"), strict=True):
            axes.text(x, row, text, va="center", fontsize=6.5)


def _power(axes: Axes, facts: Mapping[str, str]) -> None:
    shares = {}
    for name, value in facts.items():
        if found := re.fullmatch(r"told_apart_(\d+)_percent", name):
            shares[int(found[1])] = float(value)
    places = range(len(shares))
    axes.plot(places, list(shares.values()), "o-", color=style.COLOURS["holes"], markersize=4, linewidth=1)
    axes.axhline(_LEVEL, color=style.PALE, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_xticks(places, [f"{percent}" for percent in shares])
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("attracted tokens (%)")
    axes.set_title(f"joint p {float(facts['joint_p']):.3g}\n\nclouds told apart\nat the 5 % level", fontsize=8)
