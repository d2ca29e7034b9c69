"""Every figure of runs, from synthetic ones on disk: it is drawn, says its units, and gives the same bytes twice.

What is drawn: test_plotted_data.py.
"""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from blackholes.errors import UserError
from blackholes.figures import curves, data, style
from blackholes.figures.runs import distinct_vectors
from blackholes.runs import escapes, lineage, survival
from blackholes.training.vocabulary import character
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from safetensors.numpy import save_file

V, DEAD = 128, 51
MODULES = [
    "loss_curves",
    "black_hole_counts",
    "black_hole_means",
    "tokens_per_hole",
    "cluster_dynamics",
    "component_sizes",
    "hole_members",
    "centroid",
    "escapes",
    "lineage",
    "experiments",
    "distinct_vectors",
]
OF_A_RUN = ("hole_members", "lineage")
FIGURES = Path(style.__file__).parent


# Synthetic runs


def canonical(groups: np.ndarray) -> np.ndarray:
    """(S, V) arbitrary group numbers → the smallest member's token id."""
    out = np.empty_like(groups)
    for row, group in enumerate(groups):
        _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
        out[row] = first[inverse]
    return out


def escape_labels(steps: int, rng: np.random.Generator, dead: np.ndarray, slow: float = 1.0) -> np.ndarray:
    """All tokens in one hole; live ones leave it in groups that later break up: labels (S, V)."""
    t = np.arange(steps + 1)[:, None]
    group = rng.integers(0, 14, V)
    leave = slow * np.exp(rng.normal(2.0, 1.2, 14))[group]
    alone = leave * np.exp(np.abs(rng.normal(0.8, 0.9, V))) + 1
    labels = np.where(t >= alone, 1000 + np.arange(V), np.where(t >= leave, 1 + group, 0))
    return canonical(np.where(dead, 0, labels))


def structure(labels: np.ndarray) -> dict[str, np.ndarray]:
    sizes = np.zeros(labels.shape, np.int32)
    np.add.at(sizes, (np.arange(len(labels))[:, None], labels), 1)
    holes = sizes > 1
    return {
        "counts": holes.sum(1),
        "populations": (sizes * holes).sum(1),
        "largest_bh_size": (sizes * holes).max(1),
        "n_unique": (sizes > 0).sum(1),
        "n_singletons": (sizes == 1).sum(1),
        "largest": sizes.max(1),
    }


def write_run(folder: Path, steps: int, rng: np.random.Generator, dead: np.ndarray, normal: bool = False) -> None:
    folder.mkdir(parents=True)
    t = np.arange(steps + 1)
    if normal:
        equal = np.tile(np.arange(V), (steps + 1, 1))
        touching = canonical(np.where((t[:, None] < 30) & (np.arange(V) % 7 == 0), 0, np.arange(V)))
    else:
        equal, touching = escape_labels(steps, rng, dead), escape_labels(steps, rng, dead, slow=4)
    found = structure(equal)
    save_file(
        {"labels": equal.astype(np.int32), **{k: v.astype(np.int32) for k, v in found.items() if k != "largest"}},
        folder / "black_hole_counts.safetensors",
    )
    graphs = {}
    for name, labels in {"identical": equal, "touching": touching, "cells": touching}.items():
        s = structure(labels)
        graphs |= {f"{name}.labels": labels, f"{name}.n_components": s["n_unique"], f"{name}.n_edges": s["counts"]}
        graphs |= {f"{name}.largest_component_size": s["largest"], f"{name}.n_isolated": s["n_singletons"]}
    save_file({k: v.astype(np.int32) for k, v in graphs.items()}, folder / "graph_statistics.safetensors")
    moved = np.r_[0, 0.02 / (1 + t[1:]) ** 0.6 * rng.lognormal(0, 0.4, steps)]
    moved[(rng.random(steps + 1) < 0.1) & (t > steps // 2)] = 0
    geometry = {"centroid_norm": 8 * (not normal) + 0.3 + np.cumsum(moved) * 0.2, "centroid_displacement": moved}
    geometry["centroid_distance"] = np.cumsum(moved) * 0.5
    geometry["cloud_radius"] = 2.2 * (1 - np.exp(-t / 400)) * rng.uniform(0.9, 1.1) + 0.2 * normal
    save_file({k: v.astype(np.float32) for k, v in geometry.items()}, folder / "geometric_time_series.safetensors")
    n = t[1:]
    loss = 1.5 + 3.3 * (1 + n / 12) ** -0.5 + rng.normal(0, 0.06, steps) - 0.3 * normal * (1 - np.exp(-n / 9))
    log = pd.DataFrame({"step": n, "loss": loss, "grad_norm": 1.0, "learning_rate": 1e-3 * (1 - n / steps)})
    log.to_csv(folder / "training_log.csv", index=False)


def write_experiments(root: Path, steps: int, runs: dict[str, int], n_dead: int = DEAD) -> SimpleNamespace:
    rng = np.random.default_rng(7)
    counts = np.zeros(V, int)
    for token in [10, *range(32, 127)]:
        counts[token] = rng.integers(1, 5000)
    spare = [*range(126, 96, -3), *range(34, 64), *range(64, 97)]
    for token in spare[: max(n_dead - int((counts == 0).sum()), 0)]:
        counts[token] = 0
    names = [character(token) for token in range(V)]
    dead = counts == 0
    status = np.where(dead, "dead", "live")
    table = pd.DataFrame({"token_id": range(V), "character": names, "count": counts, "status": status})
    table.to_csv(root / "tokens.csv", index=False)
    found = SimpleNamespace(tokens=str(root / "tokens.csv"), logs=[], counts=[], graphs=[], geometry=[], names=[])
    found.escapes, found.graph, found.events = [], [], []
    for name, number in runs.items():
        for run in range(1, number + 1):
            folder = root / name / f"run_{run:03}"
            write_run(folder, steps, rng, dead, name == "normal")
            found.names.append(name)
            found.logs.append(str(folder / "training_log.csv"))
            found.counts.append(str(folder / "black_hole_counts.safetensors"))
            found.graphs.append(str(folder / "graph_statistics.safetensors"))
            found.geometry.append(str(folder / "geometric_time_series.safetensors"))
            found.escapes.append(str(folder / "escapes.csv"))
            found.graph.append(str(folder / "lineage.graphml"))
            found.events.append(str(folder / "lineage_events.csv"))
            outputs = lineage.Outputs(str(folder / "lineage.csv"), found.graph[-1], found.events[-1])
            lineage.write(found.counts[-1], outputs)
            seen = rng.integers(0, 9, V), rng.integers(1, 9, V)
            escapes.write(found.counts[-1], found.tokens, seen, found.escapes[-1])
    found.curves, found.statistics = str(root / "escape_curves.csv"), str(root / "escape_statistics.csv")
    survival.write(found.escapes, found.curves, found.statistics)
    return found


def draw(module: str, made: SimpleNamespace, **more):
    options = {"experiment": made.names[0], "experiments": made.names, "key_steps": [0, 3, 10, 30, 100, 10**6], **more}
    inputs = SimpleNamespace(**vars(made))
    if module in OF_A_RUN:
        inputs.counts, inputs.graph, inputs.events = made.counts[0], made.graph[0], made.events[0]
    return importlib.import_module(f"blackholes.figures.runs.{module}").from_files(inputs, options)


CASES = {  # steps, runs of each experiment
    "short": (300, {"qwen": 3, "normal": 2}),
    "one run": (40, {"qwen": 1}),
    "one step": (1, {"qwen": 2}),
    "one run of one step": (1, {"qwen": 1}),
    "no holes, no increases": (40, {"normal": 2}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, SimpleNamespace]:
    return {name: write_experiments(tmp_path_factory.mktemp("runs"), *case) for name, case in CASES.items()}


def first_experiment(made: SimpleNamespace) -> SimpleNamespace:
    keep = made.names.count(made.names[0])
    return SimpleNamespace(**{k: v[:keep] if isinstance(v, list) else v for k, v in vars(made).items()})


def labels_of(figure) -> list[str]:
    texts = [axes.get_ylabel() or axes.get_title(loc="left") for axes in figure.axes if axes.axison]
    return [text for text in [*texts, figure.get_supylabel()] if text]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("module", MODULES)
def test_draws(module, case, made):
    runs = made[case] if module in ("experiments", "distinct_vectors") else first_experiment(made[case])
    figure = draw(module, runs)
    assert figure.axes
    if case != "short":
        return
    everything = figure.findobj(Text)
    assert all(text.get_fontsize() >= 5 for text in everything if text.get_text())
    if module != "hole_members":  # a table of characters has no axes to name
        units = ("number", "tokens", "nats per token", "embedding units")
        named = [text for text in labels_of(figure) if any(unit in text for unit in units)]
        assert named, labels_of(figure)
        assert any("step" in text.get_text() for text in everything)


@pytest.mark.parametrize("module", MODULES)
def test_same_figure_same_bytes(module, made, tmp_path):
    runs = made["one run of one step"]
    first, second, png = (tmp_path / name for name in ("first.svg", "second.svg", "figure.png"))
    style.save(draw(module, runs), first, png, dpi=50)
    style.save(draw(module, runs), second)
    svg = first.read_bytes()
    assert svg == second.read_bytes()
    assert b"</svg>" in svg
    assert b"<dc:date>" not in svg
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"Software" not in png.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "first.svg", "second.svg"]


def test_same_png_same_bytes(made, tmp_path):
    for name in ("first.png", "second.png"):
        style.save(draw("black_hole_counts", made["short"]), tmp_path / name, dpi=50)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_published_run_stays_small(tmp_path):
    """10,001 steps × 16 runs that change at every step: the largest of the curves, thinned."""
    rng = np.random.default_rng(1)
    slow = np.cumsum(rng.random((16, 10_001)) < 0.01, axis=1)
    noisy = slow + (rng.random((16, 10_001)) < 0.02)
    means = importlib.import_module("blackholes.figures.runs.black_hole_means").draw(noisy, slow, noisy)
    loss = importlib.import_module("blackholes.figures.runs.loss_curves").draw(
        np.arange(1, 10_002), rng.random((16, 10_001))
    )
    for name, figure in {"means": means, "loss": loss}.items():
        style.save(figure, tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").stat().st_size < 2_000_000


@pytest.mark.parametrize("log", [True, False])
def test_thinning_keeps_what_a_column_shows(log):
    rng = np.random.default_rng(3)
    steps = np.arange(5_000)
    values = rng.normal(size=5_000)
    values[1_000:1_500] = np.nan
    values[2_000:3_000] = 4.0
    index = curves.thin(steps, values, log=log, pixels=100)
    kept = values[index]
    assert len(index) < 600
    assert {0, 999, 1_500, 4_999} <= set(index)
    assert np.isnan(kept).any()
    place = np.where(steps < 1, 0.4 * steps, 0.4 + np.log10(np.maximum(steps, 1))) if log else steps
    column = np.floor(place / place[-1] * 100)
    for c in np.unique(column):
        here = values[column == c]
        mine = kept[column[index] == c]
        if not np.isnan(here).any() and len(np.unique(here)) > 1:
            assert (mine.min(), mine.max(), mine[0], mine[-1]) == (here.min(), here.max(), here[0], here[-1])


def test_thinning_a_step_function_keeps_its_changes():
    values = np.repeat([1, 2, 5, 1], [10, 1, 200, 39])
    index = curves.thin(np.arange(250), values)
    held = values[index][np.searchsorted(index, np.arange(250), side="right") - 1]
    assert np.array_equal(held, values)
    assert len(index) < 12


def test_mean_leaves_out_runs_without_a_value():
    mean, deviation = curves.mean_and_deviation(np.array([[1, np.nan, np.nan], [3, 2, np.nan]]))
    assert np.array_equal(mean, [2, 2, np.nan], equal_nan=True)
    assert np.allclose(deviation, [np.sqrt(2), 0, 0])


def test_smoothing_is_the_mean_of_the_neighbourhood():
    steps = np.arange(1, 200)
    values = np.random.default_rng(0).random((2, 199))
    expected = [values[:, (steps >= t / 1.1) & (steps <= 1.1 * t)].mean(1) for t in steps]
    assert np.allclose(curves.smoothed(steps, values), np.transpose(expected))


def test_distribution_adds_up():
    module = importlib.import_module("blackholes.figures.runs.component_sizes")
    classes = module.size_classes(V)
    assert classes[:4] == [(1, 1), (2, 2), (3, 4), (5, 8)]
    labels = np.r_[np.zeros(51, int), 51, 51, np.arange(53, V)]
    tokens, components = module.distribution(labels[None], classes)
    assert tokens.sum() == V
    assert dict(zip(classes, tokens[0], strict=True)) == dict.fromkeys(classes, 0) | {
        (1, 1): 75,
        (2, 2): 2,
        (33, 64): 51,
    }
    assert components[0].tolist() == [75, 1, 0, 0, 0, 0, 1, 0]


def test_holes_keep_their_colours_and_names_fit():
    module = importlib.import_module("blackholes.figures.runs.hole_members")
    labels = canonical(np.stack([np.zeros(V, int), np.arange(V) // 2]))
    colours = module.hole_colours(labels)
    assert colours[0] == style.HOLES[0]
    assert set(colours.values()) == {*style.HOLES, style.SMALL_HOLES}
    names = [module.short_name(character(token)) for token in range(160)]
    assert [names[0], names[9], names[10], names[32], names[36], names[127]] == ["NUL", "TAB", "LF", "SP", "$", "DEL"]
    assert module.short_name(" ") == "SP"
    assert max(map(len, names)) <= 4


def test_colours_are_distinct():
    colours = [*style.COLOURS.values(), *style.EXPERIMENTS]
    assert len(set(colours)) == len(colours)


def test_figures_import_no_torch():
    names = ", ".join(f"blackholes.figures.runs.{module}" for module in MODULES)
    check = f"import sys; import {names}; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=FIGURES.parents[1])


def test_bad_files_are_named(made, tmp_path):
    broken = tmp_path / "black_hole_counts.safetensors"
    broken.write_bytes(b"no tensors here")
    with pytest.raises(UserError, match=r"black_hole_counts\.safetensors"):
        data.read_series([broken], ["counts"])
    with pytest.raises(UserError, match="no tensor 'missing'"):
        data.read_series(data.paths(made["one run"].counts), ["missing"])
    with pytest.raises(UserError, match="no column 'step'"):
        data.read_losses(data.paths(made["one run"].tokens))
    with pytest.raises(UserError, match=r"1 rows|2 rows"):
        data.read_series([Path(made[case].counts[0]) for case in ("one run", "one step")], ["counts"])


def test_key_steps():
    assert data.key_steps({"key_steps": [100, 0, 10]}, 50) == [0, 10]
    assert data.key_steps({"key_steps": [100]}, 50) == [50]
    assert data.key_steps({"key_steps": [10, "last", 1000]}, 50) == [10, 50]
    assert data.key_steps({}, 120) == [0, 1, 10, 100, 120]


def test_the_title_says_what_limits_a_figure():
    figure, _ = style.panels(1, 1, (4, 3), "qwen, 2 runs")
    style.qualify(figure, "equal after rounding to bfloat16")
    assert figure.get_suptitle() == "qwen, 2 runs\nequal after rounding to bfloat16"
    figure, _ = style.panels(1, 1, (4, 3))
    style.qualify(figure, "a note")
    assert figure.get_suptitle() == "a note"


@pytest.mark.parametrize("width", [4, 7.2])
def test_a_long_title_stays_inside_the_figure(width):
    figure, _ = style.panels(1, 1, (width, 3), style.heading("an_experiment", 16, "Mean and maximum of all holes"))
    style.qualify(figure, "an_experiment, another_experiment: vectors equal after rounding to bfloat16; not shown: x")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert figure._suptitle.get_window_extent(canvas.get_renderer()).x1 <= figure.bbox.x1
    assert "an_experiment, 16 runs: Mean" in figure.get_suptitle()


@pytest.mark.parametrize("module", ["loss_curves", "black_hole_counts", "black_hole_means", "centroid"])
def test_titles_say_what_is_shown(module, made):
    """Not the experiment and the number of runs alone, as figures of one experiment would all have it."""
    title = draw(module, first_experiment(made["one step"])).get_suptitle()
    assert re.fullmatch(r"qwen, \d+ runs?: \w.+", title)


@pytest.mark.parametrize(("precision", "times"), [("bf16", 0), ("mixed", 13), ("fp32", 13)])
def test_every_figure_and_table_has_a_caption_that_renders(precision, times):
    from docutils.core import publish_parts
    from jinja2 import Template

    captions = FIGURES.parents[2] / "report"
    assert {*MODULES, "workflow", "summary", "increases", "tokens"} <= {path.stem for path in captions.glob("*.rst")}
    places = ("checkpoint", "snowball", "lattice", "corpus")
    snakemake = SimpleNamespace(
        wildcards=SimpleNamespace(experiment="qwen", run="001", **dict.fromkeys(places, "a")),
        config={"experiments": {"qwen": {"precision": precision}}},
    )
    said = 0
    for path in captions.glob("*.rst"):
        text = Template(path.read_text(encoding="utf-8")).render(snakemake=snakemake)
        publish_parts(text, writer="html", settings_overrides={"halt_level": 2, "report_level": 5})
        said += "equal after rounding to bfloat16" in text
    assert said == times  # figures and tables that speak of equal vectors


@pytest.mark.parametrize("number", [1, 2, 7, 13])
def test_the_legend_of_many_experiments_stays_inside_the_figure(number):
    runs = np.ones((2, 30))
    results = {f"an_experiment_with_a_long_name_{n}": {"n_unique": runs, "counts": runs} for n in range(number)}
    figure = distinct_vectors.draw(results)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    legend = figure.legends[-1]
    box, page = legend.get_window_extent(canvas.get_renderer()), figure.bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert len(figure.legends) == 1
    assert [text.get_text().split(":")[0] for text in legend.get_texts()] == list(results)
    looks = {(style.experiment_colour(index), style.experiment_dashes(index)) for index in range(number)}
    assert len(looks) == number
    assert all(axes.get_window_extent().height > page.height / 5 for axes in figure.axes)
