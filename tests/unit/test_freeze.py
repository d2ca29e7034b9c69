"""The law of the next weights checked from files, freeze.csv and its series, against one coordinate at a time."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.kernels import backends, bf16
from blackholes.runs import force_series, forces
from blackholes.training import engine, model
from blackholes.training import forces as recording
from safetensors.torch import load_file
from stacked_runs import CORPUS, SHAPE, settings_of

STEPS, V, D = 25, 20, 16
FORCES = "forces.safetensors"
SLOW = {"learning_rate": 3e-4, "weight_decay": 0.1}  # so slow that coordinates stall
SGD = {"optimizer": "sgd", "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.1}
RUNS = {  # name → changes
    "bf16": SLOW,
    "bf16 torch": SLOW | {"engine": "torch"},
    "summary": SLOW | {"forces": "summary"},
    "sgd": SGD,
    "mixed": SLOW | {"precision": "mixed"},
    "mixed sgd": {"precision": "mixed", "optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 0.1},
    "mixed summary": SLOW | {"precision": "mixed", "forces": "summary"},
    "stochastic": SLOW | {"rounding": {"weights": "stochastic", "state": "stochastic"}},
    "stochastic sgd torch": SGD | {"rounding": {"weights": "stochastic"}, "engine": "torch"},
    "kahan": SLOW | {"compensation": "kahan"},
    "kahan torch": SLOW | {"compensation": "kahan", "engine": "torch"},
    "kahan sgd": SGD | {"compensation": "kahan"},
    "untied summary": SLOW | {"model": replace(SHAPE, tied=False), "forces": "summary"},
    "fp32 torch": SLOW | {"precision": "fp32", "engine": "torch"},
}


def paths(folder):
    names = ("embedding_evolution.safetensors", FORCES, "training_log.csv", "model.safetensors")
    return forces.Files(*(str(folder / name) for name in names), str(folder.parent / "tokens.safetensors"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, settings) of runs by name; tokens 18 and 19 are dead."""
    root, found = tmp_path_factory.mktemp("trained"), {}
    counts = np.bincount(CORPUS, minlength=V)
    corpus = root / "tokens.safetensors"
    write_tensors(corpus, {"token_ids": CORPUS, "token_counts": counts, "dead_mask": counts == 0})
    with backends.one_thread():
        for number, (name, changes) in enumerate(RUNS.items()):
            folder = root / f"run_{number:03d}"
            kind = changes.get("forces", "full")
            own = {key: value for key, value in changes.items() if key != "forces"}
            (settings,) = settings_of([1], **{"precision": "bf16", "init": "qwen", "steps": STEPS} | own)
            settings = replace(settings, forces=kind)
            made = paths(folder)
            files = engine.RunFiles(
                *(folder / file for file in ("embedding_evolution.safetensors", "training_log.csv", "config.json")),
                folder / "model.safetensors",
                folder / FORCES,
            )
            engine.write_runs(str(corpus), [files], [settings], metadata={"made": "here"})
            found[name] = (made, settings)
    return found


def check(made, settings, out, budget=1.0):
    rule = recording.rule(settings, forces.device(made.forces))
    return forces.write(made, rule, str(out / "freeze.csv"), str(out / "law.csv"), budget)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", RUNS)
def test_freeze_against_one_coordinate_at_a_time(tmp_path, trained, name):
    made, settings = trained[name]
    dead, last = check(made, settings, tmp_path, budget=1e-5)  # a step at a time
    table, law = rows(tmp_path / "freeze.csv"), {row["check"]: row for row in rows(tmp_path / "law.csv")}
    full, wide = settings.forces == "full", settings.precision != "bf16"
    assert [row["mismatches"] for row in law.values()] == ["0"] * len(law)
    assert ("next weights" in law, "last weights" in law) == (full, full and wide)
    if full:
        assert int(law["next weights"]["checked"]) == STEPS * V * D
    with open_tensors(made.forces) as file:
        tensors = {key: file.rows(key).double().numpy() for key in file.keys()}  # noqa: SIM118
    history = load_file(made.history)["embedding_history"].float().numpy()
    rate = [float(row["learning_rate"]) for row in rows(made.log)]
    assert list(dead) == [False] * 18 + [True] * 2
    weights = tensors["start"] if full and wide else None
    stalled = np.zeros((V, D), bool)
    for t in range(STEPS if full else 0):
        before = weights if wide else history[t]
        u = tensors["intended_full"][t]
        after = np.float32(before + u) if wide else history[t + 1]  # near enough: for whether it moves
        for k in range(V):
            for d in range(D):
                still = np.float32(after[k, d]) == np.float32(before[k, d])
                stalled[k, d] |= bool(u[k, d] != 0 and still)
        weights = after
    for k, row in enumerate(table):
        steps = range(1, STEPS + 1)
        moved = [t for t in steps if tensors["realised"][t - 1, k] > 0]
        if not wide:
            assert moved == [t for t in steps if (history[t, k] != history[t - 1, k]).any()]
        meant = [t for t in steps if tensors["intended_cells"][t - 1, k] > 0.5]
        assert int(row["token_id"]) == k
        assert row["dead"] == str(int(k >= 18))
        assert int(row["last_realised"]) == last[k] == max(moved, default=0)
        assert int(row["last_intended"]) == max(meant, default=0)
        assert row["mispredicted"] == "0"
        if full and not wide:
            assert int(row["dimensions_never_stalled"]) == D - stalled[k].sum()
        if wide and full:
            assert abs(int(row["dimensions_never_stalled"]) - D + stalled[k].sum()) <= 1
        if wide and not full:
            assert row["dimensions_never_stalled"] == ""
        assert row["held_by"] == held_by(tensors, rate, k, max(moved, default=0))


def held_by(tensors, rate, k, last):
    after = range(last, STEPS)
    if last == STEPS:
        return ""
    if any(max(tensors["adam_cells"][t, k], tensors["decay_cells"][t, k]) > 0.5 for t in after):
        return "both"
    if any(tensors["intended_cells"][t, k] * max(rate) / rate[t] > 0.5 for t in after):
        return "learning rate"
    adam, decay = (sum(tensors[name][t, k] for t in after) for name in ("adam", "decay"))
    return "gradient" if adam >= decay else "decay"


def test_a_summary_says_as_much_of_a_run_as_full_forces_do(tmp_path, trained):
    """The same run recorded in both ways; and runs of other rates are held by other things."""
    tables = []
    for name in ("bf16", "summary"):
        (tmp_path / name).mkdir()
        check(*trained[name], tmp_path / name)
        tables.append(rows(tmp_path / name / "freeze.csv"))
    assert tables[0] == tables[1]
    assert {row["held_by"] for row in tables[0]} - {""}


@pytest.mark.parametrize("case", ["both", "learning rate", "gradient", "decay"])
def test_what_holds_a_token(tmp_path, case):
    """Ten steps of two tokens; the first moves last at step 3, the second at step 10."""
    rates = np.linspace(1e-3, 1e-4, 10)
    cells = {name: np.full((10, 2), 0.01) for name in ("intended_cells", "adam_cells", "decay_cells", "adam", "decay")}
    cells["decay_cells"][:3] = cells["intended_cells"][:3] = 9  # before its last move: of no account
    if case == "both":
        cells["adam_cells"][5], cells["decay_cells"][5] = 0.7, 0.6
    elif case == "learning rate":
        cells["intended_cells"][9] = 0.06
    else:
        cells["adam"][4] += 0.1 if case == "gradient" else -0.005
    with backends.one_thread():
        write_tensors(tmp_path / FORCES, {name: torch.zeros(10, 2) for name in forces._FORCES} | {
            name: torch.from_numpy(values).float() for name, values in cells.items()
        })  # fmt: skip
    with open_tensors(tmp_path / FORCES) as file:
        for length in (1, 4, 10):
            assert forces._held_by(file, np.array([3, 10]), rates, length) == [case, ""]


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("bf16", "term_full", r"next weights: 1 of 8,000 differ .* the first at step 4, token 2, dimension 5"),
        ("mixed", "term_full", r"next weights: \d+ of 8,000 differ .* the first at step 4, token 2, dimension 5"),
        ("summary", "realised", r"realised norms: 1 of 500 differ .* the first at step 4, token 2"),
        ("summary", "decay", r"decay norms: 1 of 500 differ .* the first at step 4, token 2"),
        ("summary", "stalled", r"stalled shares: 1 of 500 differ .* the first at step 4, token 2"),
        ("summary", "intended_cells", r"moves by the largest intended move: 1 of \d+ differ"),
        ("mixed summary", "probability", r"probabilities: 1 of 25 differ .* the first at step 4"),
    ],
)
def test_a_fault_in_the_forces_is_found(tmp_path, trained, name, harm, said):
    made, settings = trained[name]
    with open_tensors(made.forces) as file:
        tensors = {key: file.rows(key).clone() for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata
    place = (3, 2, 5) if harm == "term_full" else (3, 2)
    tensors[harm][place] += {"term_full": 0.1, "stalled": 1.0, "intended_cells": 0}.get(harm, 0.01)
    if harm == "intended_cells":
        tensors[harm][place] = 0.1  # where it moves
    write_tensors(tmp_path / FORCES, tensors, metadata)
    with pytest.raises(UserError, match=said) as caught:
        check(replace(made, forces=str(tmp_path / FORCES)), settings, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / FORCES}: ")
    assert not (tmp_path / "freeze.csv").exists()


def test_the_weights_at_the_end_have_to_be_the_models(tmp_path, trained):
    made, settings = trained["mixed"]
    tensors = load_file(made.model)
    tensors[model.EMBEDDING][1, 2] += 2**-20
    write_tensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(UserError, match=r"last weights: 1 of 320 differ .* the first at token 1, dimension 2"):
        check(replace(made, model=str(tmp_path / "model.safetensors")), settings, tmp_path)


def test_forces_of_another_run_are_refused(tmp_path, trained):
    made, settings = trained["bf16"]
    other = {name: torch.zeros(STEPS, V - 1) for name in forces._FORCES}
    write_tensors(tmp_path / FORCES, other)
    with pytest.raises(UserError, match=rf"{FORCES}: tensor 'adam' is F32 \(25, 19\), expected F32 \(25, 20\)"):
        check(replace(made, forces=str(tmp_path / FORCES)), settings, tmp_path)


def test_series_against_plain_loops(tmp_path, trained):
    made, _ = trained["summary"]
    dead = np.arange(V) >= 15
    force_series.write(made.history, made.forces, dead, 3, str(tmp_path / "s"), {"a": "b"}, budget_gb=1e-5)
    with open_tensors(tmp_path / "s") as file:
        found = {key: file.rows(key).numpy() for key in file.keys()}  # noqa: SIM118
        assert file.metadata == {"a": "b", "token": "3"}
    rows_of = {key: value.numpy() for key, value in load_file(made.forces).items()}
    history = load_file(made.history)["embedding_history"].double().numpy()
    for t in range(STEPS):
        moves = history[t + 1, dead] - history[t, dead]
        moving = [move for move in moves if np.linalg.norm(move) > 0]
        assert found["movers"][t] == len(moving)
        unit = [move / np.linalg.norm(move) for move in moving]
        pairs = [a @ b for i, a in enumerate(unit) for b in unit[:i]]
        hidden = rows_of["hidden_mean"][t] / np.linalg.norm(rows_of["hidden_mean"][t])
        along = [a @ hidden for a in unit]
        for key, values in (("mutual", pairs), ("with_hidden", along)):
            expected = np.mean(values) if values else np.nan
            assert found[key][t] == pytest.approx(expected, abs=1e-6, nan_ok=True)
        for group, mask in (("dead", dead), ("live", ~dead)):
            for name in force_series.MEANS:
                assert found[f"{group}_mean_{name}"][t] == pytest.approx(rows_of[name][t, mask].mean(), rel=1e-5)
            for name in force_series.SPREAD:
                ordered, n = sorted(rows_of[name][t, mask]), mask.sum()
                at = [ordered[int(np.ceil(n * p / 100)) - 1] for p in (10, 50, 90)]
                assert found[f"{group}_{name}"][t].tolist() == [float(value) for value in at]
        for name in force_series.OF_ONE:
            assert found[f"token_{name}"][t] == rows_of[name][t, 3]
    force_series.write(made.history, made.forces, np.zeros(V, bool), 3, str(tmp_path / "none"), {})
    with open_tensors(tmp_path / "none") as file:
        assert file.rows("dead_mean_adam").isnan().all()
        assert file.rows("mutual").isnan().all()
        assert not file.rows("movers").any()


def test_the_token_that_is_shown():
    dead = np.array([True, False, False, True])
    assert forces.shown_token(dead, np.array([9, 3, 5, 7])) == 2
    assert forces.shown_token(~dead & dead, np.array([9, 3, 5, 7])) == 0
    assert forces.shown_token(dead | ~dead, np.array([1, 3, 5, 7])) == 3


def test_half_a_cell_is_what_moves():
    """Every finite weight with a normal ULP: a little more than half a cell moves it, less than a quarter does not."""
    weights = torch.arange(0, 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    weights = weights[weights.float().isfinite() & (weights.float().abs() > 1e-30) & (weights.float().abs() < 1e30)]
    ulp = bf16.ulp(weights)
    for sign in (1, -1):
        wide, narrow = weights.float() + sign * 0.501 * ulp, weights.float() + sign * 0.249 * ulp
        assert (wide.bfloat16() != weights).all()
        assert (narrow.bfloat16() == weights).all()
