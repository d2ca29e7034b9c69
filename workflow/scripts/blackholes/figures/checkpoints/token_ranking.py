"""Which tokens of a checkpoint look unused: their categories, their indicators, and the top of the ranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple
from unicodedata import east_asian_width

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, PercentFormatter

from blackholes.figures import data, fonts, scales, style
from blackholes.figures.checkpoints import checkpoint_data

_LINES, _COLUMNS, _LETTERS = 22, 2, 31  # lines and columns of the list, characters of a text
_MANY = 3000  # with more tokens than this, points are drawn as an image
_NOTE = "‹U+6F22›: a character by its number, since no installed font has it"
_FIRST = 100  # top of the ranking that has its own bar


class Row(NamedTuple):
    """A line of the list: a hole (numbers of its first token), or a single token."""

    rank: int
    categories: list[str]
    text: str
    distance: float
    cosine: float


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: tokens (tokens.csv), ranking (ranking.csv). options: checkpoint."""
    table = data.read_table(data.paths(inputs.ranking)[0], ["quantity", "value"], dtype=str)
    facts = dict(zip(table["quantity"], table["value"], strict=True))
    return draw(checkpoint_data.read_tokens(inputs.tokens), facts, options.get("checkpoint"))


@style.styled
def draw(tokens: pd.DataFrame, judged: Mapping[str, str], checkpoint: str | None = None) -> Figure:
    """tokens: the table tokens.csv; judged: quantity → value of ranking.csv."""
    figure, grid = style.panels(
        2,
        2,
        (7.2, 8.2),
        f"{checkpoint}, {len(tokens):,} tokens: which look unused",
        gridspec_kw={"height_ratios": [1, 1.75]},
    )
    _shares(grid[0, 0], tokens)
    _indicators(grid[0, 1], tokens, _area(judged))
    families = fonts.families(tokens["text"])
    rows = list(folded(tokens, _LINES * _COLUMNS, families))
    for column, axes in enumerate(grid[1]):
        _list(axes, rows[_LINES * column : _LINES * (column + 1)], len(rows) > _LINES * column, families)
    present = [name for name in style.CATEGORIES if (tokens["category"] == name).any()]
    square: dict[str, Any] = {"marker": "s", "linestyle": "", "markersize": 7}
    entries = [
        (Line2D([], [], color=style.CATEGORIES[name], **square), checkpoint_data.WORDS.get(name, name))
        for name in present
    ]
    if any("‹U+" in row.text for row in rows):
        entries.append((style.nothing(), _NOTE))
    style.legend(figure, entries, min(len(entries), 6))
    return figure


def folded(tokens: pd.DataFrame, most: int, families: Sequence[str] = (fonts.OWN,)) -> Iterator[Row]:
    """The first lines of the ranking; a hole is one line, since all its tokens have the same numbers."""
    seen: set[tuple[str, int]] = set()
    members = tokens[tokens["hole"] >= 0].groupby("hole")
    for token in tokens.sort_values("rank").itertuples():
        if len(seen) == most:
            return
        key = ("hole", token.hole) if token.hole >= 0 else ("token", token.token_id)
        if key in seen:
            continue
        seen.add(key)
        inside = [token] if token.hole < 0 else list(members.get_group(token.hole).sort_values("rank").itertuples())
        names = [name(each.text, each.token_id, each.category, families) for each in inside[:12]]
        text = names[0] if token.hole < 0 else f"{len(inside):,}: {'  '.join(names)}"
        categories = [each.category for each in inside]
        yield Row(token.rank, categories, text, token.centroid_distance, token.cosine_unused)


def name(text: str, token_id: int, category: str, families: Sequence[str] = (fonts.OWN,)) -> str:
    """A token as listed: spaces as ␣, and code points in place of characters that none of the fonts has."""
    if not text:
        return f"row {token_id}" if category == "padding" else f"token {token_id}"
    known, shown = fonts.characters(*families), ""
    missing: list[str] = []
    for character in text.replace(" ", "␣"):
        if ord(character) in known:
            shown += _code_points(missing) + character
            missing = []
        else:
            missing.append(f"U+{ord(character):04X}")
    return shown + _code_points(missing)


def _cut(text: str) -> str:
    """A text that fits its column; the characters of East Asia are twice as wide as others."""
    ends = list(accumulate(1 + (east_asian_width(character) in "WF") for character in text))
    if not ends or ends[-1] <= _LETTERS:
        return text
    return text[: sum(end < _LETTERS for end in ends)] + "…"


def _code_points(missing: Sequence[str]) -> str:
    return f"‹{' '.join(missing[:3])}{' …' if len(missing) > 3 else ''}›" if missing else ""


def _shares(axes: Axes, tokens: pd.DataFrame) -> None:
    """Shares of the categories in some sets of tokens."""
    sets = {
        "in holes": tokens["hole"] >= 0,
        "in the cluster": tokens["in_cluster"] == 1,
        "in the box": tokens["in_box"] == 1,
        f"first {_FIRST:,}": tokens["rank"] <= _FIRST,
        "all": tokens["rank"] > 0,
    }
    sets = {words: chosen for words, chosen in sets.items() if chosen.any()}
    for place, chosen in enumerate(sets.values()):
        _stack(axes, tokens["category"][chosen], 0, place, 1, 0.6)
        axes.text(1.02, place, f"{chosen.sum():,}", va="center", fontsize=7, transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(sets)), list(sets))
    axes.set_ylim(len(sets) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the tokens")
    axes.set_title("categories", fontweight="bold")
    axes.text(1.02, 1.01, "tokens", transform=axes.transAxes, va="bottom", fontsize=7)


def _stack(axes: Axes, categories: pd.Series | list[str], x: float, y: float, width: float, height: float) -> None:
    """A bar divided by category."""
    values, counts = np.unique(np.asarray(categories, str), return_counts=True)
    parts = dict(zip(values.tolist(), counts / counts.sum(), strict=True))
    for category, colour in style.CATEGORIES.items():
        share = width * parts.get(category, 0.0)
        if share:
            axes.add_patch(Rectangle((x, y - height / 2), share, height, facecolor=colour, linewidth=0))
            x += share


def _area(judged: Mapping[str, str]) -> str:
    if "not_judged" in judged:
        return f"ranking not judged:\n{judged['not_judged']}"
    held_out, in_sample = (float(judged[f"auroc_{kind}"]) for kind in ("cross_fitted", "in_sample"))
    return f"AUROC of hole members: {held_out:.3f} held out,\n{in_sample:.3f} in sample (by construction)"


def _indicators(axes: Axes, tokens: pd.DataFrame, area: str) -> None:
    distance = tokens["centroid_distance"].to_numpy(float)
    above = distance[distance > 0]
    least = above.min() / 1.6 if len(above) else 1.0
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markeredgewidth": 0, "rasterized": len(tokens) > _MANY}
    for category, colour in style.CATEGORIES.items():
        chosen = (tokens["category"] == category).to_numpy()
        size = 1.6 if category == "ordinary" and len(tokens) > _MANY else 2.4
        axes.plot(
            np.maximum(distance[chosen], least),
            tokens["cosine_unused"].to_numpy()[chosen],
            color=colour,
            markersize=size,
            **dot,
        )
    axes.set_xscale("log")
    axes.set_xlim(least / 1.25, 1.4 * max(distance.max(), 1.1 * least))
    zero = [least] if (distance == 0).any() else []
    low, high = np.log10(axes.get_xlim())
    ticks = [tick for tick in scales.log_ticks(low, high, most=6) if not zero or tick > 1.3 * least]
    axes.set_xticks(zero + ticks, ["0"] * len(zero) + [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(f"distance to the centroid (embedding\nunits, logarithmic)\n{area}")
    axes.set_ylabel("cosine to the unused direction")
    axes.set_title("indicators of every token", fontweight="bold")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))


def _list(axes: Axes, rows: Sequence[Row], needed: bool, families: Sequence[str]) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(_LINES - 0.4, -1.7)
    if not needed:
        return
    head: dict[str, Any] = {"fontsize": 6.5, "color": style.COLOURS["run"], "va": "bottom"}
    axes.text(0.065, -0.75, "rank", ha="right", **head)
    axes.text(0.15, -0.75, "token, or tokens of a hole", **head)
    axes.text(0.87, -0.75, "distance", ha="right", **head)
    axes.text(1.0, -0.75, "cosine", ha="right", **head)
    for line, row in enumerate(rows):
        text: dict[str, Any] = {"fontsize": 6.8, "va": "center_baseline", "parse_math": False}
        axes.text(0.065, line, f"{row.rank:,}", ha="right", **text)
        _stack(axes, row.categories, 0.08, line, 0.055, 0.62)
        shown = _cut(row.text)
        hole = len(row.categories) > 1
        axes.text(0.15, line, shown, color=style.COLOURS["holes"] if hole else style.INK, family=families, **text)
        axes.text(0.87, line, f"{row.distance:.3g}", ha="right", **text)
        axes.text(1.0, line, f"{row.cosine:.3f}", ha="right", **text)
