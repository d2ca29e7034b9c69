"""Published values beside ours: curves of some quantities, and the difference of each value in standard errors."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from blackholes.errors import UserError
from blackholes.figures import data, scales, style

LIMIT, EDGE = 3.0, 7.0  # standard errors: values agree up to LIMIT, the axis ends at EDGE
VERDICTS = {  # verdict → marker, colour, whether the marker is filled
    "agrees": ("o", "#12805c", True),
    "differs": ("D", "#c8102e", True),
    "not comparable": ("o", "#7a808c", False),
    "not run": ("_", "#9aa0aa", False),
}
_PUBLISHED: dict[str, Any] = {
    "color": style.INK,
    "marker": "x",
    "linestyle": "",
    "markersize": 5.5,
    "markeredgewidth": 1.2,
}
_LOSS, _DISTINCT = "mean loss of 100 steps", "distinct vectors among dead tokens"
_CURVES = {  # quantity → its colour and the label of its axis
    "holes": ("holes", "black holes\n(number)"),
    "population": ("population", "population of all holes\n(tokens)"),
    "tokens a hole": ("tokens_per_hole", "mean population of a\nhole (tokens per hole)"),
}
_DECIMALS = {_LOSS: 4, "token norm": 4, "holes": 2, "tokens a hole": 2, "increases a run": 2}
_DECIMALS |= {"lower median distance": 7, "mean distance": 7, "largest distance": 7}
_DECIMALS |= {"population": 1, "largest hole": 1, _DISTINCT: 1, "Cohen's d of distinct vectors": 2}
_COLUMNS = ["quantity", "unit", "experiment", "step", "published", "published_std", "ours", "ours_std"]
_COLUMNS += ["standard_errors", "verdict", "reason", "published_conditions", "our_conditions"]


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: table (reproduction.csv)."""
    file = data.paths(inputs.table)[0]
    return draw(read(file))


def read(file: Path) -> pd.DataFrame:
    """reproduction.csv; `step` is NaN for values of the corpus."""
    try:
        table = pd.read_csv(file, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{file}: cannot be read as CSV ({error}); expected one row per published value") from error
    if missing := [column for column in _COLUMNS if column not in table]:
        raise UserError(f"{file}: no column {missing[0]!r}; expected {', '.join(_COLUMNS)}")
    return table


@style.styled
def draw(table: pd.DataFrame) -> Figure:
    """table: reproduction.csv, one row per published value."""
    lines = len(table) + 3 * table.experiment.nunique()
    figure = Figure(figsize=(10.2, max(1.2 + 0.158 * lines, 6.0)), layout="constrained")
    figure.suptitle("published values, and ours", x=0.008, ha="left", fontweight="bold")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 1.85], wspace=0.03)[0]
    _panels(left, table)
    _all_values(right, table)
    mine = tuple(
        Line2D([], [], color=style.COLOURS[colour], marker="o", markersize=3.5, linewidth=1)
        for colour in ("loss", *(colour for colour, _ in _CURVES.values()), "dead")
    )
    entries = [(Line2D([], [], **_PUBLISHED), "published"), (mine, "ours: mean ± σ of the runs")]
    entries += [(_marker(verdict), f"{verdict} ({(table.verdict == verdict).sum()})") for verdict in VERDICTS]
    style.legend(figure, [*entries, (style.patch(VERDICTS["agrees"][1], 0.12), "within 3 standard errors")])
    return figure


def _panels(figure: SubFigure, table: pd.DataFrame) -> None:
    """The values that form curves: losses, holes, and the two groups that start from noise."""
    loss, *holes, distinct = figure.subplots(5, 1)
    rows = table[table.quantity == _LOSS]
    _points(loss, rows[rows.step > 100], "loss", "loss as the Trainer logs it,\n100 steps (nats per token)")
    scales.linear_step_axis(loss, rows.step.max())
    for row in rows[rows.step == 100].itertuples():  # so much higher that the other values would look flat
        ours = f", ours {_number(row.ours, row.ours_std, 4)}" if row.ours == row.ours else ""
        loss.set_title(f"steps 1–100: published {row.published:.4f}{ours}", fontsize=7)
    for axes, (quantity, (colour, label)) in zip(holes, _CURVES.items(), strict=True):
        rows = table[table.quantity == quantity]
        scales.step_axis(axes, rows.step.max(), label=axes is holes[-1])
        scales.count_axis(axes, top=_top(rows))
        _points(axes, rows, colour, label)
    rows = table[table.quantity == _DISTINCT]
    place = np.arange(len(rows))
    bars: dict[str, Any] = {"linestyle": "", "elinewidth": 1.1, "capsize": 2.5}
    mine: dict[str, Any] = {"color": style.COLOURS["dead"], "marker": "o", "markersize": 3.5}
    distinct.errorbar(place - 0.12, rows.published, rows.published_std, **_PUBLISHED | bars)
    distinct.errorbar(place + 0.12, rows.ours, rows.ours_std.fillna(0), **mine | bars)
    starts = rows.experiment.str.removeprefix("noise_")
    distinct.set_xticks(place, [f"{name},\nstep {step:,.0f}" for name, step in zip(starts, rows.step, strict=True)])
    distinct.set_xlim(-0.5, len(rows) - 0.5)
    distinct.grid(axis="x", visible=False)
    scales.count_axis(distinct, "distinct vectors among\ndead tokens (number)", top=_top(rows))


def _points(axes: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    mine = rows.dropna(subset=["ours"])
    line: dict[str, Any] = {
        "color": style.COLOURS[colour],
        "marker": "o",
        "markersize": 3.5,
        "linewidth": 1,
        "clip_on": False,
    }
    if len(mine):  # matplotlib places an empty unclipped line at the figure's corner, which breaks the layout
        axes.errorbar(mine.step, mine.ours, mine.ours_std.fillna(0), elinewidth=1.1, capsize=2.5, **line)
    axes.plot(rows.step, rows.published, clip_on=False, zorder=3, **_PUBLISHED)
    axes.set_ylabel(label)


def _top(rows: pd.DataFrame) -> float:
    means = rows[["published", "ours"]].to_numpy(float)
    return np.nanmax(means + rows[["published_std", "ours_std"]].fillna(0).to_numpy(float))


def _all_values(figure: SubFigure, table: pd.DataFrame) -> None:
    """One line per published value, under a heading for each experiment."""
    words, axes = figure.subplots(1, 2, width_ratios=[1.6, 1])
    columns = {"": 0.0, "step": 0.54, "published": 0.75, "ours ± σ": 1.02}
    for name, x in columns.items():
        words.text(x, -0.9, name, ha="right", va="center", fontsize=7, fontweight="bold")
    line = 0.0
    for experiment, rows in table.groupby("experiment", sort=False):
        words.text(0, line + 0.4, experiment, fontweight="bold", va="center")
        grey = {"fontsize": 6, "va": "center", "color": style.COLOURS["run"]}
        words.text(0, line + 1.5, _conditions(rows.iloc[0]), **grey).set_in_layout(False)
        aside = rows[(rows.verdict == "not comparable") & rows.standard_errors.notna()].reason
        if len(aside):
            _note(axes, line + 1.5, _first(aside.iloc[0]))
        line, before = line + 2.6, None
        for number, row in enumerate(rows.itertuples()):
            for panel in (words, axes):
                panel.axhspan(line - 0.5, line + 0.5, color="#f5f6f7" if number % 2 else "white", linewidth=0, zorder=0)
            decimals = _DECIMALS.get(row.quantity, 0)
            ours = _number(row.ours, row.ours_std, decimals or int(row.ours_std > 0)) if row.ours == row.ours else "–"
            step = "" if np.isnan(row.step) else f"{row.step:,.0f}"
            cells = [step, _number(row.published, row.published_std, decimals), ours]
            words.text(0, line, row.quantity if row.quantity != before else "", va="center", fontsize=7)
            for x, text in zip([*columns.values()][1:], cells, strict=True):
                words.text(x, line, text, ha="right", va="center", fontsize=7)
            _distance(axes, line, row)
            before, line = row.quantity, line + 1
    for panel in (words, axes):
        panel.set_ylim(line, -1.6)
    words.set_xlim(0, 1.04)
    words.set_axis_off()
    axes.axvspan(-LIMIT, LIMIT, color=VERDICTS["agrees"][1], alpha=0.12, linewidth=0)
    axes.axvline(0, color=style.INK, linewidth=0.7, zorder=1)
    axes.set_xlim(-EDGE, EDGE)
    axes.set_xticks(range(-6, 7, 3))
    axes.set_xlabel("ours − published (combined standard errors)")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _distance(axes: Axes, line: float, row) -> None:
    shape, colour, filled = VERDICTS[row.verdict]
    if row.verdict == "not run":
        _note(axes, line, "not run")
        return
    if np.isnan(row.standard_errors):
        _note(axes, line, textwrap.shorten(_first(row.reason), 60, placeholder=" …"))
        return
    place = np.clip(row.standard_errors, -EDGE + 0.25, EDGE - 0.25)
    if place != row.standard_errors:  # beyond the axis: an arrow and the number
        right = row.standard_errors > 0
        shape, far = (">" if right else "<"), f"{row.standard_errors:+.1f}".replace("inf", "∞").replace("-", "−")
        side: dict[str, Any] = {"ha": "right" if right else "left", "va": "center"}
        axes.text(place - 0.4 * np.sign(place), line, far, fontsize=6.5, color=colour, **side)
    axes.plot(place, line, shape, color=colour, markerfacecolor=colour if filled else "white", markersize=4.5)


def _note(axes: Axes, line: float, text: str) -> None:
    """Why there is no verdict, written over the line at 0."""
    grey: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6, "color": VERDICTS["not comparable"][1]}
    note = axes.text(0, line, text, path_effects=[withStroke(linewidth=2, foreground="white")], **grey)
    note.set_in_layout(False)


def _marker(verdict: str) -> Line2D:
    shape, colour, filled = VERDICTS[verdict]
    return Line2D([], [], color=colour, marker=shape, linestyle="", markerfacecolor=colour if filled else "white")


def _number(mean: float, std: float, decimals: int) -> str:
    return f"{mean:,.{decimals}f}" + (f" ± {std:.{decimals}f}" if std == std else "")


def _first(reasons: str) -> str:
    return reasons.partition(";")[0]


def _conditions(row) -> str:
    ours = row.our_conditions if isinstance(row.our_conditions, str) else "none"
    return f"published: {row.published_conditions}\nours: {ours}"
