"""z-scores of a checkpoint's 20 statistics among the snowballs of every σ, and among the permutations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from blackholes.figures import data, style
from blackholes.figures.snowballs import sigma_axis, snowball_data

COLUMNS = ["sigma", "statistic", "checkpoint", "mean", "z", "note"]
_LARGEST = 10  # z at which the colour is full
_COLOURS = LinearSegmentedColormap.from_list("z", ["#3565a8", "#dfe8f3", "#f7f8f9", "#f8e3da", "#c14b35"])


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: scores; latent, if there is a checkpoint. options: snowball."""
    tables = snowball_data.scores(data.paths(inputs.scores)[0], COLUMNS)
    return draw(*tables, options.get("snowball"), snowball_data.compared(inputs))


@style.styled
def draw(
    scores: pd.DataFrame,
    permuted: pd.DataFrame,
    snowball: str | None = None,
    whose: str = snowball_data.HOLES,
) -> Figure:
    """scores: one row per σ and statistic with label, sigma, statistic, checkpoint, mean and z; without a checkpoint
    `checkpoint` and `z` are empty, and the means are shown. permuted: the same of the permutations, with `note`;
    whose: what tokens of the checkpoint they are of."""
    names = list(scores["statistic"].unique())
    order = scores.drop_duplicates("label").sort_values("sigma", kind="stable")
    table = scores.pivot(index="statistic", columns="label").reindex(names)
    compared = scores["checkpoint"].notna().all()
    shown = table["z" if compared else "mean"][list(order["label"])].to_numpy()
    labels = [_sigma(*pair) for pair in zip(order["label"], order["sigma"], strict=True)]
    tested = permuted.set_index("statistic").reindex(names) if len(permuted) and permuted["z"].notna().any() else None
    if tested is not None:  # after an empty column, since these are other tokens
        shown = np.column_stack([shown, np.full(len(names), np.nan), tested["z"]])
        labels += ["", f"permuted,\n{tested['checkpoint']['n_tokens']:,.0f}\ntokens"]
    size = (max(0.52 * len(labels) + 3.0, 5.0), 0.235 * len(names) + 1.7)
    shows = "the checkpoint among the trials of each σ" if compared else "means of the trials of each σ"
    figure, grid = style.panels(1, 1, size, style.titled(snowball, shows))
    axes = grid[0, 0]
    colours = np.clip(shown, -_LARGEST, _LARGEST) if compared else np.where(np.isnan(shown), np.nan, 0.0)
    axes.imshow(colours, cmap=_COLOURS, vmin=-_LARGEST, vmax=_LARGEST, aspect="auto")
    for (row, column), value in np.ndenumerate(shown):
        if not np.isnan(value):
            ink = "white" if compared and abs(value) >= 0.75 * _LARGEST else style.INK
            axes.text(column, row, short(value), ha="center", va="center", fontsize=6.5, color=ink)
    axes.set_xticks(range(len(labels)), labels)
    own = table["checkpoint"].iloc[:, 0]
    axes.set_yticks(range(len(names)), [f"{name}   {short(own[name])}" if compared else name for name in names])
    axes.tick_params(length=0, labelsize=6.5)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlabel("noise σ" + _not_tested(permuted, tested is not None))
    z = f"z = (checkpoint − mean) / standard deviation\nbeside the names: the tokens of the {whose}"
    means = "means over the trials;\nthere is no checkpoint to compare with"
    axes.set_title(z if compared else means, fontsize=7.5)
    return figure


def _not_tested(permuted: pd.DataFrame, tested: bool) -> str:
    notes = [] if tested else permuted["note"].dropna().tolist()
    return f"\nno permutations: {notes[0]}" if notes else ""


def _sigma(label: str, sigma: float) -> str:
    return f"{label}\n{sigma:.2g}" if label in sigma_axis.WORDS else f"{sigma:.3g}"


def short(value: float) -> str:
    """A number in a table."""
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    value += 0.0  # no −0
    text = f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"
    return text.replace("-", "−")
