"""Figures of snowballs, from small and degenerate sweeps: drawn, named, and the same bytes twice.

What is drawn: test_plotted_data.py.
"""

import importlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from blackholes.artifacts.tensors import write_tensors
from blackholes.checkpoints import overdensity
from blackholes.errors import UserError
from blackholes.figures import style
from blackholes.figures.snowballs import sigma_axis, snowball_elements, snowball_sweep
from blackholes.snowballs import latent, permutations, sweep, trials
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

MODULES = ["snowball_sweep", "snowball_singletons", "snowball_permutation", "z_scores", "snowball_elements"]
CASES = {  # populations of the checkpoint's holes (none: no checkpoint; of one token each: no hole), σ, trials
    "several holes": ([9, 5, 2], ["within", "global", "latent", 1e-4, 1e-3, 1e-2], 5),
    "one hole": ([9], ["within", "global", "latent", 1e-3, 10.0], 5),
    "no spread at all": ([9], ["within"], 1),
    "no hole": ([1] * 9, ["within", "global", 1e-3], 3),
    "the range of holes": ([9, 5, 2], ["holes_1of3", "holes_2of3", "holes_3of3"], 2),
    "no noise": ([], [0.0], 1),
    "no checkpoint": ([], [1e-5, 1e-2], 3),
    "one token": ([], [0.0, 1.0], 2),
}


def write_sweep(folder, populations, sigmas, number, n_tokens=8):
    generator = torch.Generator().manual_seed(0)
    settings = {"centroid": {"dim": 6, "norm": 1.0, "seed": 0}, "n_tokens": n_tokens, "epsilon": "auto", "seed": 1}
    path = embedding = None
    made = SimpleNamespace(
        **{name: str(folder / f"{name}.csv") for name in ("trials", "scores", "test")},
        elements=str(folder / "elements.safetensors"),
        latent=[],
    )
    clouds = []
    if populations:
        W = torch.randn(6, generator=generator).bfloat16().repeat(sum(populations), 1)
        if set(populations) == {1}:
            W, populations = torch.randn(len(W), 6, generator=generator).bfloat16(), []
        for place, rows in enumerate(W.split(populations) if populations else []):
            rows.view(torch.int16)[:, place] += int(place > 0)  # all within a cell of the first
        path, embedding, centroid = (str(folder / f"{name}.safetensors") for name in ("latent", "W", "c"))
        ids = {"n_tokens": torch.tensor(len(W)), "token_ids": torch.arange(len(W))}
        write_tensors(
            centroid, overdensity.statistics(W) | ids | {"populations": torch.tensor(populations, dtype=torch.int64)}
        )
        write_tensors(embedding, {"W": W})
        latent.write(centroid, embedding, path)
        made.latent = path
        clouds = [str(folder / "clouds.csv")]
        permutations.write(path, embedding, settings, 30, (0, 1), clouds[0])
    tables = {str(sigma): str(folder / f"{sigma}.csv") for sigma in sigmas}
    for sigma in sigmas:
        trials.write(path, settings, sigma, number, tables[str(sigma)])
    out = sweep.Outputs(made.trials, made.scores, made.elements, made.test)
    sweep.write(path, embedding, settings, tables, str(sigmas[-1]), 30, clouds, out)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return {
        name: write_sweep(tmp_path_factory.mktemp("sweep"), *case, n_tokens=1 if name == "one token" else 8)
        for name, case in CASES.items()
    }


def draw(module, made):
    return importlib.import_module(f"blackholes.figures.snowballs.{module}").from_files(made, {"snowball": "trained"})


def words(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("module", MODULES)
def test_draws(module, case, made):
    figure = draw(module, made[case])
    figure.draw_without_rendering()
    assert all(text.get_fontsize() >= 5 for text in figure.findobj(Text) if text.get_text())
    assert "trained" in words(figure)


@pytest.mark.parametrize("module", MODULES)
def test_same_figure_same_bytes(module, made, tmp_path):
    for name in ("first", "second"):
        style.save(draw(module, made["one token"]), tmp_path / f"{name}.svg", tmp_path / f"{name}.png", dpi=50)
    for kind in ("svg", "png"):
        assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()


def test_the_labels(made):
    sweep = words(draw("snowball_sweep", made["several holes"]))
    for text in ("within", "global", "latent", "holes: 16", "holes: 3", "(tokens)", "95 % interval of the latent σ"):
        assert (text in sweep) == (text != "holes: 16"), text
    assert "checkpoint" not in words(draw("snowball_sweep", made["no checkpoint"]))
    assert "holes about their mean (σ within), since all are equal" in words(
        draw("snowball_elements", made["one hole"])
    )
    equal = {"snowball": {"moments": np.zeros(4)}}
    assert "no spread to show" in words(snowball_elements.draw(equal, "0", 0.0, 1, "trained"))
    assert "skewness" in words(draw("snowball_elements", made["several holes"]))
    assert "no checkpoint to compare with" in words(draw("z_scores", made["no checkpoint"]))
    assert "∞" in words(draw("z_scores", made["one hole"]))
    assert "no permutations: all 9 tokens" in words(draw("z_scores", made["one hole"]))
    assert "permuted,\n16" in words(draw("z_scores", made["several holes"]))
    assert "permutations of the\n16 tokens" in words(draw("snowball_singletons", made["several holes"]))
    assert "permutations of" not in words(draw("snowball_singletons", made["one hole"]))
    assert "not tested: all 9 tokens" in words(draw("snowball_permutation", made["one hole"]))
    assert "not tested: there is no checkpoint" in words(draw("snowball_permutation", made["no checkpoint"]))
    assert "joint p" in words(draw("snowball_permutation", made["several holes"]))


def test_a_checkpoint_without_a_hole_has_no_tokens_of_holes(made):
    """Its box stands in for them, and no figure says that there are holes."""
    for module in ("snowball_sweep", "snowball_elements", "z_scores"):
        assert "checkpoint's box (no hole)" in words(draw(module, made["no hole"])), module
        assert "checkpoint's holes" not in words(draw(module, made["no hole"])), module
        assert "checkpoint's holes" in words(draw(module, made["several holes"])), module


def test_an_interval_too_narrow_to_be_seen_has_no_patch_in_the_legend(made):
    table = pd.read_csv(made["several holes"].trials)
    table = table[table["label"] != "permutation"]
    sigma = float(table["sigma"].max())
    for high, words in ((1.0001, "too narrow to be seen"), (100, "95 % interval of the latent σ")):
        figure = snowball_sweep.draw(table, {}, {}, (sigma / high, sigma), "one")
        (legend,) = figure.legends
        assert legend.texts[-1].get_text().endswith(words)
        assert isinstance(legend.legend_handles[-1], Rectangle) == (high > 2)


def test_no_column_is_empty(made):
    for case in ("one hole", "several holes"):
        figure = draw("snowball_elements", made[case])
        assert all(axes.lines for axes in figure.axes)
        assert len(figure.axes) == {"one hole": 4, "several holes": 6}[case]


@pytest.mark.parametrize("case", CASES)
def test_no_text_lies_over_another(case, made):
    """Titles, ticks and names of σ, in every panel of the two figures over σ."""
    for module in ("snowball_sweep", "snowball_singletons"):
        figure = draw(module, made[case])
        figure.draw_without_rendering()
        for axes in figure.axes:
            texts = [*axes.texts, axes._left_title, axes.xaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
            boxes = [(text, text.get_window_extent()) for text in texts if text.get_text() not in ("", "⁄")]
            for k, (one, box) in enumerate(boxes):
                for other, second in boxes[:k]:
                    assert not (box.shrunk(0.98, 0.9).overlaps(second.shrunk(0.98, 0.9))), (one, other)


# ---- the axis of σ ------------------------------------------------------------------------------------------------


def test_sigmas_keep_their_order_and_their_decades():
    sigmas = np.array([0.0, 2e-9, 1e-8, 5e-8, 3e-3])
    layout = sigma_axis.Layout(sigmas)
    places = layout.place(sigmas)
    assert (np.diff(places) > 0).all()
    assert np.allclose(np.diff(places[1:4]), np.diff(np.log10(sigmas[1:4])))
    assert len(layout.breaks) == 1
    assert places[3] < layout.breaks[0] < places[4]
    assert places[4] - places[3] == pytest.approx(layout.unit)
    assert places[0] < float(layout.place(1e-12)) < float(layout.place(1e-9)) < places[1]
    assert float(layout.place(1.0)) > places[4]


@pytest.mark.parametrize("sigmas", [[0.0], [3e-5], [0.0, 3e-5], [6e-5, 8e-5, 2.3e-4], [1e-6, 1.0], [1e-9, 1e-8, 1e-7]])
def test_every_axis_has_ticks(sigmas):
    axes = Figure().subplots()
    sigma_axis.draw(axes, sigma_axis.Layout(np.array(sigmas)), named=True)
    ticks = axes.xaxis.get_major_locator()()
    assert len(ticks) == len(set(np.round(ticks, 6))) >= min(2, len(sigmas))
    low, high = axes.get_xlim()
    assert all(low < tick < high for tick in ticks)


def test_numbers_that_would_overlap_are_left_out():
    """As of a published checkpoint without a hole, whose σ lie far above those that make holes."""
    axes = Figure(figsize=(3.7, 3)).subplots()
    sigma_axis.draw(axes, sigma_axis.Layout(np.array([*np.geomspace(4.36e-8, 5.51e-5, 9), 0.0146, 0.0918])), named=True)
    axes.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(boxes) == 4
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))


def test_names_that_would_overlap_go_into_lines_of_their_own():
    axes = Figure(figsize=(3.5, 2.5)).subplots()
    layout = sigma_axis.Layout(np.array([1e-9, 1e-8, 1e-7]))
    sigma_axis.draw(axes, layout, named=True)
    assert sigma_axis.mark(axes, layout, {"within": 1e-9, "latent": 1.1e-9, "global": 5e-8}, named=True) == 2
    lines = {text.get_text(): text.xyann[1] for text in axes.texts if text.get_text() != "⁄"}
    assert lines["within"] == lines["global"] > lines["latent"]
    axes = Figure(figsize=(3.5, 2.5)).subplots()
    sigma_axis.draw(axes, layout, named=True)
    assert sigma_axis.mark(axes, layout, {"within": 1e-9, "latent": 1e-9}, named=True) == 1
    assert "within, latent" in [text.get_text() for text in axes.texts]


def test_figures_import_no_torch():
    modules = ", ".join(f"blackholes.figures.snowballs.{module}" for module in MODULES)
    check = f"import sys; import {modules}; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(style.__file__).parents[2])


def test_bad_files_are_named(made, tmp_path):
    empty = tmp_path / "z_scores.csv"
    empty.write_text("label,sigma\n")
    with pytest.raises(UserError, match=r"z_scores\.csv: no column 'statistic'"):
        draw("z_scores", SimpleNamespace(scores=str(empty)))
    with pytest.raises(UserError, match=r"z_scores\.csv: cannot be read as safetensors"):
        draw("snowball_elements", SimpleNamespace(elements=str(empty)))
