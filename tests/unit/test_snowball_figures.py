"""Figures of snowballs, from small and degenerate sweeps: drawn, named, and the same bytes twice.

What is drawn: test_plotted_data.py.
"""

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from blackholes.artifacts.tensors import write_tensors
from blackholes.checkpoints import overdensity
from blackholes.errors import UserError
from blackholes.figures import style
from blackholes.snowballs import sweep as snowballs
from matplotlib.text import Text

MODULES = ["snowball_sweep", "z_scores", "snowball_elements"]
CASES = {  # populations of the checkpoint's holes (none: no checkpoint), σ, trials
    "several holes": ([9, 5, 2], ["within", "global", 1e-4, 1e-3, 1e-2], 5),
    "one hole": ([9], ["within", "global", 1e-3, 10.0], 5),
    "no spread at all": ([9], ["within"], 1),
    "no noise": ([], [0.0], 1),
    "no checkpoint": ([], [1e-5, 1e-2], 3),
    "one token": ([], [0.0, 1.0], 2),
}


def write_sweep(folder, populations, sigmas, trials, n_tokens=8):
    generator = torch.Generator().manual_seed(0)
    settings = {"centroid": {"dim": 6, "norm": 1.0, "seed": 0}, "n_tokens": n_tokens, "epsilon": "auto", "seed": 1}
    path = embedding = None
    if populations:
        W = torch.randn(6, generator=generator).bfloat16().repeat(sum(populations), 1)
        for number, rows in enumerate(W.split(populations)):
            rows[:, number] += 2**-5 * number
        path, embedding = str(folder / "c.safetensors"), str(folder / "W.safetensors")
        ids = {"n_tokens": torch.tensor(len(W)), "token_ids": torch.arange(len(W))}
        write_tensors(path, overdensity.statistics(W) | ids)
        write_tensors(embedding, {"W": W})
    labels = [str(sigma) for sigma in sigmas]
    for label, sigma in zip(labels, sigmas, strict=True):
        snowballs.write_trials(path, settings, sigma, trials, str(folder / f"{label}.csv"))
    made = SimpleNamespace(
        trials=str(folder / "trials.csv"),
        scores=str(folder / "z_scores.csv"),
        elements=str(folder / "elements.safetensors"),
    )
    tables = [str(folder / f"{label}.csv") for label in labels]
    snowballs.write_sweep(path, embedding, settings, tables, labels, labels[-1], *vars(made).values())
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
    for text in ("within", "global", "checkpoint: 16", "checkpoint: 3", "(tokens)", "σ (logarithmic)"):
        assert (text in sweep) == (text != "checkpoint: 16"), text
    assert "0 at the left end" in words(draw("snowball_sweep", made["one hole"]))
    assert "checkpoint" not in words(draw("snowball_sweep", made["no checkpoint"]))
    assert "no spread to show" in words(draw("snowball_elements", made["one hole"]))
    assert "skewness" in words(draw("snowball_elements", made["several holes"]))
    assert "no checkpoint to compare with" in words(draw("z_scores", made["no checkpoint"]))
    assert "∞" in words(draw("z_scores", made["one hole"]))


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
