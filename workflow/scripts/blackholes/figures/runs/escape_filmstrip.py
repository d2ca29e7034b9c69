"""How tokens leave the holes of one run: a few steps side by side, each as a grid of all tokens and in a plane.

The film (film.py) shows more steps of the same, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from blackholes.errors import UserError
from blackholes.figures import data, style

STRIP = 8  # steps in the strip
WRITTEN = 512  # tokens up to which dead ones are framed
_PALE = {False: "#eef0e8", True: "#eadfd9"}  # singletons: live, dead


@dataclass
class Escapes:
    """Of K steps of one run of V tokens."""

    steps: np.ndarray  # (K,)
    identities: np.ndarray  # (K, V): number of the token's hole, 0: a singleton
    plane: np.ndarray  # (K, V, 2): places in the plane of the first two principal components
    dead: np.ndarray  # bool (V,)
    title: str

    @property
    def columns(self) -> int:
        """Of the grid."""
        V = len(self.dead)
        return 16 if V <= WRITTEN else round(np.sqrt(1.5 * V))

    def fills(self) -> dict[int, str]:
        """Hole → its colour: the largest, by peak, have their own, the others share a grey."""
        sizes = np.stack([np.bincount(row, minlength=int(self.identities.max()) + 1) for row in self.identities])
        ranked = np.argsort(-sizes.max(0), kind="stable").tolist()
        order = [hole for hole in ranked if hole and sizes[:, hole].any()]
        return {hole: style.HOLES[i] if i < len(style.HOLES) else style.SMALL_HOLES for i, hole in enumerate(order)}


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: explorer (explorer.safetensors), tokens, one of each. options: experiment, run."""
    found = read(inputs, options)
    return draw(found, shown(found, STRIP))


def read(inputs, options: Mapping) -> Escapes:
    """What both the strip and the film show."""
    (file,) = data.paths(inputs.explorer)
    tensors, _ = data.read_tensors(file)
    tokens = data.read_tokens(data.paths(inputs.tokens)[0])
    if tensors["identities"].shape[1] != len(tokens):
        found = tensors["identities"].shape[1]
        raise UserError(f"{file}: identities has {found} tokens; expected {len(tokens)}, as in tokens.csv")
    title = ", ".join([*filter(None, [options.get("experiment")]), str(options.get("run") or file.parent.name)])
    dead = (tokens["status"] == "dead").to_numpy()
    title = style.titled(title.replace("_", " "), "escape from the holes")
    return Escapes(tensors["steps"], tensors["identities"], tensors["plane"], dead, title)


def shown(found: Escapes, most: int) -> list[int]:
    """Up to `most` rows of steps: from the first to one after the last change of a hole, evenly on a logarithmic axis
    of steps, and the last of all.
    """
    changed = (found.identities[1:] != found.identities[:-1]).any(1)
    end = min(int(np.flatnonzero(changed)[-1]) + 2 if changed.any() else 0, len(found.steps) - 1)
    places = np.log1p(found.steps[: end + 1])
    wanted = np.linspace(0, places[-1], max(2, most - 1))
    return sorted({*(int(np.abs(places - place).argmin()) for place in wanted), len(found.steps) - 1})


@style.styled
def draw(found: Escapes, rows: list[int]) -> Figure:
    """The strip: a column for each of these rows of steps."""
    lines = -(-len(found.dead) // found.columns)
    width = 1.45
    size = (max(width * len(rows), 5.0), 0.95 + width * (lines / found.columns + 1.05))
    ratios = {"height_ratios": [lines / found.columns, 1.0]}
    figure, grid = style.panels(2, len(rows), size, found.title, gridspec_kw=ratios)
    fills = found.fills()
    for column, row in enumerate(rows):
        panel = Grid(grid[0, column], found)
        panel.show(found, row, fills)
        grid[0, column].set_title(f"step {found.steps[row]:,}\n{count(found, row)}", fontsize=7.5)
        Plane(grid[1, column], found, 13).show(found, row, fills)
        grid[1, column].tick_params(labelsize=5.5)
    entries = [
        (tuple(style.patch(colour) for colour in style.HOLES[:3]), "in a hole (one colour a hole)"),
        (style.patch(style.SMALL_HOLES), "in one of the smallest holes"),
        (style.patch(_PALE[False]), "live singleton"),
        (style.patch(_PALE[True]), "dead singleton"),
    ]
    style.legend(figure, entries)
    return figure


def count(found: Escapes, row: int) -> str:
    """`3 holes of 40`"""
    held = found.identities[row][found.identities[row] > 0]
    holes = len(np.unique(held))
    return f"{holes:,} hole{'s' * (holes != 1)}, {len(held):,} tokens" if holes else "no hole"


class Grid:
    """All tokens, a cell each, in order of their ids."""

    def __init__(self, axes: Axes, found: Escapes):
        V, columns = len(found.dead), found.columns
        self.lines = -(-V // columns)
        self.image = axes.imshow(np.ones((self.lines, columns, 3)), interpolation="nearest", aspect="equal")
        if V <= WRITTEN:
            frames = [Rectangle((t % columns - 0.5, t // columns - 0.5), 1, 1) for t in np.flatnonzero(found.dead)]
            axes.add_collection(PatchCollection(frames, facecolors="none", edgecolors=style.INK, linewidths=0.4))
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.set_yticks([])

    def show(self, found: Escapes, row: int, fills: Mapping[int, str]) -> None:
        """Colour the cells as a row of steps has them."""
        cells = np.ones((self.lines * found.columns, 3))
        held = zip(found.identities[row].tolist(), found.dead.tolist(), strict=True)
        cells[: len(found.dead)] = [to_rgb(fills[hole] if hole else _PALE[dead]) for hole, dead in held]
        self.image.set_data(cells.reshape(self.lines, found.columns, 3))


class Plane:
    """The plane of the first two principal components: holes as discs, singletons as points."""

    def __init__(self, axes: Axes, found: Escapes, largest: float):
        self.axes, self.largest = axes, largest  # points: the radius of a hole of all tokens
        self.least = 0.004 * max(float(np.ptp(found.plane.reshape(-1, 2), axis=0).max()), 1e-6)
        empty = np.zeros((0, 2))
        self.live = axes.plot(*empty.T, ".", markersize=2.4, color=style.COLOURS["live"])[0]
        self.dead = axes.plot(*empty.T, "s", markersize=2.0, color=style.COLOURS["dead"])[0]
        self.holes = axes.scatter([], [], linewidths=0.4, edgecolors=style.INK, zorder=3)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))

    def show(self, found: Escapes, row: int, fills: Mapping[int, str]) -> None:
        """Move everything to where a row of steps has it; the limits follow the cloud."""
        places, holes = found.plane[row], found.identities[row]
        self.live.set_data(*places[(holes == 0) & ~found.dead].T)
        self.dead.set_data(*places[(holes == 0) & found.dead].T)
        numbers, first, sizes = np.unique(holes, return_index=True, return_counts=True)
        order = [i for i in np.argsort(-sizes) if numbers[i]]
        self.holes.set_offsets(places[first[order]].reshape(-1, 2))
        self.holes.set_sizes((2 * self.largest) ** 2 * sizes[order] / len(holes))
        self.holes.set_facecolor([fills[int(numbers[i])] for i in order])
        low, high = places.min(0), places.max(0)
        reach = max(0.8 * float((high - low).max()), self.least)
        middle = (low + high) / 2
        self.axes.set_xlim(middle[0] - reach, middle[0] + reach)
        self.axes.set_ylim(middle[1] - reach, middle[1] + reach)
