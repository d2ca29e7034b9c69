"""Published values beside ours: loss curves, and the interval of every difference in units of its margin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from blackholes.errors import UserError
from blackholes.figures import data, scales, style

EDGE = 3.0  # margins: where the axis ends
VERDICTS = {  # verdict → marker, colour, whether the marker is filled
    "agrees": ("o", "#12805c", True),
    "differs": ("D", "#c8102e", True),
    "undecided": ("o", "#c98a00", False),
}
ASIDE = ("by construction", "not comparable", "not run")  # counted under the rows
JOINT, LOSS = "all judged rows", "training loss"
_HOLES = {  # quantity → its colour and the label of its axis
    "black holes": ("holes", "black holes"),
    "tokens in black holes": ("population", "tokens in black holes"),
}
_PUBLISHED: dict[str, Any] = {"color": style.INK, "marker": "x", "linestyle": "", "markersize": 4, "markeredgewidth": 1}
_TEXT = ("experiment", "quantity", "unit", "step", "published", "ours", "ours_std", "at_step", "verdict", "reason")
_NUMBERS = ("published_std", "difference", "low", "high", "margin")
_CONDITIONS = ("published_conditions", "our_conditions")


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: table (reproduction.csv)."""
    file = data.paths(inputs.table)[0]
    return draw(read(file))


def read(file: Path) -> pd.DataFrame:
    """reproduction.csv; texts are empty and numbers NaN where there are none."""
    try:
        table = pd.read_csv(file, keep_default_na=False, dtype=str)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{file}: cannot be read as CSV ({error}); expected one row per published value") from error
    columns = [*_TEXT, *_NUMBERS, *_CONDITIONS]
    if missing := [column for column in columns if column not in table]:
        raise UserError(f"{file}: no column {missing[0]!r}; expected {', '.join(columns)}")
    for column in _NUMBERS:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


@style.styled
def draw(table: pd.DataFrame) -> Figure:
    """table: as `read` returns it."""
    judged = table[table.verdict.isin(VERDICTS) & (table.quantity != JOINT)]
    curves = [(name, rows.iloc[0]) for name, rows in _curves(table).groupby("experiment", sort=False)]
    holes = [(name, _series(table, name)) for name in _HOLES if len(_series(table, name))]
    some, every = judged.experiment.nunique(), table.experiment.nunique()
    lines = len(judged) + 3.2 * some + 1.4 * (every - some)
    count = max(1, len(curves) + len(holes))
    figure = Figure(figsize=(12.5, max(1.5 + 0.16 * lines, 1.2 + 1.25 * count)), layout="constrained")
    figure.suptitle("published values, and ours", x=0.008, ha="left", fontweight="bold")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 2.1], wspace=0.03)[0]
    _panels(left, curves, holes)
    _all_values(right, table)
    mine = Line2D([], [], color=style.COLOURS["loss"], marker="o", markersize=3, linewidth=1)
    entries = [(Line2D([], [], **_PUBLISHED), "published"), (mine, "ours: mean ± σ of the runs")]
    entries += [(_marker(verdict), f"{verdict} ({(judged.verdict == verdict).sum()})") for verdict in VERDICTS]
    style.legend(figure, [*entries, (style.patch(VERDICTS["agrees"][1], 0.12), "within the margin")])
    for artist in figure.findobj(lambda each: isinstance(each, (Line2D, Patch, Collection))):
        artist.set_clip_on(False)  # a clip's name in an SVG has the last bits of the layout, which vary
    return figure


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    """Loss curves that we have something beside."""
    return table[(table.quantity == LOSS) & (table.ours != "") & table.published.str.contains(" ")]


def _series(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The values of the sixteen runs at single steps, which form a curve."""
    rows = table[(table.experiment == "sixteen") & (table.quantity == quantity) & table.step.str.isdecimal()]
    return rows if (rows.ours != "").any() else rows[:0]


def _panels(figure: SubFigure, curves: list, holes: list) -> None:
    all_axes = figure.subplots(max(1, len(curves) + len(holes)), 1, squeeze=False)[:, 0]
    if not curves and not holes:
        style.note(all_axes[0], "no curve was run")
        all_axes[0].set_axis_off()
    for axes, (name, row) in zip(all_axes, curves, strict=False):
        _curve(axes, name, row)
        axes.set_xlabel("training step" if name == curves[-1][0] else "")
    for axes, (quantity, rows) in zip(all_axes[len(curves) :], holes, strict=False):
        colour, label = _HOLES[quantity]
        last = int(rows.step.astype(int).max())
        steps, values = rows.step.astype(int), rows.published.astype(float)
        mine = rows[rows.ours != ""]
        scales.step_axis(axes, last, label=quantity == holes[-1][0])
        axes.plot(steps, values, zorder=3, **_PUBLISHED)
        spread = pd.to_numeric(mine.ours_std).fillna(0)
        _ours(axes, mine.step.astype(int), mine.ours.astype(float), spread, colour)
        axes.set_title(f"sixteen: {label}", fontsize=7.5)
        scales.count_axis(axes, top=float(max(values.max(), (mine.ours.astype(float) + spread).max())))


def _curve(axes: Axes, name: str, row: pd.Series) -> None:
    """A loss curve without its first point, which is so much higher that the others would look flat."""
    published, ours, spread = (_numbers(row[column]) for column in ("published", "ours", "ours_std"))
    steps = np.array(_points(row.step, len(published)))
    skip = int(len(ours) > 2)
    axes.plot(steps[skip:], published[skip:], zorder=3, **_PUBLISHED)
    mine = slice(skip, len(ours))
    _ours(axes, steps[mine], ours[mine], spread[mine] if len(spread) else np.zeros(len(ours[mine])), "loss")
    first = f"; step {steps[0]:,}: {published[0]:.4f}, ours {ours[0]:.4f}" if skip else ""
    axes.set_title(f"{name}: loss{first}", fontsize=7.5)
    scales.linear_step_axis(axes, steps[-1])


def _ours(axes: Axes, steps, means, spread, colour: str) -> None:
    line: dict[str, Any] = {"color": style.COLOURS[colour], "marker": "o", "markersize": 2.5, "linewidth": 0.9}
    axes.errorbar(steps, means, spread, elinewidth=0.9, capsize=1.5, **line)


def _all_values(figure: SubFigure, table: pd.DataFrame) -> None:
    """One line per judged value, under a heading for each experiment; what was not judged is counted."""
    words, axes = figure.subplots(1, 2, width_ratios=[2.5, 1])
    columns = {"": 0.0, "step": 0.54, "published": 0.72, "ours ± σ": 0.91, "margin": 1.03}
    for name, x in columns.items():
        words.text(x, -0.9, name, ha="right", va="center", fontsize=7, fontweight="bold")
    line = 0.0
    for experiment, rows in table.groupby("experiment", sort=False):
        line = _heading(words, axes, experiment, rows, line)
        before = None
        for number, row in enumerate(rows[rows.verdict.isin(VERDICTS) & (rows.quantity != JOINT)].itertuples()):
            for panel in (words, axes):
                panel.axhspan(line - 0.5, line + 0.5, color="#f5f6f7" if number % 2 else "white", linewidth=0, zorder=0)
            words.text(0, line, row.quantity if row.quantity != before else "", va="center", fontsize=7)
            for x, text in zip([*columns.values()][1:], _cells(row), strict=True):
                words.text(x, line, text, ha="right", va="center", fontsize=7)
            _interval(axes, line, row)
            before, line = row.quantity, line + 1
        line += 0.5
    for panel in (words, axes):
        panel.set_ylim(line, -1.6)
    words.set_xlim(0, 1.04)
    words.set_axis_off()
    axes.axvspan(-1, 1, color=VERDICTS["agrees"][1], alpha=0.12, linewidth=0)
    axes.axvline(0, color=style.INK, linewidth=0.7, zorder=1)
    axes.set_xlim(-EDGE, EDGE)
    axes.set_xlabel("ours − published (margins)")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _heading(words: Axes, axes: Axes, experiment: str, rows: pd.DataFrame, line: float) -> float:
    """Name, conditions, joint verdict, and how many values were not judged; the line below them."""
    counts = rows[rows.quantity != JOINT].verdict.value_counts()
    aside = ", ".join(f"{counts[word]} {word}" for word in ASIDE if word in counts)
    joint = rows[rows.quantity == JOINT].verdict
    verdict = f": {joint.iloc[0]}" if len(joint) else ""
    grey: dict[str, Any] = {"fontsize": 6, "va": "center", "color": style.COLOURS["run"]}
    words.text(0, line + 0.4, f"{experiment}{verdict}", fontweight="bold", va="center")
    words.text(1.03, line + 0.4, aside, ha="right", **grey)
    row = rows[rows.published_conditions != ""]
    if len(row) and rows.verdict.isin(VERDICTS).any():
        ours = next(iter(rows.our_conditions[rows.our_conditions != ""]), "none")
        told = f"published: {row.iloc[0].published_conditions}\nours: {ours}"
        words.text(0, line + 1.5, told, **grey).set_in_layout(False)
        return line + 2.7
    return line + 0.9


def _cells(row) -> list[str]:
    """Step, published, ours and margin; of a curve at the step that decides."""
    published, ours, spread = (_numbers(text) for text in (row.published, row.ours, row.ours_std))
    curve = len(published) > 1
    at = _points(row.step, len(published)).index(int(row.at_step)) if curve else 0
    digits = 4 if not row.margin > 0 else max(4, 2 - int(np.floor(np.log10(row.margin / abs(published[at])))))
    own = _number(ours[at], spread[at] if len(spread) else np.nan, digits)
    step = f"{int(row.at_step):,} (of {len(ours)})" if curve else _steps(row.step)
    return [step, _number(published[at], row.published_std, digits), own, _number(row.margin)]


def _interval(axes: Axes, line: float, row) -> None:
    shape, colour, filled = VERDICTS[row.verdict]
    if np.isnan(row.difference):
        return
    unit = row.margin if row.margin > 0 else np.inf if row.difference == 0 else 1e-300
    place, low, high = (np.clip(x / unit, -1e9, 1e9) for x in (row.difference, row.low, row.high))
    if not np.isnan(low):
        axes.plot(np.clip([low, high], -EDGE, EDGE), [line, line], color=colour, linewidth=1.1, solid_capstyle="butt")
    if abs(place) > EDGE - 0.1:  # beyond the axis: an arrow and the number
        right = place > 0
        shape, far = (">" if right else "<"), "∞" if abs(place) == 1e9 else f"{abs(place):.1f}"
        side: dict[str, Any] = {"ha": "right" if right else "left", "va": "center"}
        place = np.sign(place) * (EDGE - 0.1)
        sign = "+" if right else "−"
        number = axes.text(place - 0.18 * np.sign(place), line, sign + far, fontsize=6.5, color=colour, **side)
        number.set_path_effects([withStroke(linewidth=2, foreground="white")])
    axes.plot(place, line, shape, color=colour, markerfacecolor=colour if filled else "white", markersize=4.2)


def _points(step: str, count: int) -> list[int]:
    """The steps of a curve: written out, or evenly spaced up to the last."""
    if "-" not in step:
        return [int(each) for each in step.split()]
    last = int(step.partition("-")[2])
    return [last * (i + 1) // count for i in range(count)]


def _steps(text: str) -> str:
    return "–".join(f"{int(step):,}" for step in text.split("-")) if text else ""


def _numbers(text: str) -> np.ndarray:
    return np.array(text.split(), float)


def _marker(verdict: str) -> Line2D:
    shape, colour, filled = VERDICTS[verdict]
    return Line2D([], [], color=colour, marker=shape, linestyle="", markerfacecolor=colour if filled else "white")


def _number(value: float, spread: float = np.nan, significant: int = 4) -> str:
    if np.isnan(value):
        return ""
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{significant}g}"
    if np.isnan(spread):
        return digits
    return f"{digits} ± {spread:,.0f}" if spread >= 100 else f"{digits} ± {spread:.2g}"
