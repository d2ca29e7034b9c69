"""The axis of σ that several figures of snowballs share: logarithmic, with 0 at its left end and gaps cut short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from blackholes.figures import style

GAP = 2.0  # decades without any σ, beyond which the axis is broken
WORDS = ("within", "global", "latent")
_LETTER = 0.021  # width of a letter in a panel of some 240 points


class Layout:
    """Where σ are placed. `place(σ)` is a position; `breaks` are the positions at which the axis is broken."""

    def __init__(self, sigmas: np.ndarray):
        sigmas = np.unique(np.asarray(sigmas, float))
        self.has_zero = sigmas[0] == 0
        logs = np.log10(sigmas[sigmas > 0]) if (sigmas > 0).any() else np.zeros(1)
        cuts = np.flatnonzero(np.diff(logs) > GAP) + 1
        self.groups = [(group[0], group[-1]) for group in np.split(logs, cuts)]
        self.unit = float(np.clip(max(last - first for first, last in self.groups) / 4, 0.15, 1.0))
        xs, ys = [logs[0]], [0.0]
        self.breaks: list[float] = []
        for number, (first, last) in enumerate(self.groups):
            if number:
                self.breaks.append(ys[-1] + self.unit / 2)
                xs.append(first)
                ys.append(ys[-1] + self.unit)
            if last > first:
                xs.append(last)
                ys.append(ys[-1] + last - first)
        self._xs, self._ys = np.array(xs), np.array(ys)
        self.zero = -self.unit
        self.first = self.zero if self.has_zero else 0.0
        self.last = float(self._ys[-1])

    def place(self, sigma: float | np.ndarray) -> np.ndarray:
        sigma = np.asarray(sigma, float)
        logs = np.log10(np.where(sigma > 0, sigma, 1.0))
        inside = np.interp(logs, self._xs, self._ys)
        below = np.minimum(logs - self._xs[0], 0)
        if self.has_zero:  # all that lies below the smallest number has to fit in before 0
            below = self.zero * -np.expm1(below / self.unit)
        beyond = below + np.maximum(logs - self._xs[-1], 0)
        return np.where(sigma > 0, inside + beyond, self.zero)


def draw(axes: Axes, layout: Layout, named: bool) -> None:
    """Ticks, limits, and marks where the axis is broken; `named`: with numbers and a label."""
    margin = 0.35 * layout.unit
    low, high = layout.first - margin, layout.last + margin
    ticks, names = ([layout.zero], ["0"]) if layout.has_zero else ([], [])
    end = low  # of the name before
    for sigma in (sigma for first, last in layout.groups for sigma in _ticks(first, last)):
        place, name = float(layout.place(sigma)), _name(sigma)
        half = (high - low) * _LETTER * (4.5 if "cdot" in name else 3) / 2
        if place - half >= end:  # a name that would lie over the one before is left out
            ticks.append(place)
            names.append(name)
            end = place + half
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter(names))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(low, high)
    for place in [*layout.breaks, *([layout.zero / 2] if layout.has_zero else [])]:
        for shift in (-0.004, 0.008):
            at: dict[str, Any] = {
                "transform": axes.get_xaxis_transform(),
                "ha": "center",
                "va": "center",
                "clip_on": False,
            }
            axes.text(place, shift, "⁄", fontsize=9, color=style.COLOURS["run"], **at)
    if named:
        broken = "; ⁄ where the axis is broken" if layout.breaks or layout.has_zero else ""
        axes.set_xlabel(f"noise σ (logarithmic{broken})")


def _ticks(first: float, last: float) -> list[float]:
    """Round numbers between two powers of ten, or the number itself where there is one only."""
    if last - first < 0.05:
        return [10**first]
    decades = 10.0 ** np.arange(np.floor(first), np.ceil(last) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), np.arange(1, 10), np.arange(1, 10, 0.2)):
        found = np.outer(decades, factors).ravel()
        found = found[(np.log10(found) >= first - 0.02) & (np.log10(found) <= last + 0.02)]
        if len(found) >= 2:
            break
    return found[:: max(1, -(-len(found) // 6))].tolist()


def _name(sigma: float) -> str:
    exponent = int(np.floor(np.log10(sigma) + 1e-9))
    factor = f"{sigma / 10.0**exponent:.2g}"
    return f"$10^{{{exponent}}}$" if factor == "1" else f"${factor}\\!\\cdot\\!10^{{{exponent}}}$"


def mark(axes: Axes, layout: Layout, words: Mapping[str, float], named: bool) -> int:
    """Dotted lines at the σ of words, with their names at the top. Returns how many lines of names there are.

    Names that would overlap go into a line of their own; words of one σ share a name.
    """
    by_place: dict[float, list[str]] = {}
    for word, sigma in words.items():
        by_place.setdefault(round(float(layout.place(sigma)), 6), []).append(word)
    for place in by_place:
        axes.axvline(place, color=style.PALE, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0.9)
    if not named:
        return 0
    low, high = axes.get_xlim()
    letter = (high - low) * _LETTER
    ends: list[float] = []  # of the names in each line
    for place, names in sorted(by_place.items()):
        text = ", ".join(names)
        left = place + len(text) * letter > high
        start = place - len(text) * letter if left else place
        line = next((k for k, end in enumerate(ends) if end <= start), len(ends))
        ends[line : line + 1] = [start + (len(text) + 1) * letter]
        axes.annotate(
            text,
            (place, 1),
            (-3 if left else 3, -1 - 9 * line),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if left else "left",
            va="top",
            fontsize=7,
            color=style.COLOURS["run"],
        )
    return len(ends)


def words_of(labels: Sequence[str], sigmas: Sequence[float]) -> dict[str, float]:
    """The σ of WORDS among the labels of a table."""
    found = dict(zip(labels, map(float, sigmas), strict=True))
    return {word: found[word] for word in WORDS if word in found}
