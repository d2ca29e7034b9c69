"""The adjacency graph of a checkpoint's overdensity: its components, the cluster, and the cluster's extent in cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from blackholes.artifacts.tables import read_statistics
from blackholes.figures import scales, style
from blackholes.figures.checkpoints import checkpoint_data

_SHOWN = 8  # components with their own bar
_SPRUNG = 120  # up to this many vectors, the layout is refined so that none hides another
_COMPONENTS = ("component_populations", "component_hole_tokens", "component_diameters")
_CLUSTER = ("cluster_populations", "cluster_distances", "cluster_cells", "cluster_tree", "cluster_extent")


def from_files(inputs, options: Mapping) -> Figure:
    """inputs: statistics (distance_statistics.safetensors), table (overdensity.csv). options: checkpoint."""
    tensors = checkpoint_data.tensors(inputs.statistics, *_COMPONENTS, *_CLUSTER)
    return draw(tensors, read_statistics(inputs.table), options.get("checkpoint"))


@style.styled
def draw(tensors: Mapping[str, np.ndarray], statistics: Mapping[str, float], checkpoint: str | None = None) -> Figure:
    """tensors: as checkpoints.overdensity_distances writes them. statistics: pairs, edges, threshold, isolated."""
    edges, pairs, threshold = (statistics[key] for key in ("edges", "pairs", "threshold"))
    words = f"{edges:,.0f} of {pairs:,.0f} pairs at most {threshold:g} apart"
    figure, grid = style.panels(
        2, 2, (7.2, 6.4), f"{checkpoint}, {words}" if checkpoint else words, gridspec_kw={"height_ratios": [1.75, 1]}
    )
    for axes in grid[1]:
        axes.remove()
    _components(grid[0, 0], tensors, int(statistics["isolated"]))
    _cluster(grid[0, 1], tensors)
    _extent(figure.add_subplot(grid[1, 0].get_gridspec()[1, :]), tensors)
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markeredgewidth": 0}
    entries = [
        (style.patch(style.COLOURS["cluster"]), "the cluster"),
        (style.patch(style.COLOURS["components"]), "other components"),
        (style.patch(style.COLOURS["isolated"]), "isolated tokens"),
        (Line2D([], [], color=style.COLOURS["holes"], markersize=8, **dot), "a hole (area: its population)"),
        (Line2D([], [], color=style.COLOURS["cluster"], markersize=4, **dot), "a vector of one token"),
        (Line2D([], [], color=style.INK, linewidth=0.9), "at most one cell apart"),
        (
            Line2D([], [], color=style.PALE, linewidth=0.7, linestyle=(0, (2, 1.5))),
            "longer links of the spanning tree",
        ),
    ]
    style.legend(figure, entries, 3)
    return figure


def _components(axes: Axes, tensors: Mapping[str, np.ndarray], isolated: int) -> None:
    """One bar per component, the largest first, then one for all further components and one for isolated tokens."""
    populations, holes, hops = (tensors[key] for key in _COMPONENTS)
    cluster = int(np.lexsort((np.arange(len(holes)), -populations, -holes))[0]) if len(holes) else -1
    bars = []
    for place in range(min(len(populations), _SHOWN)):
        least, most = hops[place]
        diameter = f"{least}" if least == most else f"{least} to {most}"
        inside = f", {holes[place]:,} in holes" if holes[place] else ""
        words = f"{populations[place]:,}{inside}; diameter {diameter}"
        bars.append((f"{place + 1}", populations[place], words, "cluster" if place == cluster else "components"))
    if len(populations) > _SHOWN:
        rest = populations[_SHOWN:]
        words = f"{rest.sum():,} in {len(rest):,} of {rest.min():,} to {rest.max():,}"
        bars.append(("more", rest.sum(), words, "components"))
    if isolated or not bars:
        bars.append(("isolated", isolated, f"{isolated:,}", "isolated"))
    longest = max(size for _, size, _, _ in bars)
    for place, (_, size, words, role) in enumerate(bars):
        axes.barh(place, size, 0.42, color=style.COLOURS[role])
        axes.annotate(words, (0, place - 0.21), (1, 1), textcoords="offset points", va="bottom", fontsize=7)
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
    axes.set_ylim(max(len(bars), 6) - 0.5, -0.85)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.set_xlim(0, 1.05 * max(longest, 1))
    axes.set_xlabel("tokens (number)")
    axes.set_ylabel("components, the largest first")
    axes.set_title("components", fontweight="bold")
    axes.text(1, 1.01, "diameter in hops", transform=axes.transAxes, ha="right", va="bottom", fontsize=7)


def _cluster(axes: Axes, tensors: Mapping[str, np.ndarray]) -> None:
    """One disc per distinct vector, placed so that distances in the plane approximate those between the vectors."""
    populations, distances, cells, tree, _ = (tensors[key] for key in _CLUSTER)
    axes.set_title(f"the cluster: {len(populations):,} vector{'s' * (len(populations) != 1)}", fontweight="bold")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    drawn = len(distances)
    if len(populations) > drawn:
        axes.text(1, 1.01, f"{drawn:,} drawn", transform=axes.transAxes, ha="right", va="bottom", fontsize=7)
    if populations.sum() == 1:
        style.note(axes, "no two tokens of the box are adjacent")
        return
    places = layout(distances.astype(float))
    near = np.argwhere(np.triu(cells <= 1, 1))
    links = tree[cells[tree[:, 0], tree[:, 1]] > 1] if len(tree) else tree
    many = drawn > _SPRUNG
    axes.add_collection(
        LineCollection(
            list(places[links]),
            colors=style.PALE,
            linewidths=0.4 if many else 0.7,
            linestyles=[(0, (2, 1.5))],
            zorder=1,
        )
    )
    if 0 < len(near) <= 20_000:  # more would hide everything
        pale = float(np.clip(60 / len(near), 0.1, 0.8))
        axes.add_collection(
            LineCollection(list(places[near]), colors=style.INK, linewidths=0.6, alpha=pale, zorder=1.5)
        )
    populations = populations[:drawn]
    single = populations == 1
    size = np.where(single, 4.0 if many else 12.0, np.maximum(300.0 * populations / populations.max(), 14.0))
    colours = np.where(single, style.COLOURS["cluster"], style.COLOURS["holes"])
    for chosen, order in ((~single, 2), (single, 3)):
        x, y = places[chosen].T
        axes.scatter(x, y, size[chosen], colours[chosen], linewidths=0.5, edgecolors="white", zorder=order)
    for place in np.flatnonzero(~single)[:6]:
        inside = size[place] > 120
        axes.annotate(
            f"{populations[place]:,}",
            places[place],
            (0, 0) if inside else (0, 0.5 * size[place] ** 0.5 + 1),
            textcoords="offset points",
            ha="center",
            va="center" if inside else "bottom",
            fontsize=6.5,
            color="white" if inside else style.COLOURS["holes"],
            zorder=4,
        )
    reach = np.abs(places).max() or 1.0
    axes.set_xlim(-1.2 * reach, 1.2 * reach)
    axes.set_ylim(-1.2 * reach, 1.2 * reach)
    axes.set_aspect("equal")
    if drawn > 1:
        words = f"distances {distances[distances > 0].min():.3g} to {distances.max():.3g}"
        axes.text(0.5, -0.01, words, transform=axes.transAxes, ha="center", va="top", fontsize=7)


def layout(distances: np.ndarray) -> np.ndarray:
    """Points in the plane (k, 2), around 0, whose distances approximate those given (k, k).

    By classical scaling, refined by the algorithm of Kamada and Kawai if there are few points. Deterministic.
    """
    k = len(distances)
    if k == 1:
        return np.zeros((1, 2))
    scaled = distances / distances.max()
    centred = -0.5 * scaled**2
    centred = centred - centred.mean(0) - centred.mean(1)[:, None] + centred.mean()
    values, vectors = np.linalg.eigh(centred)
    places = vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0))
    places *= np.where(places[np.abs(places).argmax(0), np.arange(2)] < 0, -1, 1)
    if 2 < k <= _SPRUNG:
        import networkx

        graph = networkx.empty_graph(k)
        near = {i: dict(enumerate(row)) for i, row in enumerate(scaled.tolist())}
        start = {i: place + 1e-3 * np.array([np.cos(i), np.sin(i)]) for i, place in enumerate(places)}  # all distinct
        refined = networkx.kamada_kawai_layout(graph, dist=near, pos=start)
        places = np.array([refined[i] for i in range(k)])
    return places - (places.min(0) + places.max(0)) / 2


def _extent(axes: Axes, tensors: Mapping[str, np.ndarray]) -> None:
    """The range of the cluster's vectors in each dimension, in cells."""
    extent = tensors["cluster_extent"]
    varies = np.flatnonzero(extent)
    axes.set_title(f"the cluster in cells: {len(varies):,} of {len(extent):,} dimensions vary", fontweight="bold")
    axes.set_xlabel("dimension")
    axes.set_ylabel("extent (cells)")
    axes.set_xlim(-0.02 * len(extent) - 0.5, 1.02 * len(extent) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    top = extent.max(initial=0)
    if not len(varies):
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 1])
        style.note(axes, "one vector: no dimension varies")
        return
    logarithmic = top > 50
    low = 0.7 * extent[varies].min() if logarithmic else 0
    axes.vlines(varies, low, extent[varies], color=style.COLOURS["cluster"], linewidth=1.0)
    size = 3 if len(varies) <= 200 else 1
    axes.plot(varies, extent[varies], color=style.COLOURS["cluster"], marker="o", linestyle="", markersize=size)
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(low, 2 * top)
        axes.yaxis.set_major_formatter(FuncFormatter(scales.number))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("extent (cells,\nlogarithmic)")
    else:
        scales.count_axis(axes, "extent (cells)", top)
        axes.set_ylim(0, 1.12 * top)
