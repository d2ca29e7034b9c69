"""The members of one run's black holes at key steps: a grid of all tokens, coloured by hole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from blackholes.errors import UserError
from blackholes.figures import data, style

_COLUMNS = 16
_NAMED = 512  # up to this many tokens are written out; beyond, each is a small square


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: counts (one run's), tokens. options: experiment, run, key_steps."""
    (file,) = data.paths(inputs.counts)
    tokens = data.read_tokens(data.paths(inputs.tokens)[0])
    steps = data.key_steps(options, data.length(file, "labels") - 1)
    labels = data.read_rows([file], "labels", steps)[0]
    if labels.shape[1] != len(tokens):
        raise UserError(f"{file}: labels has {labels.shape[1]} tokens; expected {len(tokens)}, as in tokens.csv")
    name = ", ".join([*filter(None, [options.get("experiment")]), str(options.get("run") or file.parent.name)])
    title = style.titled(name, "which tokens share a hole")
    return draw(steps, labels, tokens["character"].tolist(), (tokens["status"] == "dead").to_numpy(), title)


@style.styled
def draw(
    steps: Sequence[int], labels: np.ndarray, characters: Sequence[str], dead: np.ndarray, title: str | None = None
) -> Figure:
    """labels (K, V): smallest token id of the token's hole at the K steps; characters and dead mask (V,).

    Up to 512 tokens are written out; in larger vocabularies each is a small square.
    """
    colours = hole_colours(labels)
    if labels.shape[1] > _NAMED:
        return _squares(steps, labels, np.asarray(dead, bool), colours, title)
    names = [short_name(character) for character in characters]
    columns = min(len(steps), 2)
    rows = -(-len(steps) // columns)
    lines = -(-len(names) // _COLUMNS)
    size = (0.25 + 4.55 * max(columns, 1.2), 0.85 + rows * (0.55 + 0.27 * lines))
    figure, grid = style.panels(rows, columns, size, (title or "").replace("_", " "))
    for axes, step, label in zip(grid.flat, steps, labels, strict=False):
        _snapshot(axes, label, names, dead, colours)
        _heading(axes, step, label, colours)
    for axes in list(grid.flat)[len(steps) :]:
        axes.set_visible(False)
    _legend(figure, 2 * columns)
    return figure


def hole_colours(labels: np.ndarray) -> dict[int, str]:
    """(K, V) → {hole: fill}: the largest, by population over all key steps, have their own, the others share a grey."""
    populations = np.stack([np.bincount(row, minlength=labels.shape[1]) for row in labels])
    populations[populations == 1] = 0
    order = np.argsort(-populations.sum(0), kind="stable")
    holes = [int(hole) for hole in order if populations[:, hole].any()]
    return {h: style.HOLES[i] if i < len(style.HOLES) else style.SMALL_HOLES for i, h in enumerate(holes)}


def short_name(character: str) -> str:
    """A character of tokens.csv, shortened to fit into a box: `a`, SP for `space`, LF for `LF \\n`, x80 for U+0080."""
    if len(character) == 1:
        return character if character.isprintable() and character != " " else short_name(f"U+{ord(character):04X}")
    word = (character.split() or ["?"])[0]
    if word.startswith("U+"):
        return {"0020": "SP"}.get(word[2:], f"x{int(word[2:], 16):02X}")
    return {"space": "SP"}.get(word, word[:4])


def _squares(
    steps: Sequence[int], labels: np.ndarray, dead: np.ndarray, colours: Mapping[int, str], title: str | None
) -> Figure:
    """One square per token: dead tokens above, live ones below, in order of token id."""
    V = len(dead)
    width = round(np.sqrt(1.5 * V))  # squares in a row: panels are 1.5 times as wide as high
    order = np.argsort(~dead, kind="stable")
    lines = [-(-int(kind.sum()) // width) for kind in (dead, ~dead)]
    gap = max(1, sum(lines) // 25) if all(lines) else 0
    height = sum(lines) + gap
    place = np.arange(V)
    place[dead.sum() :] += (lines[0] + gap) * width - dead.sum()
    columns = min(len(steps), 2)
    rows = -(-len(steps) // columns)
    size = (max(4.2 * columns, 6.0), 1.1 + rows * (0.5 + 3.8 * height / width))
    figure, grid = style.panels(rows, columns, size, (title or "").replace("_", " "))
    for axes in list(grid.flat)[len(steps) :]:
        axes.set_visible(False)
    for axes, step, label in zip(grid.flat, steps, labels, strict=False):
        population = np.bincount(label, minlength=V)[label]
        image = np.ones((height * width, 3))
        fills = [
            to_rgb(colours[hole]) if size > 1 else _pale(style.COLOURS["dead" if is_dead else "live"])
            for hole, size, is_dead in zip(label[order], population[order], dead[order], strict=True)
        ]
        image[place] = fills
        axes.imshow(image.reshape(height, width, 3), interpolation="nearest", aspect="equal")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=7)
        axes.set_xticks([])
        middles = [(lines[0] - 1) / 2, lines[0] + gap + (lines[1] - 1) / 2]
        names = [f"{dead.sum():,} dead", f"{V - dead.sum():,} live"]
        present = [i for i in (0, 1) if lines[i]]
        axes.set_yticks([middles[i] for i in present], [names[i] for i in present], rotation=90, va="center")
        _squares_heading(axes, step, label)
    entries = [
        (tuple(style.patch(colour) for colour in style.HOLES[:3]), "in a hole (one colour per hole)"),
        (style.patch(style.SMALL_HOLES), "in one of the smallest holes"),
        (style.patch(_pale(style.COLOURS["dead"])), "dead singleton"),
        (style.patch(_pale(style.COLOURS["live"])), "live singleton"),
    ]
    style.legend(figure, entries, 2)
    return figure


def _pale(colour: str) -> tuple[float, float, float]:
    red, green, blue = (0.3 * part + 0.7 for part in to_rgb(colour))
    return red, green, blue


def _squares_heading(axes: Axes, step: int, label: np.ndarray, shown: int = 4) -> None:
    """`step 100: 3 holes, 90 singletons`, and the populations of the largest."""
    populations = np.bincount(label)
    holes = sorted(np.flatnonzero(populations > 1), key=lambda hole: (-populations[hole], hole))
    words = f"{len(holes):,} hole{'s' * (len(holes) != 1)}, {(populations == 1).sum():,} singletons"
    sizes = ", ".join(f"{populations[hole]:,}" for hole in holes[:shown]) + " …" * (len(holes) > shown)
    axes.set_title(f"step {step:,}", loc="left", fontweight="bold")
    axes.set_title(words + (f"; populations {sizes}" if holes else ""), loc="right", fontsize=7.5)


def _snapshot(
    axes: Axes, label: np.ndarray, names: Sequence[str], dead: np.ndarray, colours: Mapping[int, str]
) -> None:
    population = np.bincount(label, minlength=len(label))[label]
    for kind in (False, True):
        boxes, fills = [], []
        for token in np.flatnonzero(np.asarray(dead, bool) == kind):
            row, column = divmod(int(token), _COLUMNS)
            if not kind and population[token] == 1:
                continue
            boxes.append(
                FancyBboxPatch((column - 0.40, row - 0.38), 0.80, 0.76, boxstyle="round,pad=0,rounding_size=0.14")
            )
            fills.append(colours[label[token]] if population[token] > 1 else "none")
        edge = style.COLOURS["dead"] if kind else "none"
        axes.add_collection(PatchCollection(boxes, facecolors=fills, edgecolors=edge, linewidths=0.8))
    for place, name in enumerate(names):
        row, column = divmod(place, _COLUMNS)
        ink = style.INK if population[place] > 1 else style.PALE
        fontsize = {1: 9, 2: 7, 3: 5.8}.get(len(name), 5)
        axes.text(
            column,
            row,
            name,
            ha="center",
            va="center_baseline" if len(name) == 1 else "center",
            fontsize=fontsize,
            color=ink,
            parse_math=False,
        )
    lines = -(-len(names) // _COLUMNS)
    axes.set_xlim(-0.5, _COLUMNS - 0.5)
    axes.set_ylim(lines - 0.5, -0.5)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=6, labelcolor=style.COLOURS["run"])
    axes.set_xticks([])
    axes.set_yticks(range(lines), [str(_COLUMNS * line) for line in range(lines)])


def _heading(axes: Axes, step: int, label: np.ndarray, colours: Mapping[int, str], shown: int = 6) -> None:
    """`step 100: 3 holes` and, at the right, the populations of the largest beside their colours."""
    populations = np.bincount(label)
    holes = sorted(np.flatnonzero(populations > 1), key=lambda hole: (-populations[hole], hole))
    alone = int((populations == 1).sum())
    axes.set_title(f"step {step:,}", fontweight="bold", pad=13)
    words = f"{len(holes)} hole{'s' * (len(holes) != 1)}, {alone} singleton{'s' * (alone != 1)}"
    axes.text(-0.5, -0.62, words, va="bottom", fontsize=7)
    x = _COLUMNS - 0.5  # in columns, from the right
    more: list[tuple[str, str | None]] = [(f"+{len(holes) - shown} more", None)] if len(holes) > shown else []
    for text, colour in more + [(str(populations[hole]), colours[int(hole)]) for hole in reversed(holes[:shown])]:
        axes.text(x, -0.62, text, ha="right", va="bottom", fontsize=7)
        x -= 0.23 * len(text) + 0.2
        if colour:
            box: dict[str, Any] = {
                "boxstyle": "round,pad=0,rounding_size=0.08",
                "facecolor": colour,
                "linewidth": 0,
                "clip_on": False,
            }
            axes.add_patch(FancyBboxPatch((x - 0.3, -0.99), 0.36, 0.34, **box))
            x -= 0.6


def _legend(figure: Figure, columns: int) -> None:
    square: dict[str, Any] = {"marker": "s", "linestyle": "", "markersize": 8}
    edge = style.COLOURS["dead"]
    fill = tuple(Line2D([], [], color=colour, **square) for colour in style.HOLES[:3])
    entries = [
        (fill, "in a hole (one colour per hole,\npopulations above the panel)"),
        (Line2D([], [], color=style.SMALL_HOLES, **square), "in one of the\nsmallest holes"),
        (
            Line2D([], [], markerfacecolor="none", markeredgecolor=edge, markeredgewidth=0.8, **square),
            "framed: dead, never\nin the corpus",
        ),
        (
            Line2D([], [], color=style.PALE, marker="$\\mathrm{a}$", linestyle="", markersize=5),
            "pale: singleton",
        ),
    ]
    style.legend(figure, entries, columns)
