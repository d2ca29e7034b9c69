"""The film of how tokens leave the holes of one run: step after step, the grid of all tokens and the plane."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from PIL import Image

from blackholes.artifacts.files import atomic
from blackholes.errors import UserError
from blackholes.figures import scales, style
from blackholes.figures.runs.escape_filmstrip import WRITTEN, Escapes, Grid, Plane, count, shown
from blackholes.figures.runs.hole_members import short_name

FRAMES = 60
MILLISECONDS = 160  # that a frame is shown; the last one longer
HOLD = 2400
_DPI = 85


def write(found: Escapes, names: list[str], out: str) -> int:
    """Write the film as GIF, or as MP4 by ffmpeg, as the name ends. Returns the number of frames.

    Args:
        names: of the tokens, which are written into the grid if there are no more than 512.

    Raises:
        UserError: ffmpeg is missing, or fails.
    """
    rows = shown(found, FRAMES)
    if Path(out).suffix == ".mp4":
        if not (program := shutil.which("ffmpeg")):
            raise UserError(f"{out}: needs ffmpeg, which is not on this machine; the GIF beside it needs nothing")
        _write_mp4(program, frames(found, names, rows), out)
        return len(rows)
    pictures = _in_one_palette(frames(found, names, rows))
    durations = [MILLISECONDS] * (len(pictures) - 1) + [HOLD]
    with atomic(out) as temporary:
        first, *others = pictures
        first.save(temporary, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=False)
    return len(rows)


@style.styled
def frames(found: Escapes, names: list[str], rows: list[int]) -> list[Image.Image]:
    """A picture for each of these rows of steps."""
    figure = Figure(figsize=(8.4, 4.6), layout="constrained", dpi=_DPI)
    left, below, right = (figure.add_subplot(place) for place in _places(figure))
    grid, plane, fills = Grid(left, found), Plane(right, found, 40), found.fills()
    if len(names) <= WRITTEN:
        for token, name in enumerate(names):
            at = (token % found.columns, token // found.columns)
            left.text(*at, short_name(name), ha="center", va="center", fontsize=6, parse_math=False)
    right.set_title("first two principal components; discs are holes", fontsize=8)
    holes = np.array([len(np.unique(row[row > 0])) for row in found.identities])
    below.step(found.steps, holes, where="post", color=style.COLOURS["holes"])
    mark = below.axvline(0, color=style.INK, linewidth=1)
    scales.step_axis(below, int(found.steps[rows[-1]]))
    scales.count_axis(below, "holes", float(holes.max()), ticks=3)
    canvas = FigureCanvasAgg(figure)
    says = [f"step {found.steps[row]:,}, {count(found, row)}" for row in rows]
    title = style.set_title(figure, f"{found.title}\n{says[0]}")
    above = title.get_text().removesuffix(says[0])
    pictures = []
    for row, said in zip(rows, says, strict=True):
        title.set_text(above + said)
        grid.show(found, row, fills)
        plane.show(found, row, fills)
        mark.set_xdata([found.steps[row]] * 2)
        canvas.draw()
        figure.set_layout_engine("none")  # from the first frame on nothing moves but what is shown
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return pictures


def _in_one_palette(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """The pictures in 256 colours that are the same for all: with colours chosen for each picture anew, the same dot
    would change its colour from one frame to the next.
    """
    width, height = pictures[0].size
    together = Image.new("RGB", (width, height * len(pictures)))
    for number, picture in enumerate(pictures):
        together.paste(picture, (0, height * number))
    palette = together.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]


def _places(figure: Figure) -> tuple[SubplotSpec, SubplotSpec, SubplotSpec]:
    """Of the grid, the number of holes below it, and the plane beside both."""
    grid = figure.add_gridspec(2, 2, height_ratios=[2.6, 1], width_ratios=[1.15, 1])
    return grid[0, 0], grid[1, 0], grid[:, 1]


def _write_mp4(program: str, pictures: Sequence[Image.Image], out: str) -> None:
    command = [
        program,
        "-loglevel",
        "error",
        "-y",
        "-f",
        "image2pipe",
        "-framerate",
        str(1000 / MILLISECONDS),
        "-i",
        "-",
    ]
    command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-f", "mp4"]
    with atomic(out) as temporary:
        process = subprocess.Popen([*command, str(temporary)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None
        try:
            for picture in pictures:
                picture.save(process.stdin, "PNG")
        except BrokenPipeError:
            pass  # it says why it ended
        _, said = process.communicate()
        if process.returncode:
            raise UserError(f"{out}: ffmpeg failed: {said.decode(errors='replace').strip()}")
