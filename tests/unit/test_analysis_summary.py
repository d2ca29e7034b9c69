"""The tables over the runs against pandas."""

import numpy as np
import pandas as pd
import pytest
import torch
from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.runs import summary
from helpers import names

LOG = ["step", "loss", "grad_norm", "learning_rate"]
STEPS = [0, 1, 2, 5, 10, 20]
LAST = 20


def make_run(folder, seed, last=LAST):
    """Files of one run, and all its numbers as a long table."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    log = random.normal(size=(last, 3))
    write_table(folder / "log.csv", LOG, [(step, *row) for step, row in enumerate(log, 1)])
    counts = {name: random.integers(0, 5, last + 1).astype(np.int32) for name in ("counts", "populations")}
    graphs = {"touching.n_edges": random.integers(0, 9, last + 1).astype(np.int32)}
    graphs["touching.global_density"] = random.random(last + 1, dtype=np.float32)
    write_tensors(folder / "counts", counts | {"labels": np.zeros((last + 1, 4), np.int32)})
    write_tensors(folder / "graphs", graphs)
    columns = {name: np.append(np.nan, log[:, i]) for i, name in enumerate(LOG[1:])} | counts | graphs
    long = pd.DataFrame(columns).rename_axis("step").reset_index().melt("step", var_name="series")
    return long.dropna().assign(run=folder.name)


def write(folder, runs, steps=STEPS):
    files = {name: [str(folder / run / name) for run in runs] for name in ("log.csv", "counts", "graphs")}
    out = folder / "out"
    summary.write(
        files["log.csv"],
        [files["counts"], files["graphs"]],
        files["counts"],
        runs,
        steps,
        out / "summary.csv",
        out / "increases.csv",
    )
    return pd.read_csv(out / "summary.csv"), pd.read_csv(out / "increases.csv")


@pytest.mark.parametrize("R", [1, 2, 5])
def test_against_pandas(tmp_path, R):
    runs = [f"run_{run:03d}" for run in range(1, R + 1)]
    long = pd.concat([make_run(tmp_path / run, seed) for seed, run in enumerate(runs)])
    table, risen = write(tmp_path, runs)

    groups = long[long.step.isin(STEPS)].groupby(["step", "series"]).value
    wanted = groups.agg(["mean", "std", "min", "max", "count"]).fillna({"std": 0.0})
    assert list(table) == ["step", "series", "mean", "std", "min", "max", "runs"]
    assert list(table.step) == sorted(table.step)
    found = table.set_index(["step", "series"]).sort_index()
    assert found.index.equals(wanted.index)  # no loss at step 0, and every other series at every step
    assert (found["min"] == wanted["min"]).all()
    assert (found["max"] == wanted["max"]).all()
    assert (found["runs"] == R).all()
    assert (wanted["count"] == R).all()
    np.testing.assert_allclose(found["mean"], wanted["mean"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found["std"], wanted["std"], rtol=1e-12, atol=1e-15)

    assert list(risen) == ["run", "step", "before", "after"]
    counts = long[long.series == "counts"].pivot(index="step", columns="run", values="value")
    rises = [
        (run, step, counts[run][step - 1], counts[run][step])
        for run in runs
        for step in range(1, LAST + 1)
        if counts[run][step] > counts[run][step - 1]
    ]
    assert rises
    assert list(risen.itertuples(index=False, name=None)) == rises


def test_the_line_is_of_the_last_step(tmp_path):
    runs = ["run_001", "run_002"]
    long = pd.concat([make_run(tmp_path / run, seed) for seed, run in enumerate(runs)])
    files = {name: [str(tmp_path / run / name) for run in runs] for name in ("log.csv", "counts", "graphs")}
    out = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    said = summary.write(files["log.csv"], [files["counts"], files["graphs"]], files["counts"], runs, STEPS, *out)
    last = long[long.step == STEPS[-1]].groupby("series").value.mean()
    assert said.startswith(f"step {STEPS[-1]:,}, mean of 2 runs: {last['counts']:.2f} holes, ")
    assert said.endswith(f"{last['loss']:.2f} loss")


def test_the_same_bytes_twice_and_steps_as_asked(tmp_path):
    make_run(tmp_path / "run_001", 0)
    table, _ = write(tmp_path, ["run_001"], steps=[3])
    assert set(table.step) == {3}
    before = (tmp_path / "out" / "summary.csv").read_bytes()
    write(tmp_path, ["run_001"], steps=[3])
    assert (tmp_path / "out" / "summary.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("step,loss\n1,2\n", "no column 'grad_norm'; expected columns step, loss, grad_norm, learning_rate"),
        (
            "step,loss,grad_norm,learning_rate\n1,2,3,4\n",
            "no step 2 in row 2; expected a row for each of the steps 1 to ",
        ),
    ],
)
def test_a_bad_log_is_named(tmp_path, text, message):
    for run in ("run_001", "run_002"):
        make_run(tmp_path / run, 0)
    log = tmp_path / "run_002" / "log.csv"
    log.unlink()
    if text is not None:
        log.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refused(tmp_path).startswith(f"{log}: {message}")


def refused(folder):
    with pytest.raises(UserError) as caught:
        write(folder, ["run_001", "run_002"])
    assert names(folder / "out") == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_series_that_end_early_are_named(tmp_path):
    make_run(tmp_path / "run_001", 0)
    make_run(tmp_path / "run_002", 1, last=LAST + 1)  # longer is well
    write(tmp_path, ["run_001", "run_002"])
    for file in (tmp_path / "out").iterdir():
        file.unlink()
    write_tensors(tmp_path / "run_002" / "graphs", {"touching.n_edges": torch.ones(LAST)})
    assert refused(tmp_path) == f"{tmp_path}/run_002/graphs: touching.n_edges ends at step 19, expected 20"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"n_unique": torch.ones(LAST + 1)}, "no tensor 'counts' (I32 (S)); the file has n_unique"),
        ({"counts": torch.ones(LAST + 1)}, "tensor 'counts' is F32 (21), expected I32 (S)"),
    ],
)
def test_bad_counts(tmp_path, tensors, message):
    for run in ("run_001", "run_002"):
        make_run(tmp_path / run, 0)
    write_tensors(tmp_path / "run_002" / "counts", tensors)
    assert refused(tmp_path) == f"{tmp_path}/run_002/counts: {message}"


def test_a_foreign_file_among_those_of_a_kind(tmp_path):
    """Its own series would be summarised over it alone, and the others over one run less."""
    for run in ("run_001", "run_002"):
        make_run(tmp_path / run, 0)
    write_tensors(tmp_path / "run_002" / "graphs", {"other.n_edges": torch.ones(LAST + 1)})
    said = refused(tmp_path)
    assert said.startswith(f"{tmp_path}/run_002/graphs: '")
    assert said.endswith(f"' is a series of only one of this file and {tmp_path}/run_001/graphs; expected both")


def test_each_run_has_its_counts(tmp_path):
    make_run(tmp_path / "run_001", 0)
    files = {name: [str(tmp_path / "run_001" / name)] for name in ("log.csv", "counts", "graphs")}
    with pytest.raises(ValueError, match="longer than"):
        summary.write(
            files["log.csv"], [files["graphs"]], files["counts"] * 2, ["run_001"], STEPS, tmp_path / "s", tmp_path / "i"
        )
    assert names(tmp_path) == ["run_001"]


def test_a_truncated_tensor_file_is_named(tmp_path):
    for run in ("run_001", "run_002"):
        make_run(tmp_path / run, 0)
    with open(tmp_path / "run_002" / "counts", "r+b") as file:
        file.truncate(100)
    assert refused(tmp_path).startswith(f"{tmp_path}/run_002/counts: not a complete safetensors file")
