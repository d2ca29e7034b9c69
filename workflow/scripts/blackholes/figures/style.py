"""The look of all figures: one colour per quantity, rc settings, panels, legends, and saving. No torch."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.typing import ColorType

from blackholes.artifacts.files import atomic

_Drawn = TypeVar("_Drawn")  # what a function draws: a figure, or the pictures of a film

COLOURS = {  # the same quantity has the same colour in all figures
    "holes": "#3565a8",
    "population": "#d9762b",
    "largest": "#85489b",
    "tokens_per_hole": "#a88414",
    "duplicates": "#c2476f",
    "components": "#2e8b67",
    "isolated": "#45a7c4",
    "dead": "#7d3c2a",
    "live": "#5d8f1f",
    "increase": "#d62839",
    "loss": "#3f4450",
    "centroid_norm": "#14747c",
    "centroid_distance": "#b0467f",
    "centroid_displacement": "#9a5a3c",
    "cloud_radius": "#6c6fc0",
    "early": "#f2b134",
    "midlife": "#8ab17d",
    "late": "#4f86a6",
    "frozen": "#2b3a55",
    "run": "#6b7280",
    "reference": "#7f8692",
    "tokens": "#aab4c3",
    "cluster": "#e0a11b",
    "box": "#cf3f2e",
    "distances": "#4d7c8a",
}
CATEGORIES = {  # of a checkpoint's tokens
    "ordinary": "#aab4c4",
    "special": "#7a4fa3",
    "byte": "#d9762d",
    "partial_utf8": "#e6b422",
    "unreachable": "#c8324a",
    "padding": "#3b3f48",
    "unknown": "#c9cdd4",
}
EXPERIMENTS = ("#1d2f5f", "#e2a01e", "#00876c", "#b5446e", "#5aa9e6", "#8d6a4f")  # in the order of the configuration
HOLES = (  # fills behind dark characters; a hole keeps its colour in all snapshots of a figure
    *("#9dc3ea", "#f6b98a", "#b7dca0", "#d9b8e6", "#f3d66d", "#f2a9b8"),
    *("#8fd3c8", "#c9b79c", "#b9b9f2", "#d6e27a", "#a9cfd6", "#e8a3dc"),
)
SMALL_HOLES = "#c4c8cf"
SINGLETONS = "#f6f7f9"  # the ground that holes lie on
FREQUENCIES = (
    "#c2476f",
    "#d9762b",
    "#a88414",
    "#2e8b67",
    "#3565a8",
    "#5b3f8c",
    "#22262e",
)  # of tokens, by power of ten
_DASHES = ("solid", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_LEGEND_ROW = 0.19  # inches
_LETTER = 0.088  # inches: the width of a letter of a title, on the average
INK, PALE, RULE = "#22262e", "#8f96a2", "#d9dce1"

_STYLE: Any = {  # Any: matplotlib types the keys of rcParams one by one
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, on every machine; for other scripts: fonts.py
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8,
    "figure.titlesize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#8b919b",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9ebee",
    "grid.linewidth": 0.6,
    "xtick.color": "#8b919b",
    "ytick.color": "#8b919b",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 3,
    "xtick.minor.size": 1.6,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "lines.solid_joinstyle": "round",
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.05,
    "svg.fonttype": "none",
    "svg.hashsalt": "black-holes",  # without a salt the ids in an SVG are random
}


def styled(draw: Callable[..., _Drawn]) -> Callable[..., _Drawn]:
    """Run a draw function with our rc settings instead of the caller's."""

    @functools.wraps(draw)
    def wrapper(*args, **kwargs) -> _Drawn:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return wrapper


def save(figure: Figure, *paths: str | Path, dpi: int = 200) -> None:
    """Write the figure to each path, in the format of its suffix; the same figure gives the same bytes."""
    for path in map(Path, paths):
        kind = path.suffix.lstrip(".")
        metadata: dict[str, None] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            with atomic(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata)


def panels(rows: int, columns: int, size: tuple[float, float], title: str = "", **options):
    """(figure, axes (rows, columns)); `size` in inches. Without pyplot, so there is no global state."""
    figure = Figure(figsize=size, layout="constrained")
    if title:
        set_title(figure, title)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def qualify(figure: Figure, note: str) -> None:
    """Add to a figure's title, as a line of its own, what limits all that it shows."""
    set_title(figure, "\n".join(part for part in (figure.get_suptitle(), note) if part))


def set_title(figure: Figure, text: str) -> Text:
    """The title of a figure, in as many lines as its width asks for. The layout keeps room for it."""
    most = max(int(figure.get_figwidth() / _LETTER), 20)
    text = "\n".join(textwrap.fill(line, most) for line in text.split("\n"))
    return figure.suptitle(text, x=0.008, ha="left", fontweight="bold", fontsize=10, color=INK)


def experiment_colour(index: int) -> str:
    return EXPERIMENTS[index % len(EXPERIMENTS)]


def experiment_dashes(index: int) -> Any:
    """The line style of an experiment's curves: another one each time that the colours begin again."""
    return _DASHES[index // len(EXPERIMENTS) % len(_DASHES)]


def heading(experiment: str | None, runs: int, shown: str = "") -> str:
    """`qwen, 16 runs: loss at every step`"""
    named = ", ".join([*([experiment] if experiment else []), f"{runs} run{'s' * (runs != 1)}"])
    return titled(named, shown)


def titled(name: str | None, shown: str) -> str:
    """`qwen, run 001: what is shown`; either may be empty."""
    return ": ".join(filter(None, [name, shown]))


def note(axes: Axes, text: str) -> None:
    """Text in the middle of an empty panel: why nothing is drawn."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=COLOURS["run"])


def legend(figure: Figure, entries: Sequence[tuple[Any, str]], columns: int | None = None) -> None:
    """A legend of (handle, name) below the panels, in at most `columns` columns and as many as the figure is wide for.

    Rows beyond the second make the figure higher, so that the panels keep their size.
    """
    canvas = FigureCanvasAgg(figure)
    for number in range(columns or len(entries), 0, -1):
        drawn = figure.legend(
            [handle for handle, _ in entries],
            [name for _, name in entries],
            loc="outside lower center",
            ncols=number,
            handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
            columnspacing=1.8,
        )
        if number == 1 or drawn.get_window_extent(canvas.get_renderer()).width <= figure.bbox.width:
            break
        drawn.remove()
    rows = -(-len(entries) // number)
    figure.set_figheight(figure.get_figheight() + max(0, rows - 2) * _LEGEND_ROW)


def patch(colour: ColorType, alpha: float = 1) -> Patch:
    return Patch(facecolor=colour, alpha=alpha, linewidth=0)


def nothing() -> Line2D:
    """The handle of a legend entry without a symbol."""
    return Line2D([], [], linestyle="")
