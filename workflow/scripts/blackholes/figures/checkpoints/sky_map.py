"""Where a checkpoint's tokens lie: their norms, the whole sky with the box, and a zoom into the box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from blackholes.figures import style
from blackholes.figures.checkpoints import checkpoint_data

_MANY = 4000  # with more tokens than this, the sky is drawn as counts per cell
_GREYS = LinearSegmentedColormap.from_list("tokens", ["#e9ecf1", "#7b8798", "#22262e"])
_DOT: dict[str, Any] = {"linestyle": "", "marker": "o", "markeredgewidth": 0}

Box = Mapping[str, tuple[float, float] | None]


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: tokens (tokens.csv), sphere. options: checkpoint."""
    tokens = checkpoint_data.read_tokens(inputs.tokens)
    sphere = checkpoint_data.tensors(inputs.sphere, "latitude", "longitude", "radius")
    tokens = tokens.assign(**sphere)
    return draw(tokens, checkpoint_data.box(inputs.sphere), options.get("checkpoint"))


@style.styled
def draw(tokens: pd.DataFrame, box: Box, checkpoint: str | None = None) -> Figure:
    """tokens: one row per token with norm, hole, in_box, in_cluster, latitude, longitude (degrees), radius."""
    title = ", ".join(filter(None, [checkpoint, f"{len(tokens):,} tokens"])) + ": directions from the origin"
    figure, grid = style.panels(2, 2, (7.2, 6.6), title, gridspec_kw={"height_ratios": [1, 2]})
    for axes in grid[0]:
        axes.remove()
    _norms(figure.add_subplot(grid[0, 0].get_gridspec()[0, :]), tokens)
    _sky(figure, grid[1, 0], tokens, box)
    _zoom(grid[1, 1], tokens, box)
    fill: dict[str, Any] = {"marker": "s", "linestyle": "", "markersize": 7}
    entries = [
        (Line2D([], [], color=style.COLOURS["tokens"], **fill), "all tokens"),
        (Line2D([], [], color=style.COLOURS["cluster"], **fill), "the cluster"),
        (Line2D([], [], color=style.COLOURS["holes"], **fill), "tokens in holes"),
        (Rectangle((0, 0), 1, 1, fill=False, edgecolor=style.COLOURS["box"], linewidth=1), "the box"),
    ]
    style.legend(figure, entries)
    return figure


def _norms(axes: Axes, tokens: pd.DataFrame) -> None:
    norm = tokens["norm"].to_numpy(float)
    low, high = norm.min(), norm.max()
    margin = 0.02 * (high - low or abs(high) or 1)
    edges = np.linspace(low - margin, high + margin, 121)
    in_hole = (tokens["hole"] >= 0).to_numpy()
    for chosen, role in (
        (np.ones(len(norm), bool), "tokens"),
        (in_hole | (tokens["in_cluster"] == 1).to_numpy(), "cluster"),
        (in_hole, "holes"),
    ):
        counts = np.histogram(norm[chosen], edges)[0]
        axes.stairs(counts, edges, fill=True, color=style.COLOURS[role], alpha=1 if role != "tokens" else 0.75)
    axes.set_yscale("log")
    axes.set_ylim(0.7, None)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("norm of the token's vector (embedding units)")
    axes.set_ylabel("tokens (number,\nlogarithmic)")


def _sky(figure: Figure, axes: Axes, tokens: pd.DataFrame, box: Box) -> None:
    longitude, latitude = tokens["longitude"].to_numpy(), tokens["latitude"].to_numpy()
    if len(tokens) > _MANY:
        extent = (-180, 180, -90, 90)
        cells = axes.hexbin(
            longitude, latitude, gridsize=(60, 22), extent=extent, mincnt=1, norm=LogNorm(), cmap=_GREYS, linewidths=0.1
        )
        bar = figure.colorbar(cells, ax=axes, location="top", aspect=40, pad=0.02)
        bar.set_label("tokens in a cell (number, logarithmic)", fontsize=7)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=6.5)
        bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        bar.ax.minorticks_off()
    else:
        axes.plot(longitude, latitude, color=style.COLOURS["tokens"], markersize=3, **_DOT)
    _holes(axes, tokens, longitude, largest=5)
    lat, lon = box["lat"] or (-90, 90), box["lon"] or (-180, 180)
    parts = [lon] if lon[0] <= lon[1] else [(lon[0], 180), (-180, lon[1])]
    for west, east in parts:
        height, colour = lat[1] - lat[0], style.COLOURS["box"]
        axes.add_patch(
            Rectangle((west, lat[0]), east - west, height, fill=False, edgecolor=colour, linewidth=1, zorder=4)
        )
    axes.set_xlim(-180, 180)
    axes.set_ylim(-90, 90)
    axes.set_xticks(range(-180, 181, 60))
    axes.set_yticks(range(-90, 91, 30))
    _degrees(axes)
    axes.set_title("the whole sky" if len(tokens) <= _MANY else "", fontweight="bold")


def _zoom(axes: Axes, tokens: pd.DataFrame, box: Box) -> None:
    """The tokens between the box's latitudes and longitudes; those outside its radii are pale."""
    lat, lon = box["lat"] or (-90, 90), box["lon"] or (-180, 180)
    width = lon[1] - lon[0] if lon[0] <= lon[1] else lon[1] - lon[0] + 360
    longitude = lon[0] + np.mod(tokens["longitude"].to_numpy(float) - lon[0], 360)  # continuous across 180°
    longitude = np.where(longitude - lon[0] > (width + 360) / 2, longitude - 360, longitude)
    latitude = tokens["latitude"].to_numpy(float)
    near = (latitude >= lat[0]) & (latitude <= lat[1]) & (longitude >= lon[0]) & (longitude <= lon[0] + width)
    in_box, in_cluster = (tokens[key].to_numpy() == 1 for key in ("in_box", "in_cluster"))
    for chosen, colour, size in (
        (near & ~in_box, style.RULE, 1.6),
        (in_box & ~in_cluster, style.COLOURS["tokens"], 2.2),
        (in_cluster, style.COLOURS["cluster"], 3.2),
    ):
        few = chosen.sum() <= _MANY // 4
        size = size if few else 0.7 * size
        axes.plot(longitude[chosen], latitude[chosen], color=colour, markersize=size, rasterized=not few, **_DOT)
    _holes(axes, tokens, longitude, largest=13, names=True)
    for places, limits, between in (
        (lon[0] + np.array([0.0, width]), axes.set_xlim, width),
        (np.array(lat, float), axes.set_ylim, lat[1] - lat[0]),
    ):
        margin = 0.06 * between or 1.0
        limits(places[0] - margin, places[1] + margin)
    height = lat[1] - lat[0]
    axes.add_patch(Rectangle((lon[0], lat[0]), width, height, fill=False, edgecolor=style.COLOURS["box"], linewidth=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{(x + 180) % 360 - 180:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    _degrees(axes)
    axes.set_title(f"the box: {in_box.sum():,} tokens", fontweight="bold")
    radii = f"radii {box['r'][0]:g} to {box['r'][1]:g}" if box["r"] else "all radii"
    axes.text(1, 1.01, radii, transform=axes.transAxes, ha="right", va="bottom", fontsize=7)


def _holes(axes: Axes, tokens: pd.DataFrame, longitude: np.ndarray, largest: float, names: bool = False) -> None:
    """One circle per hole, its area proportional to the population; `names`: label the largest with populations."""
    members = tokens.assign(longitude=longitude)[tokens["hole"] >= 0]
    holes = members.groupby("hole").agg(x=("longitude", "first"), y=("latitude", "first"), n=("hole", "size"))
    if holes.empty:
        return
    size = np.maximum(largest**2 * holes["n"] / holes["n"].max(), 2.0)
    colour = style.COLOURS["holes"]
    axes.scatter(holes["x"], holes["y"], size, color=colour, linewidths=0.4, edgecolors="white", zorder=5)
    if not names:
        return
    biggest = holes["n"].nlargest(3)
    words = f"a hole of {biggest.iloc[0]:,}"
    if len(holes) > 1:
        more = f" … ({len(holes)} in all)" if len(holes) > len(biggest) else ""
        words = "holes of " + ", ".join(f"{n:,}" for n in biggest) + more
    place = holes.loc[biggest.index[0]]
    low, high = axes.dataLim.intervalx
    side = (place["x"] - low) / (high - low or 1)  # a text centred near the edge would leave the panel
    axes.annotate(
        words,
        (place["x"], place["y"]),
        (0, 9),
        textcoords="offset points",
        ha="left" if side < 0.25 else "right" if side > 0.75 else "center",
        va="bottom",
        fontsize=7,
        color=colour,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0},
    )


def _degrees(axes: Axes) -> None:
    axes.set_xlabel("longitude (degrees)")
    axes.set_ylabel("latitude (degrees)")
