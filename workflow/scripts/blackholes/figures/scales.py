"""Axes of the figures: steps, counts, ticks of logarithmic axes. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

LINEAR = 0.4  # width of the part from step 0 to 1 on a step axis, in decades
_WHOLE = "{x:,.0f}"  # format of a tick


def step_axis(axes: Axes, last: int, label: bool = True) -> None:
    """A logarithmic axis of steps that includes step 0: linear from 0 to 1, logarithmic from there."""
    last = max(int(last), 1)
    axes.set_xscale("symlog", linthresh=1, linscale=LINEAR * 0.9)
    decades = [10**k for k in range(int(np.log10(last)) + 1)]
    major = [0, *decades] if last >= 10 else list(range(last + 1))
    minor = [m * d for d in decades for m in range(2, 10) if m * d <= last]
    _steps(axes, major, [] if last < 10 else minor)
    axes.set_xlim(-0.12, last * 1.08)
    if label:
        axes.set_xlabel("training step (linear from 0 to 1, then logarithmic)")


def _steps(axes: Axes, major: Sequence[int], minor: Sequence[int]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(major))
    axes.xaxis.set_minor_locator(FixedLocator(minor))
    axes.xaxis.set_major_formatter(_WHOLE)
    axes.xaxis.set_minor_formatter(NullFormatter())


def log_axis(axes: Axes, last: int) -> None:
    """A logarithmic axis of steps, from step 1."""
    axes.set_xscale("log")
    decades = [10**k for k in range(int(np.log10(max(last, 1))) + 1)]
    _steps(axes, decades, [m * d for d in decades for m in range(2, 10) if m * d <= last])
    axes.set_xlim(0.93, max(last, 1) * 1.08)
    axes.set_xlabel("training step (logarithmic)")


def decades(last: float) -> FixedLocator:
    """Ticks of a logarithmic axis that ends at `last`: the powers of ten from 1."""
    return FixedLocator([10**k for k in range(int(np.log10(max(last, 1))) + 1)])


def linear_step_axis(axes: Axes, last: int) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.xaxis.set_major_formatter(_WHOLE)
    axes.set_xlim(0, max(last, 1) * 1.02)
    axes.set_xlabel("training step")


def count_axis(axes: Axes, label: str = "", top: float = 1, ticks: int = 5) -> None:
    """A vertical axis of whole numbers, from 0 to a little above `top`."""
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=ticks, min_n_ticks=2))
    axes.yaxis.set_major_formatter(_WHOLE)
    axes.set_ylim(-0.03 * max(top, 1), max(top, 1) * 1.1)
    axes.set_ylabel(label)


def log_ticks(low: float, high: float, most: int = 10) -> np.ndarray:
    """Round numbers between 10**low and 10**high: powers of ten, or with 2 and 5, …, if there are too few."""
    decades = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
    for factors in ((1,), (1, 2, 5), np.arange(1, 10), np.arange(1, 10, 0.2), np.arange(1, 10, 0.01)):
        ticks = np.outer(decades, factors).ravel()
        ticks = ticks[(np.log10(ticks) >= low) & (np.log10(ticks) <= high)]
        if len(ticks) >= 3:
            break
    return ticks[:: max(1, -(-len(ticks) // most))]


def number(value: float, _: object = None) -> str:
    """Format of a tick on an axis over many powers of ten: `20,000`, `2e7`."""
    return f"{value:,.0f}" if value < 1e6 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
