"""Where the tokens of one run's black holes go: bands as wide as populations, with ribbons between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from blackholes.figures import data, scales, style
from blackholes.figures.runs.lineage_data import SINGLETONS, Flows, read

_SHOWN = 100  # holes that are drawn at most, the largest
_COLUMNS = 300  # changes that are drawn at most: one in each column of the axis
_TURN = 0.7  # part of a step in which ribbons turn to their new place
_CURVE = (1 - np.cos(np.linspace(0, np.pi, 24))) / 2  # from 0 to 1, flat at both ends
_NAMED = 3  # least tokens of a hole that is numbered

Span = tuple[int, int]  # lower and upper edge, in tokens


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: graph (lineage.graphml), events (lineage_events.csv), counts, one of each. options: experiment, run."""
    S, V = data.shape(Path(inputs.counts), "labels")
    run = str(options.get("run") or Path(inputs.graph).parent.name)
    name = ", ".join([*filter(None, [options.get("experiment")]), run])
    title = style.titled(name, "what became of each hole")
    return draw(read(Path(inputs.graph), Path(inputs.events), S - 1), V, S - 1, title)


@style.styled
def draw(flows: Flows, tokens: int, last: int, title: str | None = None) -> Figure:
    """tokens: V, the height of the panel; last: the run's last step."""
    figure, ((axes,),) = style.panels(1, 1, (7.4, 4.8), (title or "").replace("_", " "))
    axes.set_ylim(0, tokens)
    axes.set_ylabel("tokens")
    axes.grid(False)
    axes.patch.set_facecolor(style.SINGLETONS)
    if not flows.populations:
        scales.step_axis(axes, last)
        style.note(axes, "no black hole at any step")
        return figure
    fills = _fills(flows)
    drawn = layout(flows, last)
    bands = [(_rectangle(it), fills[it.hole], 1.0) for it in drawn.bands]
    ribbons = [(_outline(ribbon), fills[ribbon.hole], ribbon.opacity) for ribbon in drawn.ribbons]
    for shapes in (sorted(ribbons, key=lambda ribbon: ribbon[2]), bands):  # pale ones below
        colours = [to_rgba(fill, alpha) for _, fill, alpha in shapes]
        axes.add_collection(PolyCollection([outline for outline, *_ in shapes], facecolors=colours, linewidths=0))
    scales.step_axis(axes, drawn.shown)
    axes.set_xlim(-0.02, drawn.shown)
    _name_holes(axes, drawn)
    _say(axes, flows, int(flows.steps[-1]), last)
    entries = [
        (
            tuple(style.patch(colour) for colour in style.HOLES[:3]),
            "black holes, as wide as their\ntokens, with numbers",
        ),
        (style.patch(style.SMALL_HOLES), "the smallest"),
        (style.patch(style.HOLES[0], 0.35), "between steps: tokens that leave\nor enter, pale: as singletons"),
        (style.patch(style.SINGLETONS), "singletons"),
    ]
    style.legend(figure, entries)
    return figure


@dataclass(frozen=True)
class Band:
    """A hole from one change to the next: places on the axis of steps (see `place`), lower and upper edge in tokens."""

    hole: int
    start: float
    end: float
    low: int
    high: int


@dataclass(frozen=True)
class Ribbon:
    """Tokens that stay in a hole, or go from one to another, at a step; to and from singletons paler."""

    hole: int  # whose colour it has
    step: int
    before: int  # lower edge in tokens
    after: int
    tokens: int
    opacity: float


@dataclass(frozen=True)
class Layout:
    """What is drawn of a lineage."""

    bands: list[Band]  # in order of steps
    ribbons: list[Ribbon]
    shown: int  # the step at which the axis ends


def layout(flows: Flows, last: int) -> Layout:
    """Where the bands and ribbons of a run's lineage lie; its last step is `last`. Flows without a hole have none."""
    order = _order(flows)
    shown = min(last, max(3 * int(flows.steps[-1]), 10))  # the axis ends where one band would go on
    kept = _columns(flows.steps, shown)
    places = [_places(flows, order, k) for k in kept]
    starts = [place(step) for step in flows.steps[kept].tolist()]
    ends = [turn(step) for step in flows.steps[kept[1:]].tolist()] + [place(shown)]
    bands = [
        Band(hole, start, end, *span)
        for of_step, start, end in zip(places, starts, ends, strict=True)
        for hole, span in of_step.items()
    ]
    ribbons = []
    for i in range(1, len(kept)):
        passed = _passed(flows, order, kept[i - 1], kept[i])
        ribbons += _ribbons(passed, places[i - 1], places[i], order, int(flows.steps[kept[i]]))
    return Layout(bands, ribbons, shown)


def _order(flows: Flows) -> list[int]:
    """Holes from below: each above the one that most of its tokens came from, and below what left that one before."""
    order: list[int] = []
    for hole, sizes in flows.populations.items():
        born = int(np.flatnonzero(sizes)[0])
        came = {a: tokens for (a, b), tokens in flows.passed[born].items() if b == hole}
        parent = max(came, key=lambda a: came[a]) if came else SINGLETONS
        order.insert(order.index(parent) + 1 if parent in order else len(order), hole)
    largest = set(_by_size(flows)[:_SHOWN])
    return [hole for hole in order if hole in largest]


def _by_size(flows: Flows) -> list[int]:
    return sorted(flows.populations, key=lambda hole: -flows.populations[hole].max())


def _fills(flows: Flows) -> dict[int, str]:
    own = dict(zip(_by_size(flows), style.HOLES, strict=False))
    return {hole: own.get(hole, style.SMALL_HOLES) for hole in flows.populations}


def _columns(steps: np.ndarray, shown: int) -> list[int]:
    """Which changes are drawn: the last in each column."""
    column = (np.array([place(step) for step in steps]) / place(shown) * _COLUMNS).astype(int)
    return np.flatnonzero(np.append(np.diff(column) > 0, True)).tolist()


def _places(flows: Flows, order: list[int], k: int) -> dict[int, Span]:
    top, places = 0, {}
    for hole in order:
        if size := int(flows.populations[hole][k]):
            places[hole] = (top, top := top + size)
    return places


def _passed(flows: Flows, order: list[int], before: int, k: int) -> dict[tuple[int, int], int]:
    """All that passes between two changes that are drawn, with what stays and what singletons give and take.

    Between changes that are not neighbours, what holes give to each other is not known, and seems to be singletons.
    """
    known = flows.passed[k] if before == k - 1 else {}
    passed = {pair: tokens for pair, tokens in known.items() if set(pair) <= set(order)}
    others: dict[tuple[int, int], int] = {}
    for hole in order:
        left = sum(tokens for (a, _), tokens in passed.items() if a == hole)
        came = sum(tokens for (_, b), tokens in passed.items() if b == hole)
        old, new = (int(flows.populations[hole][i]) for i in (before, k))
        stays = min(old - left, new - came)
        rest = {(hole, hole): stays, (hole, SINGLETONS): old - left - stays, (SINGLETONS, hole): new - came - stays}
        others |= rest
    passed |= others
    return {pair: tokens for pair, tokens in passed.items() if tokens}


def _ribbons(
    passed: Mapping[tuple[int, int], int],
    before: Mapping[int, Span],
    after: Mapping[int, Span],
    order: list[int],
    step: int,
) -> list[Ribbon]:
    """The ribbons that end at a step; singletons are above all holes."""
    rank = {hole: i for i, hole in enumerate(order)} | {SINGLETONS: len(order)}
    starts: dict[tuple[int, int], list[int]] = {pair: [] for pair in passed}
    for side, places in enumerate((before, after)):
        free = {hole: span[0] for hole, span in places.items()}
        free[SINGLETONS] = max((span[1] for span in places.values()), default=0)
        for pair in sorted(passed, key=lambda pair: (rank[pair[side]], rank[pair[1 - side]])):
            starts[pair].append(free[pair[side]])
            free[pair[side]] += passed[pair]
    ribbons = []
    for pair, (start, end) in starts.items():
        opacity = 0.35 if SINGLETONS in pair else 0.8 + 0.2 * (pair[0] == pair[1])
        ribbons.append(Ribbon(pair[0] or pair[1], step, start, end, passed[pair], opacity))
    return ribbons


def _outline(ribbon: Ribbon) -> np.ndarray:
    x = _unfold(np.linspace(turn(ribbon.step), place(ribbon.step), len(_CURVE)))
    low = ribbon.before + _CURVE * (ribbon.after - ribbon.before)
    return np.concatenate([np.stack([x, low], 1), np.stack([x, low + ribbon.tokens], 1)[::-1]])


def _rectangle(band: Band) -> np.ndarray:
    start, end = float(_unfold(band.start)), float(_unfold(band.end))
    return np.array([(start, band.low), (end, band.low), (end, band.high), (start, band.high)])


def _name_holes(axes: Axes, drawn: Layout) -> None:
    """The number of each hole where its band has the most room, and the populations at the end."""
    room: dict[int, tuple[float, float, float]] = {}
    for it in drawn.bands:
        size, middle = it.high - it.low, float(_unfold((it.start + it.end) / 2))
        if size >= _NAMED:
            best = (min(it.end - it.start, 0.3) * size, middle, (it.low + it.high) / 2)
            room[it.hole] = max(room.get(it.hole, (0.0, 0.0, 0.0)), best)
    for hole, (_, x, y) in room.items():
        axes.text(x, y, str(hole), ha="center", va="center_baseline", fontsize=6.5)
    written: list[float] = []
    spans = [(it.low, it.high) for it in drawn.bands if it.end == place(drawn.shown)]
    for low, high in sorted(spans, key=lambda span: span[0] - span[1]):
        middle = (low + high) / 2
        if all(abs(middle - other) > 0.035 * axes.get_ylim()[1] for other in written):  # no two on each other
            written.append(middle)
            at: dict[str, Any] = {
                "xytext": (3, 0),
                "xycoords": ("axes fraction", "data"),
                "textcoords": "offset points",
            }
            axes.annotate(f"{high - low:,}", (1, middle), va="center", fontsize=7.5, **at)


def _say(axes: Axes, flows: Flows, changed: int, last: int) -> None:
    words = [f"last change at step {changed:,} of {last:,}"]
    if flows.folded:
        words.append(f"{flows.folded:,} hole{'s' * (flows.folded != 1)} of flicker folded")
    if (more := len(flows.populations) - _SHOWN) > 0:
        words.append(f"{more:,} smaller holes not drawn")
    axes.set_title("; ".join(words), loc="right", fontsize=7.5)


def place(step: float) -> float:
    """On the axis of steps, in decades."""
    return step * scales.LINEAR if step < 1 else scales.LINEAR + float(np.log10(step))


def turn(step: int) -> float:
    """The place where the ribbons that end at a step begin."""
    return place(step) - _TURN * (place(step) - place(step - 1))


def _unfold(place):
    """The step at a place on the axis."""
    place = np.asarray(place, float)
    return np.where(place < scales.LINEAR, place / scales.LINEAR, 10 ** (place - scales.LINEAR))
