"""Escapes of live tokens, the steps at which training first sees them, and survival, against slow readings."""

import csv
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import scipy.optimize
import torch
from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import write_tensors
from blackholes.config.experiments import Experiment
from blackholes.errors import UserError
from blackholes.runs import escapes, lineages, survival
from blackholes.training import engine, occurrences
from helpers import names
from hypothesis import given, settings
from hypothesis import strategies as st


def as_labels(groups):
    return [groups.index(group) for group in groups]


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- escapes


def slow_escape(sequence, dead, token):
    """(step, censored): the first step from which on no dead token has the token's label."""
    free = [all(labels[d] != labels[token] for d in np.flatnonzero(dead)) for labels in sequence]
    steps = [step for step in range(len(free)) if all(free[step:])]
    return (steps[0], 0) if steps else (len(free) - 1, 1)


def write_escapes(folder, sequence, dead, first=None, **options):
    V = len(dead)
    write_tensors(folder / "counts", {"labels": torch.tensor(sequence, dtype=torch.int32).reshape(-1, V)})
    status = ["dead" if d else "live" for d in dead]
    columns = range(V), [f"t{k}," for k in range(V)], [0 if d else 10 + k for k, d in enumerate(dead)], status
    table = folder / "tokens.csv"
    write_table(table, ["token_id", "character", "count", "status"], zip(*columns, strict=True))
    first = first or (np.arange(V), np.arange(V)[::-1])
    escapes.write(str(folder / "counts"), str(table), first, str(folder / "escapes.csv"), **options)
    return rows_of(folder / "escapes.csv")


@settings(max_examples=80, deadline=None)
@given(data=st.data(), V=st.integers(1, 6), S=st.integers(1, 6), budget=st.sampled_from([1.0, 1e-9]))
def test_escapes_against_the_slow_reading(tmp_path_factory, data, V, S, budget):
    group = st.lists(st.integers(0, 2), min_size=V, max_size=V)
    sequence = [as_labels(data.draw(group)) for _ in range(S)]
    dead = data.draw(st.lists(st.booleans(), min_size=V, max_size=V))
    rows = write_escapes(tmp_path_factory.mktemp("escapes"), sequence, dead, budget_gb=budget)
    live = [token for token in range(V) if not dead[token]]
    assert [int(row["token_id"]) for row in rows] == live
    for row, token in zip(rows, live, strict=True):
        assert (int(row["escape_step"]), int(row["censored"])) == slow_escape(sequence, dead, token)
        assert (row["text"], int(row["count"])) == (f"t{token},", 10 + token)
        assert (row["first_input"], row["first_target"]) == (str(token or ""), str(V - 1 - token or ""))


def test_a_token_that_comes_back_escapes_only_later(tmp_path):
    steps = ["ddd", "dxd", "ddd", "dxd", "dxd"]
    (row, other) = write_escapes(tmp_path, [as_labels(step) for step in steps], [True, False, False])
    assert (row["escape_step"], row["censored"]) == ("3", "0")
    assert (other["escape_step"], other["censored"]) == ("4", "1")


def test_tables_of_another_vocabulary_are_refused(tmp_path):
    write_escapes(tmp_path, [[0, 1]], [True, False])
    write_tensors(tmp_path / "counts", {"labels": torch.zeros(2, 3, dtype=torch.int32)})
    (tmp_path / "escapes.csv").unlink()
    files = [str(tmp_path / name) for name in ("counts", "tokens.csv", "escapes.csv")]
    with pytest.raises(UserError, match=r"counts: labels has 3 tokens; expected 2, as in .*tokens.csv"):
        escapes.write(*files[:2], (np.zeros(2), np.zeros(2)), files[2])
    assert "escapes.csv" not in names(tmp_path)


# --- what training sees


def small_run(**changes):
    tiny = {"context": 5, "width": 4, "layers": 1, "heads": 1}
    experiment = Experiment.model_validate({"steps": 40, "batch_size": 2, "model": tiny} | changes)
    return experiment.run_settings(3)


@pytest.mark.parametrize("offset", [1, 2])
def test_first_steps_are_those_of_the_windows_that_training_takes(offset):
    random = np.random.default_rng(1)
    ids = np.where(random.random(300) < 0.97, 1 + random.integers(0, 4, 300), 100 + random.integers(0, 20, 300))
    ids = ids.astype(np.uint8)
    ids[-1], ids[0] = 77, 78  # the first is never a target, the last never an input
    run = small_run(target_offset=offset)
    T = run.model.context
    _, windows = engine.start(ids, [run], torch.device("cpu"), 1, "corpus")
    wanted = {"input": {}, "target": {}}
    for step in range(1, run.steps + 1):
        for start in next(windows)[0].tolist():
            for position in range(T):
                wanted["input"].setdefault(int(ids[start + position]), step)
                if position + offset <= T:  # beyond the window there is no target
                    wanted["target"].setdefault(int(ids[start + position + offset]), step)
    found = occurrences.first_steps(ids, run)
    for kind, steps in zip(("input", "target"), found, strict=True):
        assert {int(token): int(steps[token]) for token in np.flatnonzero(steps)} == wanted[kind]
    assert 77 not in wanted["input"]
    assert 1 < max(wanted["input"].values()) < run.steps


def test_a_corpus_without_a_window_is_refused():
    with pytest.raises(UserError, match="here: 3 tokens are less than one window"):
        occurrences.first_steps(np.zeros(3, np.uint8), small_run(), "here")


# --- Cox's model


def efron(slope, time, event, x, entry):
    """The logarithm of Cox's partial likelihood, Efron's for ties, term by term."""
    total = 0.0
    for t in sorted({time[i] for i in range(len(time)) if event[i]}):
        dead = [i for i in range(len(time)) if time[i] == t and event[i]]
        at_risk = [i for i in range(len(time)) if entry[i] < t <= time[i]]
        risk, ties = (sum(np.exp(slope * x[i]) for i in some) for some in (at_risk, dead))
        total += sum(slope * x[i] for i in dead)
        total -= sum(np.log(risk - k / len(dead) * ties) for k in range(len(dead)))
    return total


def sample(seed, slope=0.8, runs=6, each=25):
    """Times on whole steps, many of them tied, some censored at 12, some with a late entry; runs differ."""
    random = np.random.default_rng(seed)
    run = np.repeat(np.arange(runs), each)
    x = random.normal(2, 1, len(run))
    shared = random.normal(0, 0.3, runs)[run]
    time = np.ceil(8 * random.exponential(np.exp(-slope * (x - 2) - shared)))
    entry = np.where(random.random(len(run)) < 0.3, np.minimum(random.integers(0, 5, len(run)), time - 1), 0.0)
    return np.minimum(time, 12), time <= 12, x, entry, run


@pytest.mark.parametrize(("seed", "late"), list(product(range(3), [False, True])))
def test_the_slope_maximises_the_likelihood(seed, late):
    time, event, x, entry, _ = sample(seed, runs=2)
    entry = entry if late else np.full(len(x), -np.inf)

    def loss(slope):
        return -efron(slope, time, event, x, entry)

    best = scipy.optimize.minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10}).x
    value, low, high = survival.cox(time, event, x, entry if late else None)
    assert value == pytest.approx(best, abs=1e-6)
    curvature = (loss(best + 1e-3) - 2 * loss(best) + loss(best - 1e-3)) / 1e-6
    assert high - value == pytest.approx(1.959964 / np.sqrt(curvature), rel=1e-3)
    assert value - low == pytest.approx(high - value)


def test_a_known_result():
    """What lifelines 0.30.3 (CoxPHFitter) gives for these rows: coefficient and standard error of the model."""
    time, event, x, entry, _ = sample(7, runs=2)
    for late, coefficient, error in ((None, 0.9620567, 0.2390204), (entry, 0.9215093, 0.2343759)):
        value, low, high = survival.cox(time, event, x, late)
        assert (value, (high - low) / 2 / 1.959964) == pytest.approx(
            (coefficient, error), abs=5e-6
        )  # its own precision


@pytest.mark.parametrize("late", [False, True])
def test_the_interval_of_runs_is_that_of_leaving_each_out(late):
    """The jackknife over the runs estimates the same; the two meet where there are many runs."""
    time, event, x, entry, run = sample(0, runs=60, each=12)
    entry = entry if late else None
    value, low, high = survival.cox(time, event, x, entry, run)
    others = []
    for left_out in range(60):
        rows = run != left_out
        others.append(survival.cox(time[rows], event[rows], x[rows], None if entry is None else entry[rows])[0])
    error = np.sqrt(59 / 60 * ((np.array(others) - np.mean(others)) ** 2).sum())
    assert high - value == pytest.approx(2.000995 * error, rel=0.03)  # Student's t with 59 degrees of freedom
    assert value - low == pytest.approx(high - value)


def test_the_order_of_rows_does_not_matter():
    time, event, x, entry, run = sample(1)
    found = survival.cox(time, event, x, entry, run)
    mixed = np.random.default_rng(0).permutation(len(x))
    again = survival.cox(time[mixed], event[mixed], x[mixed], entry[mixed], run[mixed] * 3 + 1)
    assert again == pytest.approx(found, rel=1e-9)


def test_intervals_of_few_runs_hold_the_slope():
    """Of 400 data sets of five runs, 95 % ± 3 %. Each run has a luck of its own, so its rows are not independent."""
    held = 0
    for seed in range(400):
        time, event, x, _, run = sample(seed, runs=5, each=60)
        _, low, high = survival.cox(time, event, x, None, run)
        held += low <= 0.8 <= high
    assert 0.9 <= held / 400 <= 0.985


@pytest.mark.parametrize(
    ("time", "event", "x"),
    [
        ([1, 2, 3], [0, 0, 0], [1, 2, 3]),  # nobody escapes
        ([1, 2, 3], [1, 1, 1], [2, 2, 2]),  # all are as frequent
        ([1, 2, 3, 4], [1, 1, 1, 1], [4, 3, 2, 1]),  # the more frequent always before: no maximum
        ([], [], []),
    ],
)
def test_rows_that_set_no_slope(time, event, x):
    assert survival.cox(np.array(time, float), np.array(event, bool), np.array(x, float)) is None


# --- over the runs


def write_run(folder, rows):
    folder.mkdir(parents=True)
    write_table(folder / "escapes.csv", escapes.COLUMNS, ([k, f"t{k}", *row] for k, row in enumerate(rows)))
    return str(folder / "escapes.csv")


def planted(folder, runs=3, tokens=60):
    """Frequent tokens are seen and escape first; a token in six is censored at 100, one was never with the dead."""
    files = []
    for run in range(runs):
        random = np.random.default_rng(run)
        rows = [[5000, 0, 0, 1, 1]]
        for k in range(tokens):
            count = int(10 ** random.uniform(0, 3.99))
            seen = 1 + int(random.exponential(30 / count))
            step = min(100, seen + int(random.exponential(300 / count)))
            out = k % 6 == 0
            rows.append([count, 100 if out else min(step, 99), int(out), seen, "" if k % 2 else seen + 1])
        files.append(write_run(folder / f"run_{run + 1:03d}", rows))
    return files


def test_the_tables_over_the_runs(tmp_path):
    files = planted(tmp_path)
    survival.write(files, str(tmp_path / "curves.csv"), str(tmp_path / "statistics.csv"))
    all_rows = [(run, row) for run, file in enumerate(files) for row in rows_of(file) if row["escape_step"] != "0"]
    run, count, step, censored, seen = np.array(
        [[r, *(float(row[key]) for key in ("count", "escape_step", "censored", "first_input"))] for r, row in all_rows]
    ).T
    for row in rows_of(tmp_path / "curves.csv"):
        some = (count >= int(row["count_from"])) & (count <= int(row["count_to"]))
        share = 1.0  # Kaplan and Meier, step after step
        for t in sorted(set(step[some & (censored == 0)])):
            if t <= int(row["step"]):
                share *= 1 - ((step == t) & some & (censored == 0)).sum() / ((step >= t) & some).sum()
        assert float(row["share"]) == pytest.approx(share)
        assert int(row["at_risk"]) == ((step >= int(row["step"])) & some).sum()
        assert int(row["tokens"]) == some.sum()
        assert not row["low"] or float(row["low"]) <= share <= float(row["high"])
    assert {(row["count_from"], row["count_to"]) for row in rows_of(tmp_path / "curves.csv")} == {
        *(("1", "9"), ("10", "99"), ("100", "999"), ("1000", "9999")),
    }

    table = {row["statistic"]: row for row in rows_of(tmp_path / "statistics.csv")}
    x, event = np.log10(count), censored == 0
    for name, entry in (("", None), ("_once_seen", seen - 1)):
        row = table[f"log_hazard_per_tenfold_count{name}"]
        wanted = survival.cox(step, event, x, entry, run)
        assert [float(row[key]) for key in ("value", "low", "high")] == pytest.approx(wanted)
        assert [row[key] for key in ("tokens", "escaped", "runs")] == ["180", "150", "3"]
        own = [
            survival.cox(*(of if of is None else of[run == r] for of in (step, event, x, entry)))[0] for r in range(3)
        ]
        row = table[f"log_hazard_per_tenfold_count{name}_mean_of_runs"]
        width = 4.302653 * np.std(own, ddof=1) / np.sqrt(3)
        assert float(row["value"]) == pytest.approx(np.mean(own))
        assert float(row["high"]) == pytest.approx(np.mean(own) + width)
        assert float(row["low"]) == pytest.approx(np.mean(own) - width)
    for name, late in (("", seen > 0), (f"_after_step_{survival.LATE}", seen > survival.LATE)):
        shares = [(step == seen)[event & late & (run == r)].mean() for r in range(3)]
        assert float(table[f"share_that_escapes_when_first_seen{name}"]["value"]) == pytest.approx(np.mean(shares))
    assert float(table["rank_correlation_with_count_given_first_seen"]["value"]) < -0.3


def test_a_partial_correlation_takes_the_other_out():
    random = np.random.default_rng(0)
    given_ = random.normal(size=4000)
    a, b = given_ + random.normal(size=4000), given_ + random.normal(size=4000)
    assert abs(survival.partial_correlation(a, b, given_)) < 0.05
    assert survival.partial_correlation(a, a**3, given_) == pytest.approx(1)
    assert survival.partial_correlation(-a, given_, b) < -0.5
    assert np.isnan(survival.partial_correlation(a, np.ones(4000), given_))


def test_runs_without_an_escape(tmp_path):
    """All apart from the start, as in a control: tables with no number, and no error."""
    files = [write_run(tmp_path / f"run_{run}", [[5, 0, 0, 1, 1], [50, 0, 0, 1, 1]]) for run in range(2)]
    survival.write(files, str(tmp_path / "curves.csv"), str(tmp_path / "statistics.csv"))
    assert rows_of(tmp_path / "curves.csv") == []
    rows = rows_of(tmp_path / "statistics.csv")
    assert len(rows) == 8
    assert {(row["value"], row["low"], row["high"], row["tokens"]) for row in rows} == {("", "", "", "0")}


def test_one_run_has_the_interval_of_the_model(tmp_path):
    survival.write(planted(tmp_path, runs=1), str(tmp_path / "curves.csv"), str(tmp_path / "statistics.csv"))
    table = {row["statistic"]: row for row in rows_of(tmp_path / "statistics.csv")}
    assert table["log_hazard_per_tenfold_count"]["low"]
    mean = table["log_hazard_per_tenfold_count_mean_of_runs"]
    assert (mean["value"], mean["low"]) == (table["log_hazard_per_tenfold_count"]["value"], "")


def test_lineages(tmp_path):
    """Two runs by hand: the same token is the last of both; in a third one token never escapes."""
    tables = {"holes": [], "events": [], "escapes": []}
    lives = [[(0, ""), (1, 3), (1, 9), (4, 5)], [(0, "")], []]
    happened = [[(1, "fission", 0), (3, "fusion", 1), (7, "fission", 0), (9, "fission", 1)], [(2, "capture", 0)], []]
    last = [[(9, 0), (40, 0), (40, 0)], [(3, 0), (2, 0), (8, 0)], [(3, 0), (9, 1), (2, 0)]]
    for run in range(3):
        for kind, columns, rows in (
            ("holes", ["born", "died"], lives[run]),
            ("events", ["step", "kind", "flicker"], happened[run]),
            ("escapes", escapes.COLUMNS, [[k, f"t{k}", 1, *row, 1, 1] for k, row in enumerate(last[run])]),
        ):
            path = tmp_path / f"{kind}{run}"
            write_table(path, columns, rows)
            tables[kind].append(str(path))
    lineages.write(*tables.values(), ["run_001", "run_002", "run_003"], str(tmp_path / "out.csv"))
    first, second, third = rows_of(tmp_path / "out.csv")
    keys = ("run", "holes", "at_end", "fission", "fission_flicker", "fusion", "fusion_flicker", "median_life")
    assert [first[key] for key in keys] == ["run_001", "4", "1", "2", "1", "0", "1", "2"]
    keys = ("longest_life", "last_fission", "last_escape", "last_tokens", "last_texts", "same_last")
    assert [first[key] for key in keys] == ["8", "7", "40", "1 2", "t1 t2", "2"]
    assert [second[key] for key in keys] == ["", "", "8", "2", "t2", "2"]
    assert [third[key] for key in keys] == ["", "", "", "", "", ""]
    assert (second["capture"], second["holes"], third["holes"]) == ("1", "1", "0")


def test_settings_are_checked_as_for_training():
    """`first_steps` takes what training takes; another seed sees other windows."""
    ids = np.random.default_rng(0).integers(0, 128, 500).astype(np.uint8)
    run = small_run()
    assert not np.array_equal(occurrences.first_steps(ids, run), occurrences.first_steps(ids, replace(run, seed=1)))
