"""Snowballs: how many tokens of every single trial share their vector with none, against σ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from blackholes.figures import data, style
from blackholes.figures.snowballs import sigma_axis, snowball_data, snowball_sweep

_MANY = 3000  # with more trials than this, dots are drawn as an image


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: trials, scores; latent, if there is a checkpoint. options: snowball."""
    trials, permuted = snowball_data.trials(data.paths(inputs.trials)[0], ["n_tokens", "n_singletons"])
    scores, own = snowball_data.scores(data.paths(inputs.scores)[0], ["sigma", "statistic", "checkpoint"])
    words = sigma_axis.words_of(scores["label"], scores["sigma"])
    tested = own[own["statistic"] == "n_singletons"]["checkpoint"]
    component = float(tested.iloc[0]) if len(tested) and len(permuted) else None
    interval = snowball_data.latent_interval(inputs)
    return draw(trials, words, permuted, component, interval, options.get("snowball"))


@style.styled
def draw(
    trials: pd.DataFrame,
    words: Mapping[str, float],
    permuted: pd.DataFrame,
    component: float | None = None,
    interval: tuple[float, float] | None = None,
    snowball: str | None = None,
) -> Figure:
    """trials, permuted: one row per trial with sigma, n_tokens and n_singletons; component: the number of singletons
    among the tokens that are permuted."""
    tokens = int(trials["n_tokens"].iloc[0])
    beside = component is not None and len(permuted) > 0
    title = f"{snowball or 'snowballs'}: singletons of {len(trials):,} trials of {tokens:,} tokens"
    ratios = {"width_ratios": [5, 1]} if beside else {}
    figure, grid = style.panels(1, 1 + beside, (7.4, 3.9), title, gridspec_kw=ratios)
    axes = grid[0, 0]
    layout = sigma_axis.Layout(trials["sigma"].to_numpy(float))
    colour = style.COLOURS["isolated"]
    x = layout.place(trials["sigma"].to_numpy(float)) + _aside(trials["sigma"]) * 0.08 * layout.unit
    dots: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 2.6, "markeredgewidth": 0, "color": colour}
    dots["alpha"] = 0.45
    axes.plot(x, trials["n_singletons"], rasterized=len(trials) > _MANY, **dots)
    sigma_axis.draw(axes, layout, named=True)
    snowball_sweep.counts(axes, tokens, sigma_axis.mark(axes, layout, words, named=True))
    axes.set_ylabel("singletons (tokens)")
    entries: list[tuple[Any, str]] = [(Line2D([], [], **dots | {"alpha": 1}), "one trial")]
    if interval:
        entries.append(snowball_sweep.band(axes, layout, interval))
    if beside:
        right = grid[0, 1]
        own = int(permuted["n_tokens"].iloc[0])
        right.plot(_aside(pd.Series(0, permuted.index)), permuted["n_singletons"], **dots)
        right.axhline(component, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)))
        right.set_xlim(-1.3, 1.3)
        right.set_xticks([])
        snowball_sweep.counts(right, own, 1)
        right.set_xlabel(f"permutations of the\n{own:,} tokens around\nthe largest hole")
        line = Line2D([], [], color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)))
        entries.append((line, "these tokens themselves"))
    style.legend(figure, entries)
    return figure


def _aside(groups: pd.Series) -> np.ndarray:
    """Numbers from −1 to 1 that spread the trials of one σ, in their order, so that dots show how many there are."""
    place = groups.groupby(groups).cumcount().to_numpy(float)
    return 2 * (place * 0.6180339887498949 % 1) - 1
