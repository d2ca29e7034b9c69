"""The film of the escape and its strip: which steps they show, and that the pictures are what they should be."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.figures import style
from blackholes.figures.runs import escape_filmstrip, film
from matplotlib.colors import to_rgb
from PIL import Image


def escapes(identities, steps=None):
    identities = np.array(identities, np.int32)
    K, V = identities.shape
    plane = np.random.default_rng(0).normal(size=(K, V, 2)).astype(np.float32)
    dead = np.arange(V) % 3 == 0
    return escape_filmstrip.Escapes(np.arange(K) if steps is None else np.array(steps), identities, plane, dead, "one")


SOME = [[1, 1, 1, 1], [1, 1, 2, 2], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_the_steps_shown_end_soon_after_the_last_change():
    assert escape_filmstrip.shown(escapes(SOME), 9) == [0, 1, 2, 3, 4]
    late = escapes([SOME[0], *[SOME[1]] * 30, *[SOME[2]] * 70], [*range(50), *range(100, 5100, 98)][:101])
    rows = escape_filmstrip.shown(late, 8)
    assert rows[0] == 0
    assert rows[-2:] == [32, 100], "one after the change at row 31, and the last of all"
    assert len(rows) <= 8
    assert np.diff(np.log1p(late.steps[rows[1:-1]])).max() < 1.0, "evenly on a logarithmic axis"
    assert escape_filmstrip.shown(escapes([[0, 0, 0, 0]]), 8) == [0]


def test_the_grid_has_the_colours_of_the_holes():
    found = escapes(SOME)
    figure = escape_filmstrip.draw(found, [0, 1])
    image = figure.axes[1].images[0].get_array()[0]
    fills = found.fills()
    assert fills == {1: style.HOLES[0], 2: style.HOLES[1]}
    assert [tuple(cell) for cell in image[:4]] == [to_rgb(style.HOLES[0])] * 2 + [to_rgb(style.HOLES[1])] * 2
    assert len({tuple(cell) for cell in escape_filmstrip.draw(found, [2]).axes[0].images[0].get_array()[0][2:4]}) == 2


def test_discs_have_the_population_as_area_and_lie_where_the_tokens_do():
    found = escapes([[1, 1, 1, 2, 2, 0]])
    figure = escape_filmstrip.draw(found, [0])
    discs = figure.axes[1].collections[0]
    assert discs.get_sizes()[0] / discs.get_sizes()[1] == pytest.approx(1.5)
    assert np.allclose(discs.get_offsets(), found.plane[0][[0, 3]])


@pytest.mark.parametrize("steps", [2, 8])
def test_discs_are_not_cut_off(steps):
    """A hole of nearly all tokens at one end of the cloud lies within its panel."""
    V = 128
    plane = np.zeros((steps, V, 2), np.float32)
    plane[:, -1] = 1, 1
    identities = np.array([[1] * (V - 1) + [0]] * steps)
    found = escape_filmstrip.Escapes(np.arange(steps), identities, plane, np.zeros(V, bool), "one")
    figure = escape_filmstrip.draw(found, list(range(steps)))
    figure.draw_without_rendering()
    for axes in figure.axes[steps:]:
        (centre,) = axes.transData.transform(axes.collections[0].get_offsets())
        radius = np.sqrt(axes.collections[0].get_sizes()[0]) / 2 * figure.dpi / 72
        box = axes.get_window_extent()
        assert box.x0 <= centre[0] - radius
        assert box.y0 <= centre[1] - radius


@pytest.mark.parametrize("identities", [[[0, 0]], [[1, 1]], [[0] * 600, [*[1] * 300, *[0] * 300]]])
def test_degenerate_runs(tmp_path, identities):
    found = escapes(identities)
    rows = escape_filmstrip.shown(found, 8)
    style.save(escape_filmstrip.draw(found, rows), tmp_path / "a.png", dpi=40)
    assert film.write(found, [f"t{i}" for i in range(len(found.dead))], str(tmp_path / "a.gif")) == len(rows)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == len(rows)


def test_the_film_runs_and_holds_at_the_end(tmp_path):
    assert film.write(escapes(SOME), list("abcd"), str(tmp_path / "a.gif")) == 5
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.info["loop"] == 0, "again and again"
        durations, pixels = [], []
        for frame in range(picture.n_frames):
            picture.seek(frame)
            durations.append(picture.info["duration"])
            pixels.append(np.asarray(picture.convert("RGB")))
    assert durations == [film.MILLISECONDS] * 4 + [film.HOLD]
    assert all((one != other).any() for one, other in pairwise(pixels))


def test_all_frames_have_the_same_colours(tmp_path):
    """A dot keeps its colour from frame to frame, though the frames differ in how many colours they have."""
    V = 400
    rows = [[1 + token // 20 for token in range(V)], [1] * 40 + [0] * (V - 40), [0] * V]
    found = escapes(rows)
    film.write(found, [str(token) for token in range(V)], str(tmp_path / "a.gif"))
    drawn = film.frames(found, [str(token) for token in range(V)], [0, 1, 2])
    with Image.open(tmp_path / "a.gif") as picture:
        for frame, wanted in enumerate(drawn):
            picture.seek(frame)
            difference = np.abs(np.asarray(picture.convert("RGB")).astype(int) - np.asarray(wanted))
            assert difference.max() <= 24, frame


def frame_figure(monkeypatch, found, names=None):
    """The figure of the last frame, and for each frame (title, step of the mark)."""
    kept, seen = [], []

    class Canvas(film.FigureCanvasAgg):
        def draw(self):
            super().draw()
            kept.append(self.figure)
            (mark,) = [line for line in self.figure.axes[1].lines if len(set(line.get_xdata())) == 1]
            seen.append((self.figure.get_suptitle(), mark.get_xdata()[0]))

    monkeypatch.setattr(film, "FigureCanvasAgg", Canvas)
    film.frames(found, names or [""] * len(found.dead), list(range(len(found.steps))))
    return kept[-1], seen


def test_the_axis_of_steps_reaches_the_last_frame(monkeypatch):
    figure, seen = frame_figure(monkeypatch, escapes(SOME, [0, 1, 2, 3, 5000]))
    assert [step for _, step in seen] == [0, 1, 2, 3, 5000]
    low, high = figure.axes[1].get_xlim()
    assert low < 0
    assert high > 5000


def test_the_title_lies_above_the_panels(monkeypatch):
    """In two lines of its own, whatever the names."""
    found = escapes(SOME)
    found.title = "an_experiment_of_a_long_name, run 001: escape from the holes"
    figure, seen = frame_figure(monkeypatch, found, list("abcd"))
    assert [title for title, _ in seen][:2] == [
        f"{found.title}\nstep 0, 1 hole, 4 tokens",
        f"{found.title}\nstep 1, 2 holes, 4 tokens",
    ]
    box = figure._suptitle.get_window_extent()  # matplotlib has no public name for it
    assert box.x1 <= figure.bbox.width
    for axes in figure.axes:
        assert box.y0 >= axes.get_tightbbox().y1
    assert box.y1 <= figure.bbox.height


def test_an_mp4_needs_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setattr(film.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs ffmpeg, which is not on this machine"):
        film.write(escapes(SOME), list("abcd"), str(tmp_path / "a.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_files_of_two_vocabularies_are_refused(tmp_path):
    tensors = {"steps": np.zeros(1, np.int32), "identities": np.zeros((1, 4), np.int32)}
    write_tensors(tmp_path / "explorer.safetensors", {**tensors, "plane": np.zeros((1, 4, 2), np.float32)})
    write_table(tmp_path / "tokens.csv", ["token_id", "character", "count", "status"], [[0, "a", 1, "live"]])
    inputs = SimpleNamespace(explorer=tmp_path / "explorer.safetensors", tokens=tmp_path / "tokens.csv")
    with pytest.raises(UserError, match="identities has 4 tokens; expected 1"):
        escape_filmstrip.from_files(inputs, {"experiment": "one"})
