"""When live tokens leave the dead for good: against frequency, against their first occurrence, and as curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from blackholes.artifacts.tables import read_columns
from blackholes.figures import data, scales, style

_SLOPE, _ONCE_SEEN = "log_hazard_per_tenfold_count", "log_hazard_per_tenfold_count_once_seen"
_NAMED = 4  # tokens whose names are written, those that are last in the mean over the runs
_NAME = (10, 8)  # points that a name of one or two characters takes


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: escapes (one per run), curves, statistics. options: experiment."""
    files = data.paths(inputs.escapes)
    number = {"token_id": int, "text": str, "count": float, "escape_step": float, "censored": int}
    seen = dict.fromkeys(("first_input", "first_target"), lambda text: float(text or "nan"))
    tokens = pd.concat([pd.DataFrame(read_columns(file, number | seen)).assign(run=file.parent.name) for file in files])
    table = read_columns(inputs.statistics, {"statistic": str} | dict.fromkeys(("value", "low", "high"), _number))
    slopes = {name: (value, low, high) for name, value, low, high in zip(*table.values(), strict=True)}
    ends = dict.fromkeys(("share", "low", "high"), _number)
    whole = dict.fromkeys(("count_from", "count_to", "step", "tokens"), int)
    curves = pd.DataFrame(read_columns(inputs.curves, whole | ends))
    return draw(
        tokens,
        curves,
        slopes,
        style.heading(options.get("experiment"), len(files), "when live tokens leave the dead ones"),
    )


def _number(text: str) -> float:
    return float(text or "nan")


@style.styled
def draw(
    tokens: pd.DataFrame, curves: pd.DataFrame, slopes: Mapping[str, tuple[float, float, float]], title: str = ""
) -> Figure:
    """tokens: rows of escapes.csv of all runs; curves: escape_curves.csv; slopes: statistic → value, low, high."""
    figure, grid = style.panels(2, 2, (7.4, 6.6), title, gridspec_kw={"height_ratios": [1.15, 1]})
    frequency, occurrence = grid[0]
    for axes in grid[1]:
        axes.remove()
    survival = figure.add_subplot(grid[1, 0].get_gridspec()[1, :])
    tokens = tokens[tokens["escape_step"] > 0]  # the others were never with the dead
    tokens = tokens.assign(first_seen=tokens[["first_input", "first_target"]].min(axis=1))
    last = int(max(tokens["escape_step"].max() if len(tokens) else 1, 1))
    fills = _fills(tokens["count"])
    # a little to the left of its step, so that tokens of the same steps do not hide each other
    place = tokens["first_seen"] - 0.45 * (tokens["token_id"] % 16) / 15
    for axes, across in ((frequency, tokens["count"]), (occurrence, place)):
        if not len(tokens):
            style.note(axes, "no live token was ever\nwith the dead")
            axes.set(xticks=[], yticks=[])
            continue
        for at_end in (0, 1):
            chosen = tokens["censored"] == at_end
            some = tokens[chosen]
            colours = [fills[power] for power in _power(some["count"])]
            marker = {"marker": "^", "facecolors": "none", "edgecolors": colours} if at_end else {"c": colours}
            axes.scatter(
                across[chosen], some["escape_step"], s=9, alpha=0.75, linewidths=0.6 if at_end else 0, **marker
            )
        axes.set_yscale("log")
        axes.set_xscale("log")
        _decades(axes.yaxis, last)
        axes.set_ylim(0.8, last * 1.6)
    frequency.set_xlabel("occurrences in the corpus (number, logarithmic)")
    occurrence.set_xlabel("first step with the token in a batch (logarithmic)")
    frequency.set_ylabel("step of the escape (logarithmic)")
    if len(tokens):
        _decades(frequency.xaxis, tokens["count"].max())
        _decades(occurrence.xaxis, tokens["first_seen"].max())
        edge = [0.9, tokens["first_seen"].max() * 1.1]
        occurrence.plot(edge, edge, color=style.COLOURS["reference"], linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        if not tokens["censored"].any():
            _name_last(frequency, tokens)
    for axes, name, words in ((frequency, _SLOPE, "all steps"), (occurrence, _ONCE_SEEN, "once seen")):
        axes.set_title(_hazard(slopes.get(name), words), fontsize=7.5)
    _survival(survival, curves, fills, last)
    _legend(figure, fills, bool(len(tokens)) and bool(tokens["censored"].any()))
    return figure


def _power(counts: pd.Series) -> list[int]:
    return np.floor(np.log10(counts)).astype(int).tolist()


def _fills(counts: pd.Series) -> dict[int, str]:
    """Power of ten of a count → colour, from rare (warm) to frequent (cool)."""
    return dict(zip(sorted(set(_power(counts))), style.FREQUENCIES, strict=False))


def _decades(axis, last: float) -> None:
    axis.set_major_locator(scales.decades(last))
    axis.set_major_formatter(FuncFormatter(scales.number))
    axis.set_minor_formatter(NullFormatter())


def _hazard(slope: tuple[float, float, float] | None, words: str) -> str:
    """The slope as a factor: how much likelier an escape is at ten times the count."""
    if slope is None or np.isnan(slope[0]):
        return ""
    value, low, high = (float(np.exp(end)) for end in slope)
    return f"hazard of escape at ten times the count, {words}:\n× {value:.2g} (95 %: {low:.2g} to {high:.2g})"


def _name_last(axes: Axes, tokens: pd.DataFrame) -> None:
    """The name of the latest tokens, beside their latest dot. Names that would cover each other share a place."""
    mean = np.log(tokens["escape_step"]).groupby(tokens["token_id"]).mean().sort_values()
    axes.autoscale_view()  # so that places are known
    places: dict[tuple[float, float], list[str]] = {}
    for token in mean.index[-_NAMED:]:
        dots = tokens[tokens["token_id"] == token]
        dot = dots.loc[dots["escape_step"] == dots["escape_step"].max()].iloc[0]
        at = (float(dot["count"]), float(dot["escape_step"]))
        near = next((other for other in places if _cover(axes, at, other)), at)
        places.setdefault(near, []).append(str(dot["text"]))
    for at, names in places.items():
        axes.annotate(", ".join(names), at, (3, 3), textcoords="offset points", fontsize=7, parse_math=False)


def _cover(axes: Axes, one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether names at these places would lie over each other."""
    across, up = np.abs(axes.transData.transform(one) - axes.transData.transform(other)) * 72 / axes.figure.dpi
    return bool(across < _NAME[0] and up < _NAME[1])


def _survival(axes: Axes, curves: pd.DataFrame, fills: Mapping[int, str], last: int) -> None:
    if not len(curves):
        style.note(axes, "nothing to follow")
    for low, rows in curves.groupby("count_from"):
        colour = fills.get(int(np.log10(low)), style.COLOURS["run"])
        steps, shares, bottom, top = (
            np.concatenate([[start], rows[name], rows[name].iloc[-1:]])
            for name, start in (("step", 0), ("share", 1.0), ("low", 1.0), ("high", 1.0))
        )
        steps[-1] = max(last, steps[-2])
        axes.fill_between(steps, bottom, top, step="post", color=colour, alpha=0.13, linewidth=0)
        axes.plot(steps, shares, color=colour, linewidth=1.4, drawstyle="steps-post")
    scales.step_axis(axes, last)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("share of tokens still with the dead")


def _legend(figure: Figure, fills: Mapping[int, str], censored: bool) -> None:
    words = {
        power: f"{10**power:,} to {10 ** (power + 1) - 1:,}" + " occurrences" * (not i) for i, power in enumerate(fills)
    }
    dot: dict[str, Any] = {"marker": "o", "linestyle": "-", "markersize": 4, "linewidth": 1.4}
    entries: list[tuple[Any, str]] = [
        (Line2D([], [], color=colour, **dot), words[power]) for power, colour in fills.items()
    ]
    entries.append((style.patch(style.COLOURS["run"], 0.2), "95 %, tokens independent"))
    if censored:
        hollow: dict[str, Any] = {"marker": "^", "linestyle": "", "markersize": 4, "markerfacecolor": "none"}
        entries.append((Line2D([], [], color=style.COLOURS["run"], **hollow), "still with the dead at the end"))
    dashes = Line2D([], [], color=style.COLOURS["reference"], linewidth=0.8, linestyle=(0, (4, 3)))
    entries.append((dashes, "escape at first occurrence"))
    style.legend(figure, entries, 4)
