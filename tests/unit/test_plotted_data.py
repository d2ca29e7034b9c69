"""Every figure shows the data that it was given: numbers read back from the axes, in their place, with their sign.

The inputs are small enough that curves are neither thinned nor smoothed (up to step 10); what is expected is by hand.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from blackholes.figures import style
from blackholes.figures.checkpoints import distance_distribution, overdensity_graph, sky_map, token_ranking
from blackholes.figures.lattice import (
    lattice_crossings,
    lattice_motion,
    lattice_percentiles,
    lattice_phases,
    lattice_raster,
)
from blackholes.figures.reproduction import reproduction
from blackholes.figures.runs import (
    black_hole_counts,
    black_hole_means,
    centroid,
    cluster_dynamics,
    comparison,
    component_sizes,
    distinct_vectors,
    escape_filmstrip,
    escapes,
    experiments,
    forces_moves,
    forces_parts,
    forces_probability,
    forces_swarm,
    hole_members,
    lineage,
    lineage_data,
    loss_curves,
    questions,
    tokens_per_hole,
)
from blackholes.figures.snowballs import (
    snowball_elements,
    snowball_permutation,
    snowball_singletons,
    snowball_sweep,
    z_scores,
)
from blackholes.runs import force_series
from blackholes.runs import lineage as runs_lineage
from matplotlib.colors import same_color, to_rgb, to_rgba
from matplotlib.patches import Rectangle, StepPatch
from safetensors.numpy import save_file

C = style.COLOURS
FIGURES = Path(style.__file__).parent
READERS = {
    "checkpoint_data",
    "film",
    "forces_data",
    "lattice_data",
    "lineage_data",
    "sigma_axis",
    "snowball_data",
}  # no figures


def test_no_figure_is_left_out():
    figures = {path.stem for path in FIGURES.glob("*/[!_]*.py")} - READERS
    assert {f"test_{name}" for name in figures} <= {name for name in globals() if name.startswith("test_")}


# Reading a figure


def titles(axes):
    return [axes.get_title(loc=side) for side in ("left", "center", "right")]


def panel(figure, words):
    """The one panel with these words in its titles or at its axes."""
    said = [" ".join([*titles(a), a.get_ylabel(), a.get_xlabel()]).replace("\n", " ") for a in figure.axes]
    (found,) = [axes for axes, text in zip(figure.axes, said, strict=True) if words in text]
    return found


def lines(axes, colour, marker=None):
    """Curves of this colour; those with this marker if there is one. Levels across the panel are no curves."""
    found = [line for line in axes.lines if same_color(line.get_color(), colour) and len(line.get_xdata()) != 2]
    return [line for line in found if marker in (None, line.get_marker())]


def levels(axes, colour):
    """Heights of the horizontal lines of this colour."""
    across = [line for line in axes.lines if list(line.get_xdata()) == [0, 1] and same_color(line.get_color(), colour)]
    return [line.get_ydata()[0] for line in across]


def marks(axes, colour):
    """Places of the vertical lines of this colour."""
    across = [line for line in axes.lines if list(line.get_ydata()) == [0, 1] and same_color(line.get_color(), colour)]
    return [line.get_xdata()[0] for line in across]


def at(line, steps):
    """The height of a drawn curve at these steps."""
    x, y = line.get_data()
    if line.get_drawstyle() == "steps-post":
        return y[np.searchsorted(x, steps, side="right") - 1]
    assert line.get_drawstyle() == "default"
    return np.interp(steps, x, y)


def shown(axes, colour, steps):
    """The values of the one curve of this colour."""
    (line,) = lines(axes, colour)
    return at(line, steps)


def filled(axes, colour, x, y):
    """Whether an area of this colour covers (x, y)."""
    areas = [area for area in axes.collections if same_color(area.get_facecolor()[0][:3], to_rgb(colour))]
    return any(path.contains_point((x, y)) for area in areas for path in area.get_paths())


def reaches(axes, colour, x, low, high):
    """Whether an area of this colour goes from low to high at x, and no further."""
    small = 1e-3 * (high - low)
    inside, outside = (low + small, high - small), (low - small, high + small)
    return all(filled(axes, colour, x, y) for y in inside) and not any(filled(axes, colour, x, y) for y in outside)


def bars(axes, colour=None):
    """(left, bottom, width, height) of the rectangles of this colour."""
    found = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    found = [bar for bar in found if colour is None or same_color(bar.get_facecolor(), colour)]
    return [(*bar.get_xy(), bar.get_width(), bar.get_height()) for bar in found]


def stairs(axes, colour):
    """(values, edges) of the one histogram of this colour."""
    steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    (found,) = [patch for patch in steps if same_color(patch.get_facecolor()[:3], to_rgb(colour))]
    return found.get_data()[:2]


def texts(axes):
    """(x, y) → text, of all texts in data coordinates."""
    return {text.get_position(): text.get_text() for text in axes.texts}


def drawn(module, inputs, **options):
    return module.from_files(SimpleNamespace(**inputs), options)


# Writing what they read


def write_runs(folder, kind, **series):
    """A file a run, `run_001/kind.safetensors`, … : key → (R, …), or a table where the kind is a log."""
    files = []
    for run in range(len(next(iter(series.values())))):
        where = folder / f"run_{run + 1:03}"
        where.mkdir(exist_ok=True, parents=True)
        mine = {key: np.asarray(values[run]) for key, values in series.items()}
        files.append(str(where / f"{kind}.{'csv' if kind == 'log' else 'safetensors'}"))
        if kind == "log":
            pd.DataFrame(mine).to_csv(files[-1], index=False)
        else:
            save_file(mine, files[-1])
    return files


def write_table(path, columns, *rows):
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return str(path)


def write_tokens(path, counts):
    rows = [(token, chr(97 + token), n, "live" if n else "dead") for token, n in enumerate(counts)]
    return write_table(path, ["token_id", "character", "count", "status"], *rows)


# Of runs

STEPS = np.arange(6)
COUNTS = np.array([[3, 5, 5, 2, 4, 1], [1, 1, 0, 0, 0, 2]])
POPULATIONS = np.array([[9, 20, 18, 7, 12, 6], [8, 4, 0, 0, 0, 5]])
LARGEST = np.array([[5, 9, 8, 4, 6, 6], [8, 4, 0, 0, 0, 3]])


def mean_of_two(values):
    return (values[0] + values[1]) / 2


def half_apart(values):
    """The sample standard deviation of two."""
    return np.abs(values[0] - values[1]) / np.sqrt(2)


def test_black_hole_counts(tmp_path):
    figure = drawn(black_hole_counts, {"counts": write_runs(tmp_path, "counts", counts=COUNTS)})
    rises = {"run 001": [[1, 4], [5, 4]], "run 002": [[5], [2]]}  # steps with more than a step before, and how many
    for (name, expected), counts in zip(rises.items(), COUNTS, strict=True):
        axes = panel(figure, name)
        assert np.array_equal(shown(axes, C["holes"], STEPS), counts)
        (triangles,) = [line for line in axes.lines if line.get_marker() == "^"]
        assert np.array_equal(triangles.get_data(), expected)
        assert same_color(triangles.get_color(), C["increase"])
    assert "2 increases" in titles(panel(figure, "run 001"))
    assert "1 increase" in titles(panel(figure, "run 002"))


def test_black_hole_means(tmp_path):
    files = write_runs(tmp_path, "counts", counts=COUNTS, populations=POPULATIONS, largest_bh_size=LARGEST)
    tokens = write_tokens(tmp_path / "tokens.csv", [0, 7, 0, 0, 2])
    figure = drawn(black_hole_means, {"counts": files, "tokens": tokens})
    panels = {
        "black holes (number)": ("holes", COUNTS),
        "population of all holes": ("population", POPULATIONS),
        "largest hole": ("largest", LARGEST),
    }
    for words, (role, values) in panels.items():
        axes = panel(figure, words)
        mean, deviation = mean_of_two(values), half_apart(values)
        assert np.array_equal(shown(axes, C[role], STEPS), mean)
        assert np.array_equal([at(line, STEPS) for line in lines(axes, C["run"])], values)
        for step in STEPS[:-1]:
            assert reaches(axes, C[role], step + 0.5, mean[step] - deviation[step], mean[step] + deviation[step])
        assert levels(axes, C["dead"]) == ([] if role == "holes" else [3])


def test_tokens_per_hole(tmp_path):
    files = write_runs(tmp_path, "counts", counts=COUNTS, populations=POPULATIONS)
    figure = drawn(tokens_per_hole, {"counts": files})
    above, below = panel(figure, "mean population of a hole"), panel(figure, "runs with holes")
    alone = [18 / 5, 7 / 2, 12 / 4]  # at steps 2, 3, 4 the second run has no hole
    expected = [(9 / 3 + 8) / 2, (20 / 5 + 4) / 2, *alone, (6 / 1 + 5 / 2) / 2]
    assert np.allclose(shown(above, C["tokens_per_hole"], STEPS), expected, rtol=1e-12)
    assert np.array_equal(shown(below, C["run"], STEPS), [2, 2, 1, 1, 1, 2])


def test_cluster_dynamics(tmp_path):
    unique = np.array([[4, 5, 6, 7, 7, 8], [2, 2, 3, 4, 6, 6]])
    keys = ("n_components", "largest_component_size", "n_isolated")
    rng = np.random.default_rng(0)
    values = {f"{name}.{key}": rng.integers(0, 9, (2, 6)) for name in ("touching", "identical") for key in keys}
    labels = np.zeros((2, 6, 10), np.int32)  # a vocabulary of 10
    counts = write_runs(tmp_path, "counts", n_unique=unique, labels=labels)
    figure = drawn(cluster_dynamics, {"counts": counts, "graphs": write_runs(tmp_path, "graphs", **values)})
    grid = np.array(figure.axes).reshape(4, 2)
    assert np.array_equal(shown(grid[0, 0], C["duplicates"], STEPS), 10 - mean_of_two(unique))
    assert [axes.get_ylabel().replace("\n", " ") for axes in grid[:, 0]] == [
        "duplicates (tokens − distinct vectors)",
        "components (number)",
        "largest component (tokens)",
        "isolated tokens (number)",
    ]
    for column, name in zip(grid.T, ("touching", "identical"), strict=True):
        assert f"adjacency: {name}" in titles(column[1])
        for axes, role, key in zip(column[1:], ("components", "largest", "isolated"), keys, strict=True):
            assert np.array_equal(shown(axes, C[role], STEPS), mean_of_two(values[f"{name}.{key}"]))


def test_component_sizes(tmp_path):
    first = [[0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 0, 0, 5, 6, 7]]  # all alone; five together, three alone
    second = [[0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 2, 2, 4, 4, 4, 4]]  # then two, two and four
    labels = np.array([first, second])
    files = write_runs(
        tmp_path, "graphs", **{"touching.labels": labels, "identical.labels": labels[:, :1].repeat(2, 1)}
    )
    figure = drawn(component_sizes, {"graphs": files}, key_steps=[0, 1])
    (early, _), (late, equal) = np.array(figure.axes).reshape(2, 2)
    tokens, components = [1.5, 2, 2, 2.5], ["1.5", "1", "0.5", "0.5"]  # means of (3, 0), (0, 4), (0, 4), (5, 0)
    assert [text.get_text() for text in late.get_xticklabels()] == ["1", "2", "3–4", "5–8"]
    assert np.allclose([(x + width / 2, height) for x, _, width, height in bars(late)], [*enumerate(tokens)])
    assert [same_color(bar.get_facecolor(), C["isolated"]) for bar in late.patches] == [True, False, False, False]
    ends = {k: (tokens[k] - far / np.sqrt(2), tokens[k] + far / np.sqrt(2)) for k, far in enumerate([3, 4, 4, 5])}
    assert np.allclose([s[:, 1] for s in late.collections[0].get_segments()], list(ends.values()))
    above = [(text.xy[0], text.xy[1], text.get_text()) for text in late.texts]
    assert above == [(k, pytest.approx(ends[k][1]), word) for k, word in enumerate(components)]
    for axes in (early, equal):
        assert [height for *_, height in bars(axes)] == [8, 0, 0, 0]
    assert [titles(axes)[0] for axes in (early, late)] == ["step 0", "step 1"]
    assert [titles(axes)[2] for axes in figure.axes[:2]] == ["adjacency: touching", "adjacency: identical"]


def test_hole_members(tmp_path):
    files = write_runs(tmp_path, "counts", labels=[[[0, 1, 2, 0, 1, 5, 6, 0], [0, 1, 2, 3, 4, 5, 6, 7]]])
    tokens = write_tokens(tmp_path / "tokens.csv", [5, 5, 0, 5, 5, 5, 0, 0])
    figure = drawn(hole_members, {"counts": files, "tokens": tokens}, key_steps=[0, 1])
    big, small = style.HOLES[:2]
    fills = {0: big, 3: big, 7: big, 1: small, 4: small}  # a hole of three and one of two
    for axes, fill in zip(figure.axes, (fills, {}), strict=True):
        living, dead = axes.collections[:2]
        for boxes, ids in ((living, [t for t in (0, 1, 3, 4, 5) if t in fill]), (dead, [2, 6, 7])):
            middles = [path.get_extents() for path in boxes.get_paths()]
            assert [(m.x0 + m.x1) / 2 for m in middles] == pytest.approx(ids)  # the first row: the column is the token
            assert [(m.y0 + m.y1) / 2 for m in middles] == pytest.approx([0] * len(ids))
            for token, face in zip(ids, boxes.get_facecolors(), strict=True):
                assert same_color(face, fill[token]) if token in fill else face[3] == 0
        assert all(same_color(edge, C["dead"]) for edge in dead.get_edgecolors())
        assert not len(living.get_edgecolors())
        names = {
            place: (text.get_text(), text.get_color()) for place, text in zip(texts(axes), axes.texts, strict=True)
        }
        for token in range(8):
            assert names[token, 0] == ("abcdefgh"[token], style.INK if token in fill else style.PALE)
    said = [[text.get_text() for text in axes.texts[8:]] for axes in figure.axes]
    assert said == [["2 holes, 3 singletons", "2", "3"], ["0 holes, 8 singletons"]]


def test_hole_members_of_a_large_vocabulary():
    """600 tokens, every sixth dead: a row of 30 squares, the 100 dead in four rows, a gap, the 500 live in 17."""
    labels = np.arange(600)
    labels[[6, 12, 595]] = 6  # two dead, one live
    dead = np.arange(600) % 6 == 0
    axes = hole_members.draw([3], labels[None], ["a"] * 600, dead).axes[0]
    image = np.ones((22, 30, 3))
    pale = {kind: 0.3 * np.array(to_rgb(C[kind])) + 0.7 for kind in ("dead", "live")}
    for place, token in enumerate(np.flatnonzero(dead)):
        image[place // 30, place % 30] = to_rgb(style.HOLES[0]) if token in (6, 12) else pale["dead"]
    for place, token in enumerate(np.flatnonzero(~dead)):
        image[5 + place // 30, place % 30] = to_rgb(style.HOLES[0]) if token == 595 else pale["live"]
    assert np.allclose(axes.images[0].get_array(), image)
    assert axes.images[0].origin == "upper"


def write_lineage(folder, *steps):
    """The lineage of labels that are written as letters, by the function that is tested elsewhere."""
    labels = np.array([[step.index(letter) for letter in step] for step in steps], np.int32)
    files = {name: str(folder / name) for name in ("counts", "graph", "events")}
    save_file({"labels": labels}, files["counts"])
    runs_lineage.write(files["counts"], runs_lineage.Outputs(str(folder / "holes"), files["graph"], files["events"]))
    return files


def test_lineage(tmp_path):
    """Hole 1 loses hole 2, which loses a token and comes back; at step 3 two tokens leave for one step."""
    files = write_lineage(tmp_path, "aaaaaaaa", "aaaaabbb", "aaaaabbx", "aaaccbbx", "aaaaabbx", "aaaaaaax", "aaaaaaax")
    figure = drawn(lineage, files, experiment="qwen", run="run_001")
    (axes,) = figure.axes
    ribbons, bands = axes.collections
    first, second = (to_rgba(fill) for fill in style.HOLES[:2])
    spans = {}  # step → fill → lower and upper edge
    for path, fill in zip(bands.get_paths(), bands.get_facecolors(), strict=True):
        box = path.get_extents()
        spans.setdefault(round(float(box.x0), 6), {})[tuple(fill)] = (box.y0, box.y1)
    both = {first: (0, 5), second: (5, 7)}
    assert spans == {0: {first: (0, 8)}, 1: both | {second: (5, 8)}, 2: both, 3: both, 4: both, 5: {first: (0, 7)}}
    flows = set()
    for path, fill in zip(ribbons.get_paths(), ribbons.get_facecolors(), strict=True):
        x, y = path.vertices[:-1].T
        (start, *_, end), half = x[:24], len(y) // 2
        assert end == pytest.approx(round(end))  # a ribbon ends at a step, and begins after the one before
        assert end - 1 < start < end
        flows.add((round(end), to_rgba(fill, 1), round(fill[3], 2), *y[[0, -1, half - 1, half]].round(6)))
    stay = {(step, first, 1.0, 0, 5, 0, 5) for step in (1, 2, 3, 4, 5)} | {
        (step, second, 1.0, 5, 7, 5, 7) for step in (2, 3, 4)
    }
    moves = {(1, first, 0.8, 5, 8, 5, 8), (5, second, 0.8, 5, 7, 5, 7), (2, second, 0.35, 7, 8, 7, 8)}
    assert flows == stay | moves
    assert titles(axes)[2] == "last change at step 5 of 6; 1 hole of flicker folded"
    assert {text.get_text() for text in axes.texts} >= {"1", "7"}
    assert figure.get_suptitle() == "qwen, run 001: what became of each hole"
    assert axes.get_ylim() == (0, 8)


def test_lineage_folds_what_comes_back(tmp_path):
    """A pair of singletons that is a hole for one step, and a pair that leaves its hole for one."""
    files = write_lineage(tmp_path, "aaxyaaaa", "aabbaaaa", "aaxyaaaa", "aaxyacca", "aaxyaaaa")
    flows = lineage_data.read(Path(files["graph"]), Path(files["events"]), 4)
    assert {hole: sizes.tolist() for hole, sizes in flows.populations.items()} == {1: [6, 6, 6, 6, 6]}
    assert flows.folded == 2
    assert not any(flows.passed)


def test_lineage_of_very_many():
    """Of 130 pairs that end one after the other 100 are drawn, and of 2,000 changes one in a column."""
    populations = {hole: np.where(np.arange(2001) < 15 * hole, 2, 0) for hole in range(1, 131)}
    flows = lineage_data.Flows(np.arange(2001), populations, [{} for _ in range(2001)], 0)
    (axes,) = lineage.draw(flows, 300, 2000).axes
    ribbons, bands = axes.collections
    assert titles(axes)[2] == "last change at step 2,000 of 2,000; 30 smaller holes not drawn"
    assert max(path.get_extents().y1 for path in bands.get_paths()) == 200
    assert len({path.get_extents().x0 for path in bands.get_paths()}) <= 301
    assert len(ribbons.get_paths()) <= 301 * 100


def test_escapes(tmp_path):
    columns = ["token_id", "text", "count", "escape_step", "censored", "first_input", "first_target"]
    runs_ = [
        [(0, "a", 5, 40, 0, 30, 31), (1, "b", 50, 9, 0, "", 7), (2, "c", 700, 0, 0, 1, 1)],
        [(0, "a", 5, 90, 1, 60, 50), (1, "b", 50, 4, 0, 4, 8), (2, "c", 700, 2, 0, 1, 1)],
    ]
    files = []
    for run, rows in enumerate(runs_, 1):
        (tmp_path / f"run_{run:03}").mkdir()
        files.append(write_table(tmp_path / f"run_{run:03}" / "escapes.csv", columns, *rows))
    curves = write_table(
        tmp_path / "curves",
        ["count_from", "count_to", "step", "share", "low", "high", "at_risk", "tokens"],
        *((1, 9, 40, 0.5, 0.1, 0.9, 2, 2), (10, 99, 4, 0.5, 0.2, 0.8, 2, 2), (10, 99, 9, 0, None, None, 1, 2)),
        (100, 999, 2, 0, None, None, 1, 1),
    )
    name = "log_hazard_per_tenfold_count"
    statistics = write_table(
        tmp_path / "statistics",
        ["statistic", "value", "low", "high"],
        *((name, np.log(5), np.log(4), np.log(6)), (f"{name}_once_seen", None, None, None)),
    )
    figure = drawn(escapes, {"escapes": files, "curves": curves, "statistics": statistics}, experiment="qwen")
    frequency, occurrence, survival = figure.axes
    rare, middle, frequent = style.FREQUENCIES[:3]
    for axes, place in ((frequency, {"a": 5, "b": 50, "c": 700}), (occurrence, None)):
        left, still = axes.collections
        seen = {(40, rare): 30, (9, middle): 7, (4, middle): 4, (2, frequent): 1, (90, rare): 50}
        for dots, steps, colours in (
            (left, (40, 9, 4, 2), left.get_facecolors()),
            (still, (90,), still.get_edgecolors()),
        ):
            assert sorted(dots.get_offsets()[:, 1]) == sorted(steps)
            for (x, y), colour in zip(dots.get_offsets(), colours, strict=True):
                fill = next(f for f in (rare, middle, frequent) if same_color(colour[:3], f))
                assert (y, fill) in seen
                wanted = seen[y, fill] if place is None else place["abc"[(rare, middle, frequent).index(fill)]]
                assert wanted - 0.45 * (place is None) <= x <= wanted
        assert axes.get_yscale() == axes.get_xscale() == "log"
    assert "× 5 (95 %: 4 to 6)" in titles(frequency)[0]
    assert titles(occurrence)[0] == ""
    assert not frequency.texts  # with tokens that never left, the last are many
    assert levels_of(occurrence.lines[0])
    for colour, steps in (
        (rare, {0: 1, 39: 1, 40: 0.5, 90: 0.5}),
        (middle, {3: 1, 4: 0.5, 9: 0, 90: 0}),
        (frequent, {2: 0}),
    ):
        (line,) = lines(survival, colour)
        assert at(line, list(steps)).tolist() == list(steps.values())
    assert figure.get_suptitle() == "qwen, 2 runs: when live tokens leave the dead ones"

    write_table(tmp_path / "run_002" / "escapes.csv", columns, *((*row[:4], 0, *row[5:]) for row in runs_[1]))
    figure = drawn(escapes, {"escapes": files, "curves": curves, "statistics": statistics}, experiment="qwen")
    assert [text.get_text() for text in figure.axes[0].texts] == ["c", "b", "a"]

    beside = [(0, "4", 5, 90, 0, 60, 50), (1, "b", 50, 4, 0, 4, 8), (2, "X", 5, 90, 0, 1, 1)]
    write_table(tmp_path / "run_002" / "escapes.csv", columns, *beside)
    write_table(tmp_path / "run_001" / "escapes.csv", columns, *((*row[:3], row[3] - 1, *row[4:]) for row in beside))
    figure = drawn(escapes, {"escapes": files, "curves": curves, "statistics": statistics}, experiment="qwen")
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["4, X", "b"]


def levels_of(line):
    """Whether a line is where both coordinates are equal."""
    return np.array_equal(*line.get_data())


def test_centroid(tmp_path):
    rng = np.random.default_rng(0)
    keys = ("centroid_norm", "centroid_distance", "centroid_displacement", "cloud_radius")
    values = {key: rng.uniform(k + 1, k + 2, (2, 6)).astype(np.float32) for k, key in enumerate(keys)}
    values["centroid_displacement"][:, 0] = 0
    values["centroid_displacement"][1, 3] = 0
    figure = drawn(centroid, {"geometry": write_runs(tmp_path, "geometry", **values)})
    words = ("norm of the centroid", "distance from step 0", "centroid's displacement", "radius of the cloud")
    for key, said in zip(keys, words, strict=True):
        axes, steps = panel(figure, said), STEPS
        if key == "centroid_displacement":
            steps = STEPS[1:]
            assert lines(axes, C[key])[0].get_xdata()[0] == 1
            assert axes.get_yscale() == "log"
            assert "1 of 10 updates moved it by exactly 0" in titles(axes)
        given = values[key][:, steps].astype(float)
        assert np.allclose(shown(axes, C[key], steps), mean_of_two(given), rtol=1e-12)
        assert np.allclose([at(line, steps) for line in lines(axes, C["run"])], given, rtol=1e-12)
    given = values["centroid_displacement"]
    for step in STEPS[1:]:
        assert reaches(panel(figure, words[2]), style.RULE, step - 1e-9 * (step == 5), *np.sort(given[:, step]))


def test_loss_curves(tmp_path):
    steps, losses = np.arange(1, 6), np.array([[3.0, 2.5, 2.75, 2.0, 1.5], [4.0, 2.0, 1.0, 1.25, 0.5]])
    logs = write_runs(tmp_path, "log", step=[steps, steps], loss=losses)
    tokens = write_tokens(tmp_path / "tokens.csv", [1, 0, 2, 1])
    figure = drawn(loss_curves, {"logs": logs, "tokens": tokens})
    (axes,) = figure.axes
    assert np.allclose(shown(axes, C["loss"], steps), [3.5, 2.25, 1.875, 1.625, 1.0], rtol=1e-12)
    assert np.allclose([at(line, steps) for line in lines(axes, C["run"])], losses, rtol=1e-12)
    assert all(reaches(axes, style.RULE, step + 1e-9, *np.sort(losses[:, step - 1])) for step in steps[:-1])
    equally, entropy = np.log(4), 1.5 * np.log(2)  # of 1/2, 1/4, 1/4: 1.5 bits
    assert levels(axes, C["reference"]) == pytest.approx([equally, entropy], rel=1e-12)
    names = dict(
        zip([text.get_text() for text in figure.legends[0].texts], figure.legends[0].legend_handles, strict=True)
    )
    assert names["token frequencies alone (entropy of the corpus)"].get_linestyle() == ":"
    assert [line.get_linestyle() for line in axes.lines[-2:]] == ["--", ":"]
    alone = loss_curves.draw(steps, losses[:1], log_steps=False).axes[0]
    assert np.allclose(shown(alone, C["loss"], steps), losses[0], rtol=1e-12)
    assert (alone.get_xscale(), levels(alone, C["reference"])) == ("linear", [])


def test_experiments(tmp_path):
    steps = {"one": 6, "two": 4}  # snapshots
    keys = ["populations", "counts", "largest_bh_size", "touching.largest_component_size", "touching.n_components"]
    rng = np.random.default_rng(0)
    inputs, given = {"logs": [], "counts": [], "graphs": []}, {}
    for name, length in steps.items():
        series = {key: rng.integers(0, 50, (2, length)) for key in keys}
        losses = rng.uniform(1, 5, (2, length - 1))
        given[name] = series | {"loss": losses}
        folder, graphs = tmp_path / name, {key: series[key] for key in keys if "." in key}
        inputs["logs"] += write_runs(folder, "log", step=[np.arange(1, length)] * 2, loss=losses)
        inputs["counts"] += write_runs(folder, "counts", **{key: series[key] for key in keys[:3]})
        inputs["graphs"] += write_runs(folder, "graphs", **graphs)
    inputs["tokens"] = write_tokens(tmp_path / "tokens.csv", [0, 3, 0])
    figure = drawn(experiments, inputs, experiments=["one", "one", "two", "two"])
    panels = {
        "loss": "cross-entropy",
        "counts": "black holes (number)",
        "populations": "population of all holes",
        "largest_bh_size": "population of the largest hole",
        "touching.n_components": "touching components (number)",
        "touching.largest_component_size": "largest touching component",
    }
    for key, words in panels.items():
        axes = panel(figure, words)
        assert levels(axes, C["dead"]) == ([2] if key in ("populations", "largest_bh_size") else [])
        for index, name in enumerate(steps):
            values, colour = given[name][key], style.EXPERIMENTS[index]
            mean, far = mean_of_two(values), half_apart(values)
            first = int(key == "loss")
            x = np.arange(len(mean)) + first
            assert np.allclose(shown(axes, colour, x), mean, rtol=1e-12)
            assert lines(axes, colour)[0].get_xdata()[[0, -1]].tolist() == x[[0, -1]].tolist()
            place = np.float64(1 + 1e-9 if first else 0.5)
            assert far[0] == 0 or reaches(axes, colour, place, mean[0] - far[0], mean[0] + far[0])
    names = [text.get_text() for text in figure.legends[0].texts]
    assert names == [f"{name}: mean of 2 runs ± one standard deviation" for name in steps]


def test_distinct_vectors(tmp_path):
    """Two runs of one experiment, and a longer one of another."""
    rng = np.random.default_rng(0)
    given = {
        name: {key: rng.integers(0, 50, (runs, steps)) for key in ("n_unique", "counts")}
        for name, runs, steps in (("by targets", 2, 4), ("by tokens", 1, 6))
    }
    files = [path for name, series in given.items() for path in write_runs(tmp_path / name, "counts", **series)]
    figure = drawn(distinct_vectors, {"counts": files}, experiments=["by targets", "by targets", "by tokens"])
    for key, words in {"n_unique": "distinct vectors (number)", "counts": "black holes (number)"}.items():
        axes = panel(figure, words)
        for index, series in enumerate(given.values()):
            mean = series[key].mean(0)
            assert np.allclose(shown(axes, style.EXPERIMENTS[index], np.arange(len(mean))), mean, rtol=1e-12)
        low, high = np.sort(given["by targets"][key][:, 0])
        mean, far = (low + high) / 2, (high - low) / np.sqrt(2)
        assert far == 0 or reaches(axes, style.EXPERIMENTS[0], 0.5, mean - far, mean + far)
    names = [text.get_text() for text in figure.legends[0].texts]
    assert names == ["by targets: mean of 2 runs ± one standard deviation", "by tokens: 1 run"]


# Of a history's motion

DEAD = C["dead"]


def write_raster(folder, moves, token=3):
    path = str(folder / "raster.safetensors")
    save_file({"delta_ordinal": np.asarray(moves, np.int32)}, path, {"raster_token": str(token)})
    return path


LIFE = ["token_id", "status", "first_motion", "early", "midlife", "late"]
LIVES = [  # four dead tokens and a live one, over five steps
    (0, "dead", 1, 1, 2, 4),
    (1, "dead", 3, 0, 3, 3),
    (2, "dead", 0, 0, 0, 0),
    (3, "dead", 2, 2, 4, 5),
    (4, "live", 2, 2, 2, 2),
]


def write_lives(folder):
    return {
        "lifecycle": write_table(folder / "lifecycle.csv", LIFE, *LIVES),
        "raster": write_raster(folder, np.ones((5, 2))),
    }


def write_displacements(folder):
    """Steps 1 to 3; tokens have two dimensions."""
    columns = ["step", "tokens", "number", "percentile_50", "percentile_99", "exponent_crossings"]
    dead, live = [(2, 9, 4), (0, 1, 0), (3, 5, 1)], [(7, 8, 10), (6, 6, 6), (1, 2, 0)]
    rows = [
        (t, name, n, *values[t - 1]) for t in (1, 2, 3) for name, n, values in (("live", 5, live), ("dead", 4, dead))
    ]
    table = write_table(folder / "displacement_per_step.csv", columns, *rows)
    return {"steps": table, "raster": write_raster(folder, np.ones((3, 2)))}


def test_lattice_motion(tmp_path):
    figure = drawn(lattice_motion, write_lives(tmp_path))
    moved = {"dead": [0, 25, 50, 75, 75, 75], "live": [0, 0, 100, 100, 100, 100]}
    rested = {"dead": [0, 0, 0, 25, 50, 75], "live": [0, 0, 100, 100, 100, 100]}
    assert [titles(axes)[0] for axes in figure.axes] == [
        "first motion: tokens that have moved at least once",
        "last motion: tokens that will not move again",
    ]
    for axes, expected in zip(figure.axes, (moved, rested), strict=True):
        for group, shares in expected.items():
            assert np.array_equal(shown(axes, C[group], STEPS), shares)
    said = [text.get_text() for text in figure.legends[0].texts]
    assert said[0] == "4 dead tokens:\n1 never move, 1 still move in the last step"


def test_lattice_phases(tmp_path):
    figure = drawn(lattice_phases, write_lives(tmp_path))
    expected = [  # of the dead after each step: frozen, late, midlife, early, from below
        ("frozen", "midlife", "early", "early"),  # token 2, token 1, tokens 0 and 3
        ("frozen", "midlife", "midlife", "early"),
        ("frozen", "late", "midlife", "midlife"),
        ("frozen", "frozen", "late", "midlife"),
        ("frozen", "frozen", "frozen", "late"),
    ]
    for axes in figure.axes[::2]:  # of the dead, on a logarithmic axis, on a linear one
        for step, phases in enumerate(expected):
            for quarter, phase in enumerate(phases):
                place = step + 0.5, 25 * quarter + 12
                assert [name for name in ("early", "midlife", "late", "frozen") if filled(axes, C[name], *place)] == [
                    phase
                ]
    assert "4 dead tokens" in titles(figure.axes[0])
    assert filled(figure.axes[1], C["early"], 1.5, 50)
    assert filled(figure.axes[1], C["frozen"], 2.5, 50)


def test_lattice_percentiles(tmp_path):
    figure = drawn(lattice_percentiles, write_displacements(tmp_path))
    (legend,) = figure.legends
    shade = {text.get_text(): h.get_color() for text, h in zip(legend.texts, legend.legend_handles, strict=True)}
    assert [titles(axes)[0] for axes in figure.axes] == [
        "percentiles over 4 dead tokens",
        "percentiles over 5 live tokens",
    ]
    given = {"4 dead tokens": ([2, 0, 3], [9, 1, 5]), "5 live tokens": ([7, 6, 1], [8, 6, 2])}
    for words, (medians, highest) in given.items():
        axes = panel(figure, words)
        assert np.array_equal(shown(axes, shade["50 % (median)"], [1, 2, 3]), medians)
        assert np.array_equal(shown(axes, shade["99 %"], [1, 2, 3]), highest)
        assert levels(axes, C["reference"]) == [np.sqrt(2)]


def test_lattice_percentiles_that_coincide(tmp_path):
    """As where all tokens are in one hole: thinner lines over wider ones, and the title says that they are equal."""
    files = write_displacements(tmp_path)
    table = pd.read_csv(files["steps"])
    table.loc[table["tokens"] == "dead", "percentile_99"] = table["percentile_50"]
    table.to_csv(files["steps"], index=False)
    figure = drawn(lattice_percentiles, files)
    assert [titles(axes)[0] for axes in figure.axes] == [
        "percentiles over 4 dead tokens, all equal at every step",
        "percentiles over 5 live tokens",
    ]
    below, above = (line for line in figure.axes[0].lines if line.get_color() != C["reference"])
    assert below.get_linewidth() > 2 * above.get_linewidth()


def test_lattice_crossings(tmp_path):
    figure = drawn(lattice_crossings, write_displacements(tmp_path))
    given = {"4 dead tokens": ("dead", [50, 0, 12.5]), "5 live tokens": ("live", [100, 60, 0])}  # % of 8 and of 10
    for words, (group, shares) in given.items():
        axes = panel(figure, words)
        assert np.allclose(shown(axes, C[group], [1, 2, 3]), shares, rtol=1e-12)
        assert np.allclose(shown(axes, C["run"], [1, 2, 3]), shares, rtol=1e-12)
    assert "5 in all" in titles(panel(figure, "4 dead tokens"))
    assert "16 in all" in titles(panel(figure, "5 live tokens"))


def test_lattice_raster(tmp_path):
    moves = np.array([[5, -1, 0], [-3, 0, 2], [0, 0, -8], [1, 0, 0], [0, 0, 0]])
    files = write_lives(tmp_path) | {"raster": write_raster(tmp_path, moves, token=0)}
    axes, bar = drawn(lattice_raster, files).axes
    (image,) = [found for found in axes.collections if hasattr(found, "get_coordinates")]
    assert np.array_equal(image.get_array(), moves.T)  # a row a dimension, a column a step
    corners = image.get_coordinates()
    assert corners[0, :, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert corners[:, 0, 1].tolist() == [-0.5, 0.5, 1.5, 2.5]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first dimension above
    forward, back = (image.cmap(image.norm(value))[:3] for value in (5, -5))
    assert forward[0] > forward[2]
    assert back[2] > back[0]
    assert bar.get_ylim()[0] < 0 < bar.get_ylim()[1]
    assert marks(axes, style.INK) == [1.5, 2.5, 4.5]  # token 0 ends early at 1, midlife at 2, late at 4
    assert [text.get_text().strip() for text in axes.texts] == [
        "early until step 1",
        "midlife until step 2",
        "late until step 4",
    ]


# Of a checkpoint


def write_statistics(folder, facts, **tensors):
    save_file({key: np.asarray(value) for key, value in tensors.items()}, folder / "statistics.safetensors")
    return {
        "statistics": str(folder / "statistics.safetensors"),
        "table": write_table(folder / "overdensity.csv", ["statistic", "value"], *facts.items()),
    }


def test_distance_distribution(tmp_path):
    edges = (np.arange(0x3C00, 0x3C00 + 4 * 128 + 1, dtype=np.uint32) << 16).view(np.float32)  # 2⁻⁷ to 2⁻³
    histogram = np.zeros(512, np.int64)
    histogram[[3, 300, 301]] = [40, 1000, 500]
    nearest = np.array([0, 0, 0, 0, edges[3], edges[300], edges[300], np.nan], np.float32) * 1.001
    facts = {"pairs": 1543, "zeros": 2, "threshold": 0.01, "lower median": 0.04, "mean": 0.05, "max": 0.1}
    figure = drawn(
        distance_distribution, write_statistics(tmp_path, facts, histogram=histogram, edges=edges, nearest=nearest)
    )
    for axes, zeros, at_left, at_right in (
        (panel(figure, "all pairs"), 2, 40, 1500),
        (panel(figure, "each token"), 4, 1, 2),
    ):
        values, borders = stairs(axes, C["distances"])
        assert values.sum() == at_left + at_right
        for index, number in ((3, at_left), (300, at_right)):
            low, high = np.log10(edges[[index, index + 2]])
            there = (borders[1:] > low) & (borders[:-1] < high)
            assert values[there].sum() == number
        ((left, _, width, height),) = bars(axes, C["holes"])
        assert height == zeros
        zero = axes.get_xticks()[0]
        assert left + width / 2 == pytest.approx(zero)
        assert axes.get_xticklabels()[0].get_text() == "0"
        assert zero < np.log10(edges[0])
        assert marks(axes, C["box"]) == pytest.approx([-2])
    assert marks(panel(figure, "all pairs"), style.INK) == pytest.approx(np.log10([0.04, 0.05]))
    ((dashes, _),) = [
        (line.get_linestyle(), 0) for line in panel(figure, "all pairs").lines if line.get_xdata()[0] == np.log10(0.04)
    ]
    assert dashes == "--"


def test_overdensity_graph(tmp_path):
    distances = np.array([[0, 3, 4], [3, 0, 5], [4, 5, 0]], np.float32)
    found = {
        "component_populations": np.array([9, 7, 2]),
        "component_hole_tokens": np.array([0, 6, 0]),
        "component_diameters": np.array([[2, 2], [1, 3], [1, 1]]),
        "cluster_populations": np.array([4, 2, 1]),
        "cluster_distances": distances,
        "cluster_cells": np.array([[0, 1, 3], [1, 0, 2], [3, 2, 0]]),
        "cluster_tree": np.array([[0, 1], [0, 2]]),
        "cluster_extent": np.array([0, 3, 0, 0, 1, 2]),
    }
    facts = {"edges": 30, "pairs": 153, "threshold": 0.002, "isolated": 5}
    figure = drawn(overdensity_graph, write_statistics(tmp_path, facts, **found))
    components, cluster, extent = (panel(figure, words) for words in ("components, the", "the cluster: 3", "in cells"))
    assert [width for _, _, width, _ in bars(components)] == [9, 7, 2, 5]
    middles = [(bottom + height / 2) for _, bottom, _, height in bars(components)]
    assert middles == pytest.approx([0, 1, 2, 3])
    assert [text.get_text() for text in components.get_yticklabels()] == ["1", "2", "3", "isolated"]
    assert components.get_ylim()[0] > components.get_ylim()[1]  # the largest above
    roles = ["components", "cluster", "components", "isolated"]  # the cluster is the one with most tokens in holes
    assert [bar.get_facecolor() for bar in components.patches] == [to_rgba(C[role]) for role in roles]
    links, near, holes, single = cluster.collections
    places = np.concatenate([holes.get_offsets(), single.get_offsets()])
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    assert np.allclose(apart / apart[0, 1], distances / 3, atol=0.02)
    assert np.ptp(holes.get_sizes() / [4, 2]) == pytest.approx(0)  # area as population
    assert same_color(holes.get_facecolors()[0], C["holes"])
    assert same_color(single.get_facecolors()[0], C["cluster"])
    assert np.array_equal(near.get_segments(), [places[[0, 1]]])  # one cell apart
    assert np.array_equal(links.get_segments(), [places[[0, 2]]])
    assert {tuple(text.xy): text.get_text() for text in cluster.texts if hasattr(text, "xy")} == {
        tuple(places[0]): "4",
        tuple(places[1]): "2",
    }
    (points,) = extent.lines
    assert np.array_equal(points.get_data(), [[1, 4, 5], [3, 1, 2]])
    assert [segment[:, 1].tolist() for segment in extent.collections[0].get_segments()] == [[0, 3], [0, 1], [0, 2]]


TOKENS = ["token_id", "text", "category", "norm", "hole", "in_box", "in_cluster", "rank", "centroid_distance"]
TOKENS += ["cosine_unused"]


def write_sky(folder, tokens, sky, box):
    columns = dict(zip(("latitude", "longitude", "radius"), np.array(sky, np.float32).T.copy(), strict=True))
    save_file(columns, folder / "sphere.safetensors", {"box": json.dumps(box)})
    return {"tokens": write_table(folder / "tokens.csv", TOKENS, *tokens), "sphere": str(folder / "sphere.safetensors")}


ROWS = [  # token 5 is the farthest from what is unused; holes 0 (tokens 0, 1, 2) and 1 (tokens 3, 4)
    (0, "a", "byte", 1.0, 0, 1, 1, 2, 0.0, 0.9),
    (1, "b", "byte", 1.0, 0, 1, 1, 3, 0.0, 0.9),
    (2, "c", "ordinary", 1.0, 0, 1, 1, 1, 0.0, 0.9),
    (3, "d", "special", 1.5, 1, 1, 0, 4, 0.25, 0.5),
    (4, "e", "special", 1.5, 1, 1, 0, 5, 0.25, 0.5),
    (5, "f", "ordinary", 2.0, "", 0, 0, 7, 2.0, -0.75),
    (6, "g", "unreachable", 1.25, "", 1, 1, 6, 0.125, 0.25),
]
SKY = [(10, 20, 1)] * 3 + [(-5, 40, 1)] * 2 + [(-80, -150, 1), (12, 25, 1)]  # latitude, longitude, radius


def test_sky_map(tmp_path):
    box = {"lat": [-10, 30], "lon": [10, 50], "r": None}
    figure = drawn(sky_map, write_sky(tmp_path, ROWS, SKY, box))
    sky, zoom, norms = panel(figure, "the whole sky"), panel(figure, "the box: 6"), panel(figure, "norm of the")
    (points,) = lines(sky, C["tokens"])
    assert np.array_equal(points.get_data(), np.array(SKY)[:, [1, 0]].T)
    assert bars(sky) == [(10, -10, 40, 40)]
    for axes in (sky, zoom):
        (holes,) = axes.collections
        assert np.array_equal(holes.get_offsets(), [[20, 10], [40, -5]])
        assert np.ptp(holes.get_sizes() / [3, 2]) == pytest.approx(0)  # area as population
        assert bars(axes) == [(10, -10, 40, 40)]
    (inside,) = [line for line in zoom.lines if same_color(line.get_color(), C["tokens"])]
    assert np.array_equal(inside.get_data(), [[40, 40], [-5, -5]])
    (cluster,) = lines(zoom, C["cluster"])
    assert np.array_equal(cluster.get_data(), [[20, 20, 20, 25], [10, 10, 10, 12]])
    expected = {"tokens": {1: 3, 1.5: 2, 2: 1, 1.25: 1}, "cluster": {1: 3, 1.5: 2, 1.25: 1}, "holes": {1: 3, 1.5: 2}}
    for role, numbers in expected.items():
        values, edges = stairs(norms, C[role])
        found = {norm: values[np.searchsorted(edges, norm, side="right") - 1] for norm in numbers}
        assert found == numbers
        assert values.sum() == sum(numbers.values())


def test_sky_map_over_180_degrees(tmp_path):
    sky = [(10, 175, 1)] * 3 + [(-5, -175, 1)] * 2 + [(-80, 0, 1), (12, 179, 1)]
    figure = drawn(sky_map, write_sky(tmp_path, ROWS, sky, {"lat": [-10, 30], "lon": [170, -170], "r": None}))
    assert bars(panel(figure, "the whole sky")) == [(170, -10, 10, 40), (-180, -10, 10, 40)]
    zoom = panel(figure, "the box: 6")
    assert bars(zoom) == [(170, -10, 20, 40)]
    assert np.array_equal(zoom.collections[0].get_offsets(), [[175, 10], [185, -5]])
    assert [zoom.xaxis.get_major_formatter()(x, 0) for x in (175, 185)] == ["175", "-175"]


def test_sky_map_of_many():
    """More than 4,000 tokens are counted in cells of the sky."""
    tokens = pd.DataFrame(dict.fromkeys(["norm", "hole", "in_box", "in_cluster"], [-1.0] * 4500))
    tokens = tokens.assign(longitude=np.repeat([-90, 120], [4000, 500]), latitude=np.repeat([45, -60], [4000, 500]))
    figure = sky_map.draw(tokens, {"lat": None, "lon": None, "r": None})
    (cells,) = [
        found
        for axes in figure.axes
        for found in axes.collections
        if found.get_array() is not None and "longitude" in axes.get_xlabel()
    ]
    found = dict(zip(cells.get_array().tolist(), cells.get_offsets(), strict=True))
    assert found.keys() == {4000, 500}
    assert np.allclose(found[4000], (-90, 45), atol=9)  # a cell is 6° × 8°
    assert np.allclose(found[500], (120, -60), atol=9)


def test_token_ranking(tmp_path):
    areas = [("auroc_in_sample", 1.0), ("auroc_cross_fitted", 0.4567)]
    ranking = write_table(tmp_path / "ranking.csv", ["quantity", "value"], *areas)
    figure = drawn(token_ranking, write_sky(tmp_path, ROWS, SKY, {}) | {"ranking": ranking})
    said = "AUROC of hole members: 0.457 held out,\n1.000 in sample (by construction)"
    assert panel(figure, "indicators of every token").get_xlabel().endswith(said)
    shares, points = panel(figure, "categories"), panel(figure, "indicators of every token")
    colour = style.CATEGORIES
    expected = {
        "in holes": {"ordinary": 1 / 5, "special": 2 / 5, "byte": 2 / 5},
        "in the cluster": {"ordinary": 1 / 4, "byte": 2 / 4, "unreachable": 1 / 4},
        "in the box": {"ordinary": 1 / 6, "special": 2 / 6, "byte": 2 / 6, "unreachable": 1 / 6},
        "first 100": {"ordinary": 2 / 7, "special": 2 / 7, "byte": 2 / 7, "unreachable": 1 / 7},
        "all": {"ordinary": 2 / 7, "special": 2 / 7, "byte": 2 / 7, "unreachable": 1 / 7},
    }
    assert [text.get_text() for text in shares.get_yticklabels()] == list(expected)
    for place, parts in enumerate(expected.values()):
        for name, share in parts.items():
            (width,) = [w for _, y, w, h in bars(shares, colour[name]) if y + h / 2 == pytest.approx(place)]
            assert width == pytest.approx(share)
    numbers = [text for (x, y), text in texts(shares).items() if x > 1 and y in range(5)]
    assert numbers == ["5", "4", "6", "7", "7"]
    zero = points.get_xticks()[0]
    assert points.get_xticklabels()[0].get_text() == "0"
    assert 0 < zero < 0.125
    expected = {
        "ordinary": [[zero, 2.0], [0.9, -0.75]],
        "byte": [[zero, zero], [0.9, 0.9]],
        "special": [[0.25, 0.25], [0.5, 0.5]],
        "unreachable": [[0.125], [0.25]],
    }
    for name, places in expected.items():
        (line,) = [line for line in points.lines if same_color(line.get_color(), colour[name])]
        assert np.allclose(line.get_data(), places)
    rows = {}
    for (_, y), text in texts(figure.axes[2]).items():
        rows.setdefault(y, []).append(text)
    assert [rows[y] for y in sorted(rows) if y >= 0] == [
        ["1", "3: c  a  b", "0", "0.900"],
        ["4", "2: d  e", "0.25", "0.500"],
        ["6", "g", "0.125", "0.250"],
        ["7", "f", "2", "-0.750"],
    ]


# Of snowballs

STATISTICS = ("n_unique", "n_singletons", "n_black_holes", "largest_bh")


def test_snowball_sweep(tmp_path):
    given = {0.001: [(7, 6, 1, 4), (9, 8, 3, 2)], 0.0: [(1, 0, 1, 9)] * 2, 0.1: [(10, 9, 0, 0), (10, 7, 2, 3)]}
    rows = [(sigma, "x", 10, *values) for sigma, trials in given.items() for values in trials]
    rows += [("", "permutation", 30, 20, 15, 5, 9)]  # other tokens
    own = dict(zip(STATISTICS, (5, 3, 2, 4), strict=True))
    scores = [("within", 0.02, name, value) for name, value in own.items()]
    scores += [("permutation", "", name, 99) for name in own]
    files = {
        "trials": write_table(tmp_path / "trials.csv", ["sigma", "label", "n_tokens", *STATISTICS], *rows),
        "scores": write_table(tmp_path / "z.csv", ["label", "sigma", "statistic", "checkpoint"], *scores),
        "latent": str(tmp_path / "latent.safetensors"),
    }
    interval = {"sigma_latent_low": np.array(0.002), "sigma_latent_high": np.array(0.03)}
    save_file(interval | {"component_ids": np.arange(3)}, files["latent"])
    figure = drawn(snowball_sweep, files)
    panels = ("unique vectors", "singletons (tokens)", "black holes (number)", "population of the largest hole")
    places = [-0.5, 0, 2]  # in decades from the smallest number; 0 a quarter of them before it
    roles = ("duplicates", "isolated", "holes", "largest")
    for k, (words, role) in enumerate(zip(panels, roles, strict=True)):
        axes = panel(figure, words)
        values = np.array([[trial[k] for trial in given[sigma]] for sigma in (0.0, 0.001, 0.1)])
        curves = [line for line in lines(axes, C[role]) if line.get_marker() in ("None", "o")]
        assert len(curves) == 2
        for line in curves:  # the mean, as a line and as points
            assert np.allclose(line.get_data(), [places, values.mean(1)])
        ranges, errors = axes.collections
        assert np.array_equal([s[:, 1] for s in ranges.get_segments()], np.sort(values, 1))
        assert np.allclose([s[0, 0] for s in ranges.get_segments()], places)
        far = np.abs(values[:, 0] - values[:, 1]) / np.sqrt(2)
        assert np.allclose([np.ptp(s[:, 1]) / 2 for s in errors.get_segments()], far)
        assert levels(axes, style.INK) == [own[STATISTICS[k]]]
        assert marks(axes, style.PALE) == pytest.approx([np.log10(20)])
        (band,) = [patch for patch in axes.patches if same_color(patch.get_facecolor(), snowball_sweep.BAND)]
        assert np.allclose(
            band.get_extents().intervalx, axes.transData.transform([[np.log10(2), 0], [np.log10(30), 0]])[:, 0]
        )
        ticks = dict(zip(axes.xaxis.get_major_locator()(), axes.xaxis.get_major_formatter().seq, strict=True))
        assert list(ticks) == pytest.approx([-0.5, 0, 1, 2], abs=1e-9)
        assert list(ticks.values()) == ["0", "$10^{-3}$", "$10^{-2}$", "$10^{-1}$"]


def test_snowball_singletons(tmp_path):
    given = {0.01: [3, 4, 9], 0.0: [0, 0], 0.1: [10]}
    rows = [(sigma, "x", 10, value) for sigma, values in given.items() for value in values]
    rows += [("", "permutation", 30, value) for value in (12, 17, 14)]
    columns = ["label", "sigma", "statistic", "checkpoint"]
    scores = [("within", 0.02, "n_singletons", 5), ("permutation", "", "n_singletons", 13)]
    files = {
        "trials": write_table(tmp_path / "trials.csv", ["sigma", "label", "n_tokens", "n_singletons"], *rows),
        "scores": write_table(tmp_path / "z.csv", columns, *scores),
    }
    trials, permuted = drawn(snowball_singletons, files).axes
    (dots,) = lines(trials, C["isolated"])
    x, y = dots.get_data()
    places = {0.01: 0.0, 0.0: -0.25, 0.1: 1.0}
    assert list(y) == [value for values in given.values() for value in values]
    assert np.allclose(x, [places[sigma] for sigma, values in given.items() for _ in values], atol=0.03)
    assert len(set(x)) >= 5  # side by side
    (dots,) = lines(permuted, C["isolated"])
    assert list(dots.get_ydata()) == [12, 17, 14]
    assert levels(permuted, style.INK) == [13]
    assert marks(trials, style.PALE) == pytest.approx([np.log10(2)])


def test_snowball_permutation(tmp_path):
    names, values = ("n_unique", "n_tokens"), [(number, 40) for number in range(1, 101)]
    columns = ["label", "statistic", "checkpoint", "mean", "std", "z", "min", "max", "p", "note"]
    scores = [("0.1", "n_unique", 1, 1, 1, 1, 1, 1, "", "")]
    scores += [("permutation", "n_unique", 120, 50.5, 10.0, 6.95, 1, 100, 0.0123, "")]
    scores += [("permutation", "n_tokens", 40, 40, 0, 0, 40, 40, 1, "")]
    facts = {"tokens": 40, "permutations": 100, "joint_p": 0.25}
    shares = {0: 0.05, 1: 0.1, 20: 0.9}
    facts |= {f"told_apart_{percent}_percent": share for percent, share in shares.items()}
    files = {
        "trials": write_table(
            tmp_path / "t.csv", ["sigma", "label", *names], *(("", "permutation", *v) for v in values)
        ),
        "scores": write_table(tmp_path / "z.csv", columns, *scores),
        "test": write_table(tmp_path / "f.csv", ["quantity", "value"], *facts.items()),
    }
    rows, numbers, power = drawn(snowball_permutation, files).axes
    assert [text.get_text() for text in rows.get_yticklabels()] == list(names)
    (bar,) = rows.patches
    middle = (np.quantile(np.arange(1, 101), [0.025, 0.975]) - 50.5) / 10
    assert np.allclose([bar.get_x(), bar.get_x() + bar.get_width()], middle)
    (span,) = [line for line in rows.lines if same_color(line.get_color(), style.PALE)]
    assert np.allclose(span.get_data(), [[-4.95, 4.95], [0, 0]])
    (dot,) = lines(rows, C["box"])
    assert dot.get_marker() == ">"
    assert [float(np.ravel(place)[0]) for place in dot.get_data()] == [6, 0]  # 6.95 lies beyond
    found = [text for _, text in sorted((text.get_position()[::-1], text.get_text()) for text in numbers.texts)]
    assert found == ["tokens", "permutations", "p", "120", "50.5 ± 10", "0.0123", "40", "always 40", "1"]
    (curve,) = lines(power, C["holes"])
    assert np.array_equal(curve.get_data(), [[0, 1, 2], list(shares.values())])
    assert [text.get_text() for text in power.get_xticklabels()] == ["0", "1", "20"]
    assert levels(power, style.PALE) == [0.05]
    assert power.get_title(loc="left").startswith("joint p 0.25")


def test_snowball_elements(tmp_path):
    tensors, parts = {}, {"global": (1.0, 2.0), "within": (-1.0, 0.5), "snowball": (0.0, 0.25)}  # mean, σ
    for k, (name, (mean, std)) in enumerate(parts.items()):
        tensors |= {
            f"{name}.edges": mean + std * np.array([-2.0, -1.0, 0.0, 2.0]),
            f"{name}.counts": np.array([10, 20 + k, 70]),
            f"{name}.z": np.array([-1.0, 0.0, 1.0]),
            f"{name}.quantiles": mean + std * np.array([-1.5, 0.25 * k, 1.0]),
            f"{name}.fit": np.array([1.25 * std, mean + 0.1 * std, 0.875]),
            f"{name}.moments": np.array([mean, std, 0.5, -0.25]),
        }
    path = str(tmp_path / "elements.safetensors")
    save_file(tensors, path, {"label": "0.25", "sigma": "0.25", "trials": "40"})
    figure = drawn(snowball_elements, {"elements": path})
    titled = {
        "global": "about one mean",
        "within": "(σ within)",
        "snowball": "40 snowballs, σ = 0.25 about the centroid",
    }
    roles = {"global": "population", "within": "holes", "snowball": "duplicates"}
    for k, (name, words) in enumerate(titled.items()):
        top = panel(figure, words)
        bottom = figure.axes[figure.axes.index(top) + 3]
        values, edges = stairs(top, C[roles[name]])
        total = 100 + k
        assert np.allclose(edges, [-2, -1, 0, 2])
        assert np.allclose(values, [10 / total, (20 + k) / total, 70 / total / 2])
        (normal,) = lines(top, style.INK)
        x, y = normal.get_data()
        assert np.allclose(np.interp([-1, 0, 1], x, y), [0.241971, 0.398942, 0.241971], atol=1e-4)
        (dots,) = lines(bottom, C[roles[name]])
        assert np.allclose(dots.get_data(), [[-1, 0, 1], [-1.5, 0.25 * k, 1]])
        (diagonal,) = lines(bottom, style.INK)
        assert np.array_equal(*diagonal.get_data())
        (fitted,) = lines(bottom, C["box"])
        assert np.allclose(fitted.get_data(), [[-1, 0, 1], [-1.15, 0.1, 1.35]])
        assert "skewness 0.5\nexcess kurtosis −0.25\nline: slope" in bottom.get_xlabel()
        assert bottom.get_xlabel().endswith("R² 0.8750")


def scores(checkpoint=True):
    """Two statistics at three σ, not in their order."""
    z = {("n_unique", 0.1): 12.0, ("n_unique", 1e-8): -3.5, ("n_unique", 0.001): 0.5}
    z |= {("mean_distance", 0.1): -20.0, ("mean_distance", 1e-8): 1.0, ("mean_distance", 0.001): -1.25}
    own = {"n_unique": 7, "mean_distance": 0.5}
    rows = [(str(sigma), sigma, name, own[name], 100 * value, value, "") for (name, sigma), value in z.items()]
    table = pd.DataFrame(rows, columns=["label", *z_scores.COLUMNS])
    return table if checkpoint else table.assign(checkpoint=np.nan, z=np.nan)


def test_z_scores(tmp_path):
    scores().to_csv(tmp_path / "z.csv", index=False)
    (axes,) = drawn(z_scores, {"scores": str(tmp_path / "z.csv")}).axes
    expected = np.array([[-3.5, 0.5, 12.0], [1.0, -1.25, -20.0]])  # columns by σ, rows as they come
    (image,) = axes.images
    assert np.array_equal(image.get_array(), expected.clip(-10, 10))
    assert image.origin == "upper"
    high, low = (image.cmap(image.norm(z))[:3] for z in (10, -10))
    assert high[0] > high[2]
    assert low[2] > low[0]
    said = {place: text.replace("−", "-") for place, text in texts(axes).items()}
    assert said == {(x, y): f"{value:g}" for (y, x), value in np.ndenumerate(expected)}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1e-08", "0.001", "0.1"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["n_unique   7", "mean_distance   0.5"]


def test_z_scores_beside_permutations(tmp_path):
    table = scores()
    tested = [("permutation", "", "n_tokens", 400, 0.0, 0.0, ""), ("permutation", "", "n_unique", 7, 9.0, 8.5, "")]
    more = [(str(sigma), sigma, "n_tokens", 30, 30, 0, "") for sigma in (0.1, 1e-8, 0.001)]
    rows = pd.DataFrame([*table.to_numpy().tolist(), *more, *tested])
    rows.to_csv(tmp_path / "z.csv", index=False, header=table.columns)
    (axes,) = drawn(z_scores, {"scores": str(tmp_path / "z.csv")}).axes
    assert [text.get_text() for text in axes.get_xticklabels()][3:] == ["", "permuted,\n400\ntokens"]
    names = [text.get_text().split()[0] for text in axes.get_yticklabels()]
    said = texts(axes)
    assert said[4, names.index("n_unique")] == "8.5"
    assert (3, 0) not in said
    rows.iloc[-2:, 4:] = [[np.nan, np.nan, "all are equal"]] * 2
    rows.to_csv(tmp_path / "z.csv", index=False, header=table.columns)
    (axes,) = drawn(z_scores, {"scores": str(tmp_path / "z.csv")}).axes
    assert axes.get_xlabel() == "noise σ\nno permutations: all are equal"
    assert len(axes.get_xticklabels()) == 3


def test_z_scores_without_a_checkpoint():
    (axes,) = z_scores.draw(scores(checkpoint=False), scores().iloc[:0]).axes
    assert not axes.images[0].get_array().any()
    expected = np.array([[-350, 50, 1200], [100, -125, -2000]])
    assert texts(axes) == {(x, y): f"{v:,}".replace("-", "−") for (y, x), v in np.ndenumerate(expected)}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["n_unique", "mean_distance"]


# Published values beside ours


def test_reproduction():
    """The table of docs/: crosses are the published values, the others' means are ours, and marks are counted."""
    path = Path(__file__).parents[2] / "docs" / "reproduction.csv"
    table = pd.read_csv(path)
    figure = drawn(reproduction, {"table": str(path)})
    row = table[(table["experiment"] == "one_point") & (table["quantity"] == "training loss")].iloc[0]
    axes = panel(figure, "one_point: loss")
    (theirs,) = [line for line in axes.lines if line.get_marker() == "x"]
    published = [float(value) for value in row["published"].split()]
    assert np.allclose(theirs.get_ydata(), published[1:])  # the first is in the title: the axis would be all its own
    assert f"{published[0]:.4f}" in axes.get_title(loc="left")
    ours = [float(value) for value in row["ours"].split()]
    assert any(np.allclose(line.get_ydata(), ours[1:]) for line in axes.lines if len(line.get_ydata()) == len(ours) - 1)
    said = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    judged = table[table["quantity"] != "all judged rows"]["verdict"].value_counts()
    for verdict in ("agrees", "undecided"):
        assert f"{verdict} ({judged[verdict]})" in said


def write_forces(folder, steps=40, dead=2):
    """(files, the tensors of forces_series.safetensors) of five tokens, with random values."""
    random = np.random.default_rng(0)
    values = {name: random.uniform(-0.9, 0.9, steps) for name in ("mutual", "with_hidden")}
    values["movers"] = random.integers(1, dead + 1, steps) if dead else np.zeros(steps)
    for group in ("dead", "live"):
        values |= {f"{group}_mean_{name}": random.uniform(0.1, 0.2, steps) for name in force_series.MEANS}
        values |= {
            f"{group}_{name}": np.sort(10 ** random.uniform(-3, 0, (steps, 3)), axis=1) for name in force_series.SPREAD
        }
    values |= {f"token_{name}": random.uniform(0.1, 0.2, steps) for name in force_series.OF_ONE}
    values = {name: value.astype(np.float32) for name, value in values.items()}
    save_file(values, folder / "series.safetensors", {"token": "3"})
    status = ["dead"] * dead + ["live"] * (5 - dead)
    tokens = write_table(folder / "tokens.csv", ["token_id", "character", "count", "status"], *(
        (k, "ab$d_"[k], 3, kind) for k, kind in enumerate(status)
    ))  # fmt: skip
    return {"series": folder / "series.safetensors", "tokens": tokens}, values


def test_forces_moves(tmp_path):
    files, values = write_forces(tmp_path)
    figure = drawn(forces_moves, files, experiment="qwen", run="run_001")
    steps = np.arange(1, 41)
    assert figure.get_suptitle() == "qwen, run 001: updates intended and what rounding leaves"
    for column, (group, heading) in enumerate({"dead": "2 dead tokens", "live": "3 live tokens"}.items()):
        moves, cells, still = figure.axes[column::2]
        assert moves.get_title(loc="left") == heading
        for force, axes in (("intended", moves), ("realised", moves), ("intended_cells", cells)):
            low, middle, high = values[f"{group}_{force}"].T
            assert shown(axes, forces_moves._COLOURS[force], steps) == pytest.approx(middle)
            band = axes.collections[["intended", "realised", "intended_cells"].index(force) % 2]
            corners = band.get_paths()[0].vertices
            for step, bottom, top in zip(steps, low, high, strict=True):
                there = corners[corners[:, 0] == step, 1]
                assert (there.min(), there.max()) == pytest.approx((bottom, top))
        assert levels(cells, C["reference"]) == [0.5]
        assert shown(still, forces_moves._COLOURS["mean_stalled"], steps) == pytest.approx(
            values[f"{group}_mean_stalled"]
        )
    files, _ = write_forces(tmp_path, dead=0)
    assert "no dead token" in [text.get_text() for text in drawn(forces_moves, files).axes[0].texts]


def test_forces_parts(tmp_path):
    files, values = write_forces(tmp_path)
    figure = drawn(forces_parts, files)
    for axes, group in zip(figure.axes, ("dead_mean", "token"), strict=True):
        tops = np.cumsum([values[f"{group}_{part}"] for part in ("adam", "decay", "residual")], axis=0)
        for area, top in zip(axes.collections, tops, strict=True):
            corners = area.get_paths()[0].vertices
            assert [corners[corners[:, 0] == step, 1].max() for step in range(1, 41)] == pytest.approx(list(top))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["the dead, mean of 2 tokens", "token 'd'"]
    files, _ = write_forces(tmp_path, dead=0)
    assert [text.get_text() for text in drawn(forces_parts, files).axes[0].texts] == ["no dead token"]


def test_forces_swarm(tmp_path):
    files, values = write_forces(tmp_path)
    values["mutual"][5:8] = np.nan  # as where a single one moves
    save_file(values, files["series"], {"token": "3"})
    figure = drawn(forces_swarm, files)
    for name, (colour, _) in forces_swarm._COSINES.items():
        (dots,) = lines(figure.axes[0], colour, ".")
        there = ~np.isnan(values[name])
        assert dots.get_xdata() == pytest.approx(np.arange(1, 41)[there])
        assert dots.get_ydata() == pytest.approx(values[name][there])
    assert shown(figure.axes[1], C["dead"], np.arange(1, 41)) == pytest.approx(values["movers"])
    files, _ = write_forces(tmp_path, dead=0)
    assert [text.get_text() for text in drawn(forces_swarm, files).axes[0].texts] == ["no dead token"]


def test_forces_probability(tmp_path):
    files, values = write_forces(tmp_path)
    values["dead_mean_realised"][3] = 0  # which a logarithmic axis has no place for
    save_file(values, files["series"], {"token": "3"})
    figure = drawn(forces_probability, files)
    over, against = figure.axes[:2]
    for group in ("dead", "live"):
        assert shown(over, C[group], np.arange(1, 41)) == pytest.approx(values[f"{group}_mean_probability"])
    for dots, force in zip(against.collections, ("intended", "realised"), strict=True):
        there = values[f"dead_mean_{force}"] > 0
        expected = np.stack([values["dead_mean_probability"], values[f"dead_mean_{force}"]], 1)[there]
        assert np.asarray(dots.get_offsets()) == pytest.approx(expected)
        assert np.asarray(dots.get_array()) == pytest.approx(np.arange(1, 41)[there])
    files, _ = write_forces(tmp_path, dead=0)
    assert [text.get_text() for text in drawn(forces_probability, files).axes[1].texts] == ["no dead token"]


def test_comparison(tmp_path):
    """One pair has two measures and one step more than is shown; the other lacks a measure."""
    columns = ["measure", "step", "experiment", "reference", "pairs", "difference", "low", "high"]
    table = write_table(
        tmp_path / "comparison.csv",
        columns,
        ("loss", 1, "b", "a", 4, 9, 8, 10),
        ("loss", 10, "b", "a", 4, -0.5, -0.75, -0.25),
        ("dead_frozen", 10, "b", "a", 4, 100, 50, 200),
        ("loss", 10, "c", "a", 3, 0.5, 0.25, 1),
    )
    figure = drawn(comparison, {"comparison": table})
    shown = {titles(axes)[0] or titles(axes)[1]: axes for axes in figure.axes if axes.get_visible()}
    loss, frozen = shown["loss (nats per token)"], shown["last step at which a dead token moves"]
    assert len(shown) == 2
    assert [label.get_text() for label in loss.get_yticklabels()] == ["b − a, n = 4", "c − a, n = 3"]
    for axes, expected in ((loss, [(0, -0.5, -0.75, -0.25), (1, 0.5, 0.25, 1)]), (frozen, [(0, 100, 50, 200)])):
        zero = [line for line in axes.lines if same_color(line.get_color(), C["reference"])]
        assert [list(line.get_xdata()) for line in zero] == [[0, 0]]
        others = [line for line in axes.lines if line not in zero]
        intervals = [line for line in others if line.get_marker() == "None"]
        dots = [line for line in others if line.get_marker() == "o"]
        for (place, middle, low, high), interval, dot in zip(expected, intervals, dots, strict=True):
            assert (list(interval.get_xdata()), list(interval.get_ydata())) == ([low, high], [place, place])
            assert (list(np.ravel(dot.get_xdata())), list(np.ravel(dot.get_ydata()))) == ([middle], [place])
            assert same_color(dot.get_color(), interval.get_color())
    bottom, top = loss.get_ylim()
    assert bottom > top  # the first pair is at the top


def test_questions(tmp_path):
    """Of three questions one has no number; one counts in both directions; runs with one seed are one dot."""
    columns = ["key", "question", "answer", "effect", "unit", "low", "high", "n", "counted", "yes", "no"]
    table = write_table(
        tmp_path / "questions.csv",
        columns,
        ("a", "First?", "yes", 0.5, "share", 0.25, 0.75, 2, "seeds of 3 runs", 0.125, 0.0625),
        ("b", "Second?", "needs: x", "", "share", "", "", 0, "", 0.1, 0.1),
        ("dead_move_along_hidden", "Third?", "no", -0.25, "cosine", -0.5, 0.25, 3, "runs", 0.75, 0.75),
    )
    numbers = (("a", 1, 0.25), ("a", 1, 0.75), ("a", 2, 0.5), ("dead_move_along_hidden", 1, -0.25))
    values = write_table(tmp_path / "values.csv", ["key", "seed", "value"], *numbers)
    figure = drawn(questions, {"questions": table, "values": values})
    first, third = (axes for axes in figure.axes if axes.get_visible())
    assert ([titles(axes)[0] for axes in (first, third)]) == ["First?", "Third?"]
    assert [axes.get_xlabel() for axes in (first, third)] == ["share; 2 seeds of 3 runs", "cosine; 3 runs"]
    assert (marks(first, C["reference"]), marks(third, C["reference"])) == ([0.125, 0.0625], [0.75, -0.75])
    for axes, answer, colour, interval, middle, dots in (
        (first, "yes", C["live"], [0.25, 0.75], 0.5, [0.5, 0.5]),
        (third, "no", C["increase"], [-0.5, 0.25], -0.25, [-0.25]),
    ):
        (text,) = axes.texts
        assert (text.get_text(), same_color(text.get_color(), colour)) == (answer, True)
        own = [line for line in axes.lines if same_color(line.get_color(), colour)]
        assert [list(np.ravel(line.get_xdata())) for line in own] == [interval, [middle]]
        (seeds,) = (line for line in axes.lines if same_color(line.get_color(), C["run"]))
        assert list(seeds.get_xdata()) == dots
    empty = write_table(tmp_path / "empty.csv", columns, ("b", "Second?", "needs: x", "", "share", "", "", 0, "", 0, 0))
    (axes,) = drawn(questions, {"questions": empty, "values": values}).axes
    assert "questions.csv has what to run" in axes.texts[0].get_text()


def test_escape_filmstrip(tmp_path):
    identities = np.array([[1, 1, 1, 1], [1, 1, 0, 2], [1, 1, 0, 0]], np.int32)
    plane = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    tensors = {"steps": np.array([0, 1, 9], np.int32), "identities": identities, "plane": plane}
    save_file(tensors, tmp_path / "explorer.safetensors")
    (tmp_path / "tokens.csv").write_text(
        "token_id,character,count,status\n0,a,0,dead\n1,b,2,live\n2,c,1,live\n3,d,0,dead\n"
    )
    inputs = SimpleNamespace(explorer=tmp_path / "explorer.safetensors", tokens=tmp_path / "tokens.csv")
    figure = escape_filmstrip.from_files(inputs, {"experiment": "one", "run": "run_001"})
    assert figure.get_suptitle() == "one, run 001: escape from the holes"
    above, below = figure.axes[:3], figure.axes[3:]
    assert [titles(axes)[0] for axes in above] == [
        "step 0\n1 hole, 4 tokens",
        "step 1\n2 holes, 3 tokens",
        "step 9\n1 hole, 2 tokens",
    ]
    cells = above[1].images[0].get_array()[0]
    assert [same_color(cell, style.HOLES[0]) for cell in cells[:4]] == [True, True, False, False]
    live, dead = below[2].lines
    assert live.get_xydata().tolist() == [plane[2, 2].tolist()]
    assert dead.get_xydata().tolist() == [plane[2, 3].tolist()]
    assert below[2].collections[0].get_offsets().tolist() == [plane[2, 0].tolist()]
