"""Figures of a history's motion, from synthetic tables: they are drawn, also where there is next to nothing to draw.

What is drawn: test_plotted_data.py.
"""

import importlib
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from blackholes.errors import UserError
from blackholes.figures import style
from blackholes.figures.lattice import lattice_data, lattice_phases, lattice_raster
from matplotlib.text import Text
from safetensors.numpy import save_file

MODULES = [f"lattice_{name}" for name in ("percentiles", "phases", "motion", "raster", "crossings")]
PERCENTILES = ["50", "90", "95", "99", "99.9"]
D = 6


def made(folder, steps=400, tokens=50, groups=("dead", "live"), still=False, far=False):
    """The three files that the figures read."""
    random = np.random.default_rng(0)
    rows = []
    for t in range(1, steps + 1):
        for name in groups:
            norms = np.sort(1000 / t ** (1 + (name == "dead")) * random.lognormal(0, 0.5, 5)) * (not still)
            norms = np.where(norms < 0.3, 0, norms)
            norms[-1] = 65278 * math.sqrt(D) if far and t % 7 == 0 else norms[-1]  # the farthest possible
            rows.append((t, name, tokens, *norms, int(random.integers(0, 9) * (t < steps / 2) * (not still))))
    columns = ["step", "tokens", "number", *(f"percentile_{p}" for p in PERCENTILES), "exponent_crossings"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "displacement_per_step.csv", index=False)
    ends = np.sort(random.integers(0, steps + 1, (tokens * len(groups), 3)), axis=1) * (not still)
    status = np.repeat([{"all": "unknown"}.get(name, name) for name in groups], tokens)
    first = (ends[:, 2] > 0).astype(int)
    table = {"token_id": range(len(ends)), "status": status, "first_motion": first}
    table |= dict(zip(lattice_data.PHASES, ends.T, strict=True))
    pd.DataFrame(table).to_csv(folder / "lifecycle.csv", index=False)
    moves = np.round(random.standard_normal((steps, D)) * np.geomspace(1e4, 0.1, steps)[:, None]).astype(np.int32)
    save_file({"delta_ordinal": moves * (not still)}, folder / "raster.safetensors", {"raster_token": "0"})
    files = {"steps": "displacement_per_step.csv", "lifecycle": "lifecycle.csv", "raster": "raster.safetensors"}
    return SimpleNamespace(**{kind: str(folder / name) for kind, name in files.items()})


def draw(module, files):
    return importlib.import_module(f"blackholes.figures.lattice.{module}").from_files(files, {"lattice": "qwen"})


CASES = {
    "usual": {},
    "tokens not told apart": {"groups": ("all",)},
    "no dead token": {"groups": ("live",), "tokens": 1},
    "one step": {"steps": 1, "tokens": 2},
    "nothing moves": {"still": True},
    "far": {"far": True},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("module", MODULES)
def test_draws(module, case, tmp_path):
    figure = draw(module, made(tmp_path, **CASES[case]))
    if case in ("usual", "far"):
        style.save(figure, tmp_path / "figure.svg")
        assert (tmp_path / "figure.svg").stat().st_size < 1_000_000
    else:
        figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert all(text.get_fontsize() >= 5 for text in texts)
    assert any("step" in text.get_text() for text in texts)
    assert any(word in text.get_text() for text in texts for word in ("cells", "%"))
    if case == "usual" and module != "lattice_raster":
        assert {"50 dead tokens", "50 live tokens"} & {
            text.get_text().split(":")[0].removeprefix("percentiles over ") for text in texts
        }


@pytest.mark.parametrize("module", MODULES)
def test_same_figure_same_bytes(module, tmp_path):
    files = made(tmp_path, steps=30)
    for name in "ab":
        style.save(draw(module, files), tmp_path / f"{name}.svg", tmp_path / f"{name}.png", dpi=50)
    for kind in ("svg", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_shares_of_phases():
    table = pd.DataFrame({"early": [0, 2, 3, 5], "midlife": [1, 2, 4, 5], "late": [1, 2, 5, 5]})
    found = lattice_phases.shares(table, 5)
    for t in range(6):
        phases = []
        for early, midlife, late in table.to_numpy():
            phases.append(0 if t < early else 1 if t < midlife else 2 if t < late else 3)
        assert found[:, t].tolist() == [phases.count(phase) / 4 for phase in range(4)]


def test_columns_of_the_raster():
    moves = np.random.default_rng(0).integers(-9, 9, (300, 4)).astype(float)
    edges, values = lattice_raster.columns(moves, 50)
    assert (edges[0], edges[-1]) == (0.5, 300.5)
    for column, (low, high) in enumerate(pairwise(edges)):
        inside = moves[int(low + 0.5) - 1 : int(high + 0.5) - 1]
        assert np.array_equal(np.abs(values[:, column]), np.abs(inside).max(0))
    assert np.array_equal(lattice_raster.columns(moves[:1])[1], moves[:1].T)


def test_a_running_median_ignores_a_single_jump():
    steps = np.arange(1, 201)
    values = np.where(steps == 100, 1e30, 200.0 - steps)
    found = lattice_data.running_median(steps, values)
    expected = [np.median(values[(steps >= t / 1.1) & (steps <= t * 1.1)]) for t in steps]
    assert np.array_equal(found, expected)
    assert found[99] < 200


def test_bad_files_are_named(tmp_path):
    files = made(tmp_path, steps=3)
    save_file({"delta_ordinal": np.zeros((3, 2), np.int32)}, files.raster)
    with pytest.raises(UserError, match=r"raster\.safetensors: no raster in it; expected"):
        draw("lattice_raster", files)
    (tmp_path / "displacement_per_step.csv").write_text("step\n1\n")
    with pytest.raises(UserError, match=r"displacement_per_step\.csv: no column 'tokens'"):
        lattice_data.read_steps(files.steps)
