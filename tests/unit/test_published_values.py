"""The table of published values beside ours, and its figure, from synthetic runs whose verdicts are known."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.figures import style
from blackholes.figures.reproduction import reproduction as figure
from blackholes.reproduction import comparison, published
from blackholes.reproduction.published import CONDITIONS, VALUES
from helpers import names
from matplotlib.text import Text

ROOT = Path(__file__).parents[2]
V, D, DEAD = 128, 2, 51
LAST = {"one_point": 300, "unit_point": 500, "sixteen": 1000, "noise_float32": 999, "noise_bfloat16": 999}
RUNS = 4
SPREAD = np.array([-1.0, 1.0, -1.0, 1.0])


# --- synthetic runs


def settings_of(name, **change):
    """What a run of this experiment is told, as published, but that it ends early."""
    condition = CONDITIONS[name]
    own = {"base_seed": 42, "steps": LAST[name], "schedule_steps": condition.steps}
    return condition.settings | own | change


def write_corpus(folder, tokens=265_916, dead=DEAD):
    counts = np.zeros(V, np.int64)
    counts[dead:] = tokens // (V - dead)
    counts[-1] += tokens - counts.sum()
    path = folder / "tokens.safetensors"
    write_tensors(path, {"token_counts": counts, "dead_mask": counts == 0, "token_ids": np.zeros(9, np.uint8)})
    return str(path)


def series_of(name, run, steps, **change):
    """Tensors of one run by kind, near what was published; `change`: key → function of (t, values) → values."""
    place, t = 0.5 * SPREAD[run], np.arange(steps + 1)
    found = {
        "counts": np.where(t == 0, 1, np.where(t > 40, 1, 4 - (run == 0))),
        "populations": np.where(t == 0, V, np.where(t > 40, 51, 122 + 2 * place)),
        "largest_bh_size": np.where(t > 40, 51, 100),
        "n_unique": np.where(t > 46 + place, 78, 60),
        "touching.n_components": np.where(t == 100, 2, 61 + 2 * place),
        "touching.largest_component_size": np.where(t == 100, 100, 56 + 2 * place),
        "touching.n_isolated": np.full(steps + 1, 20),
        "centroid_norm": np.where(t == 100, 0.867, 0.836) + 0.001 * place,
        "token_norm_mean": np.full(steps + 1, 8.2),
    }
    found = {key: change.get(key, lambda t, values: values)(t, values) for key, values in found.items()}
    kinds = {"counts": {}, "graphs": {}, "geometry": {}}
    for key, values in found.items():
        kind = "graphs" if "." in key else "geometry" if "norm" in key else "counts"
        kinds[kind][key] = values.astype(np.float32 if kind == "geometry" else np.int32)
    first, last = {"noise_float32": (43, 21), "noise_bfloat16": (17, 2)}.get(name, (1, 1))
    distinct = np.where(t == 0, first + 6 * place, last + 2 * place).astype(int)  # among the dead tokens, 0 to 50
    tokens = np.arange(V)
    kinds["counts"]["labels"] = np.where(tokens < DEAD, np.minimum(tokens, distinct[:, None] - 1), tokens)
    clusters = np.where(tokens < 56, 0, np.where(tokens < 69, 56, tokens))  # 56, 13, and one each
    kinds["graphs"]["touching.labels"] = np.broadcast_to(clusters, (steps + 1, V))
    return {kind: {k: v.astype(np.int32) if "labels" in k else v for k, v in of.items()} for kind, of in kinds.items()}


def losses(name, steps):
    """As published: of each 100 steps the printed mean."""
    curves = (v for v in VALUES if (v.experiment, v.quantity, v.form) == (name, "training loss", "curve"))
    curve = next(curves, None)
    printed = [3.0] * steps if curve is None else np.repeat(curve.values, curve.points[0])[:steps]
    return np.array(printed, float)


def write_experiment(folder, name, settings=None, device="cpu", runs=RUNS, touching=published.TOUCHING, **change):
    """Files of our runs of one published experiment: kind → paths."""
    settings = settings or settings_of(name)
    steps = settings["steps"]
    found = {kind: [] for kind in ("models", "logs", "histories", "counts", "graphs", "geometry")}
    for run in range(runs):
        where = folder / name / f"run_{run + 1:03d}"
        told = {"models": {"settings": settings}, "graphs": {"adjacency": {"touching": touching}}}
        kinds = {"models": {"weight": np.zeros(2)}, **series_of(name, run, steps, **change)}
        kinds["histories"] = {"embedding_history": torch.ones((steps + 1, V, D), dtype=torch.bfloat16)}
        for kind, tensors in kinds.items():
            path = where / f"{kind}.safetensors"
            write_tensors(path, tensors, {"config": json.dumps(told.get(kind, {})), "device": device})
            found[kind].append(str(path))
        found["logs"].append(str(where / "log.csv"))
        logged = losses(name, steps) + 0.005 * SPREAD[run]
        series = [logged, np.full(steps, 0.21 + 0.01 * SPREAD[run]), np.full(steps, 0.001)]
        rows = zip(range(1, steps + 1), *(each.tolist() for each in series), strict=True)
        write_table(found["logs"][-1], ["step", "loss", "grad_norm", "learning_rate"], rows)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The corpus, and short runs of five experiments."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {name: write_experiment(folder, name) for name in LAST}
    return SimpleNamespace(corpus=write_corpus(folder), runs=runs)


def table(folder, corpus, runs):
    """Rows of reproduction.csv by (experiment, quantity, step)."""
    comparison.write(corpus, runs, folder / "reproduction.csv")
    with open(folder / "reproduction.csv", newline="", encoding="utf-8") as file:
        return {(row["experiment"], row["quantity"], row["step"]): row for row in csv.DictReader(file)}


def only(made, tmp_path, name, **change):
    """Rows of one experiment alone, made with a change."""
    return table(tmp_path, made.corpus, {name: write_experiment(tmp_path, name, **change)})


# --- the table


def test_runs_as_published_agree(made, tmp_path):
    rows = table(tmp_path, made.corpus, made.runs)
    told = {key[:2]: row["verdict"] for key, row in rows.items() if row["verdict"] == "differs"}
    assert set(told) == {("sixteen", "increases of the number of black holes"), ("sixteen", comparison.JOINT)}
    agreed = {key[:2] for key, row in rows.items() if row["verdict"] == "agrees"}
    assert {("one_point", "training loss"), ("unit_point", "centroid norm"), ("sixteen", "black holes")} < agreed
    row = rows["sixteen", "black holes", "1"]
    assert (row["published"], row["published_runs"], row["ours"], row["runs"]) == ("3.8125", "16", "3.75", "4")
    assert float(row["published_std"]) == pytest.approx(1.276388, abs=1e-6)
    assert float(row["ours_std"]) == pytest.approx(0.5)  # of 3, 4, 4, 4
    assert (row["margin"], row["at_step"], row["verdict"]) == ("2", "1", "agrees")
    assert -2 < float(row["low"]) < float(row["difference"]) == -0.0625 < float(row["high"]) < 2
    assert row["published_conditions"] == "16 runs of 10,000 steps, batch 64, seeds 43-58, CUDA"
    assert row["our_conditions"] == "4 runs of 1,000 steps (of a schedule of 10,000), batch 64, seeds 43-46, cpu"
    assert row["source"] == "notebooks/08.5b_fission_detection.ipynb @ 3161af0"


def test_every_published_value_has_a_row_and_every_judged_experiment_one_more(made, tmp_path):
    rows = table(tmp_path, made.corpus, made.runs)
    ours = [key for key in rows if key[0] != published.CHECKPOINT and key[1] != comparison.JOINT]
    repeated = len(VALUES) - len({(v.experiment, v.quantity, v.step) for v in VALUES})
    assert len(ours) == len(VALUES) - repeated
    joint = {key[0]: row for key, row in rows.items() if key[1] == comparison.JOINT}
    assert set(joint) == set(LAST)
    assert joint["sixteen"]["verdict"] == "differs"
    assert joint["one_point"]["verdict"] == "agrees"
    assert joint["one_point"]["reason"] == "1 agrees, 1 by construction, 3 not run"


def test_a_curve_is_one_row(made, tmp_path):
    row = table(tmp_path, made.corpus, made.runs)["one_point", "training loss", "100-5000"]
    assert row["published"].split()[:3] == ["3.4545", "3.0939", "3.0779"]
    assert [float(x) for x in row["ours"].split()] == pytest.approx([3.4545, 3.0939, 3.0779])
    assert float(row["margin"]) == pytest.approx(0.01 * 3.0779, rel=0.05)
    assert row["reason"] == "3 of 50 steps were run; published from one run"
    assert row["verdict"] == "agrees"


def test_what_could_not_have_come_out_otherwise_is_counted_apart(made, tmp_path):
    rows = table(tmp_path, made.corpus, made.runs)
    start = rows["sixteen", "black holes", "0"]
    assert (start["verdict"], start["ours"], start["margin"]) == ("by construction", "1", "")
    assert start["reason"] == "all tokens start at one point"
    assert rows["noise_bfloat16", "Cohen's d of the two starts", "999"]["verdict"] == "by construction"
    dead = rows["corpus", "dead tokens", ""]
    assert (dead["verdict"], dead["ours"]) == ("by construction", "51")
    assert rows["corpus", "training windows", ""]["ours"] == str(265_916 - 128)


def test_published_spreads_are_of_their_runs(made, tmp_path):
    row = table(tmp_path, made.corpus, made.runs)["noise_float32", "distinct vectors among dead tokens", "999"]
    assert row["published_runs"] == "16"
    assert float(row["published_std"]) == pytest.approx(7.1 * np.sqrt(16 / 15))  # it was printed with 16 as divisor
    assert row["ours"] == "21"


def test_a_distant_value_differs(made, tmp_path):
    change = {"centroid_norm": lambda t, values: values + 0.2}
    rows = only(made, tmp_path, "unit_point", **change)
    row = rows["unit_point", "centroid norm", "100 500 1000 1500 5000"]
    assert (row["verdict"], row["ours"].count(" ")) == ("differs", 1)
    assert float(row["low"]) > float(row["margin"])
    assert rows["unit_point", comparison.JOINT, ""]["verdict"] == "differs"


def test_what_is_too_uncertain_is_undecided_and_says_why(made, tmp_path):
    change = {"populations": lambda t, values: np.where(t == 1, 122 + 10 * (values[1] - 122), values)}
    row = only(made, tmp_path, "sixteen", **change)["sixteen", "tokens in black holes", "1"]
    assert row["verdict"] == "undecided"
    half = (float(row["high"]) - float(row["low"])) / 2
    least = 1.645 * float(row["ours_std"]) / 4  # of the sixteen published runs alone
    assert row["reason"] == f"interval ±{half:.2g}, ±{least:.2g} with any number of our runs; margin 5"


def test_one_run_of_ours_has_no_interval(made, tmp_path):
    row = only(made, tmp_path, "one_point", runs=1)["one_point", "training loss", "100-5000"]
    assert (row["verdict"], row["low"], row["ours_std"]) == ("undecided", "", "")
    assert row["reason"].endswith("published from one run; one run of ours has no spread")


def test_another_device_is_no_reason(made, tmp_path):
    rows = only(made, tmp_path, "sixteen", device="cuda: A")
    assert rows["sixteen", "black holes", "1"]["verdict"] == "agrees"
    assert rows["sixteen", "black holes", "1"]["our_conditions"].endswith(", cuda: A")


def test_runs_that_go_on_serve_the_steps_that_the_others_do_not_reach(made, tmp_path):
    first = write_experiment(tmp_path, "sixteen", settings=settings_of("sixteen", steps=120))
    whole = write_experiment(tmp_path / "whole", "sixteen", runs=2)
    rows = table(tmp_path, made.corpus, {"sixteen": first, "sixteen_whole": whole})
    assert rows["sixteen", "black holes", "100"]["runs"] == "4"
    assert rows["sixteen", "black holes", "1000"]["runs"] == "2"
    late = rows["sixteen", "largest black hole", "10000"]
    assert (late["verdict"], late["ours"]) == ("not run", "")
    assert late["reason"] == "step 10,000 was not run, the last is 120"


@pytest.mark.parametrize(
    ("change", "reason", "at_step_0"),
    [
        ({"batch_size": 16}, "batch_size 16, published 64", "by construction"),
        ({"loss_divisor": "targets"}, "loss_divisor targets, published tokens", "by construction"),
        ({"precision": "mixed"}, "precision mixed, published bf16", "by construction"),
        ({"schedule_steps": 20_000}, "schedule over 20,000 steps, published 10,000", "by construction"),
        ({"model": published.SHARED["model"] | {"layers": 1}}, "model.layers 1, published 2", "by construction"),
        (
            {"init": CONDITIONS["sixteen"].settings["init"] | {"unit_norm": False}},
            "init.unit_norm False, published True",
            "by construction",
        ),
    ],
)
def test_other_settings_are_not_comparable(made, tmp_path, change, reason, at_step_0):
    rows = only(made, tmp_path, "sixteen", settings=settings_of("sixteen", **change))
    row = rows["sixteen", "black holes", "100"]
    assert (row["verdict"], row["reason"], row["difference"], row["ours"]) == ("not comparable", reason, "", "1")
    assert rows["sixteen", "black holes", "0"]["verdict"] == at_step_0
    assert ("sixteen", comparison.JOINT, "") not in rows


def test_only_the_start_matters_before_training(made, tmp_path):
    for change, verdict in (({"batch_size": 16}, "agrees"), ({"init": {"mode": "normal"}}, "not comparable")):
        rows = only(made, tmp_path, "noise_float32", settings=settings_of("noise_float32", **change))
        assert rows["noise_float32", "distinct vectors among dead tokens", "0"]["verdict"] == verdict
        assert rows["noise_float32", "distinct vectors among dead tokens", "999"]["verdict"] == "not comparable"


def test_touching_by_another_threshold(made, tmp_path):
    rows = only(made, tmp_path, "unit_point", touching=published.TOUCHING | {"threshold": 0.5})
    row = rows["unit_point", "second touching cluster", "500"]
    assert row["reason"] == "touching.threshold 0.5, published 0.015625"


@pytest.mark.parametrize(("tokens", "dead"), [(220_000, DEAD), (265_916, DEAD - 1)])
def test_another_text_is_not_comparable(made, tmp_path, tokens, dead):
    rows = table(tmp_path, write_corpus(tmp_path, tokens, dead), made.runs)
    assert not {"agrees", "differs", "undecided"} & {row["verdict"] for row in rows.values()}
    reason = f"other data: {tokens:,} tokens, {dead} of 128 dead, published 265,905 and 51"
    assert rows["sixteen", "black holes", "1"]["reason"] == reason


def test_experiments_that_were_not_run(made, tmp_path):
    rows = table(tmp_path, made.corpus, {"noise_float32": made.runs["noise_float32"]})
    assert rows["sixteen", "black holes", "1"]["reason"] == "sixteen was not run"
    assert rows["rmsnorm", "black holes", "10000"]["reason"] == "our model has LayerNorm alone"
    assert rows["unit_point", "norm of the first moment", "5000"]["reason"] == "the optimizer's last state is not kept"
    assert table(tmp_path, None, {})["corpus", "dead tokens", ""]["verdict"] == "not run"


def test_the_line_that_counts_the_verdicts(made, tmp_path):
    summary = comparison.write(made.corpus, made.runs, tmp_path / "reproduction.csv")
    assert summary.startswith("170 published values: ")
    counts = [part.split(" ", 1) for part in summary.split(": ")[1].split(", ")]
    assert [word for _, word in counts] == list(comparison.WORDS)
    assert sum(int(number) for number, _ in counts) == 170
    before = (tmp_path / "reproduction.csv").read_bytes()
    comparison.write(made.corpus, made.runs, tmp_path / "reproduction.csv")
    assert (tmp_path / "reproduction.csv").read_bytes() == before


# --- files that are not what they should be


@pytest.mark.parametrize(
    ("kind", "spoil", "message"),
    [
        ("models", lambda path: write_tensors(path, {"w": np.zeros(1)}), "no 'config' in its metadata"),
        ("counts", lambda path: path.write_bytes(b"none"), "not a complete safetensors file"),
        ("counts", lambda path: write_tensors(path, {"n": np.zeros(9)}), "no tensor 'counts', expected counts"),
        ("geometry", lambda path: path.unlink(), "no such file"),
        ("logs", lambda path: path.write_text("step,loss\n2,3.0\n"), "no step 1 in row 1; expected a row for each"),
    ],
)
def test_bad_files_are_named(made, tmp_path, kind, spoil, message):
    name = {"counts": "sixteen"}.get(kind, "one_point")
    runs = {name: write_experiment(tmp_path, name)}
    path = Path(runs[name][kind][0 if kind == "models" else -1])
    spoil(path)
    with pytest.raises(UserError) as caught:
        comparison.write(made.corpus, runs, tmp_path / "out" / "reproduction.csv")
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
    assert names(tmp_path / "out") == []


# --- the figure


def drawn(folder, corpus, runs):
    table(folder, corpus, runs)
    return figure.from_files(SimpleNamespace(table=str(folder / "reproduction.csv")), {})


def texts(drawing):
    return [text.get_text() for text in drawing.findobj(Text) if text.get_text()]


def test_the_figure_has_a_line_for_every_judged_value(made, tmp_path):
    drawing = drawn(tmp_path, made.corpus, made.runs)
    shown = texts(drawing)
    rows = [row for row in table(tmp_path, made.corpus, made.runs).values() if row["quantity"] != comparison.JOINT]
    for word in ("agrees", "differs", "undecided"):
        assert f"{word} ({sum(row['verdict'] == word for row in rows)})" in shown
    assert {"sixteen: differs", "one_point: agrees", "42.7 ± 8.8"} <= set(shown)
    assert any(text.startswith("one_point: loss; step 100: 3.4545, ours 3.4545") for text in shown)
    assert "1 by construction, 3 not run" in shown
    assert all(text.get_fontsize() >= 5 for text in drawing.findobj(Text) if text.get_text())


@pytest.mark.parametrize("case", ["one experiment", "nothing", "one run each"])
def test_the_figure_of_little(made, tmp_path, case):
    runs = {
        "one experiment": {"noise_bfloat16": made.runs["noise_bfloat16"]},
        "nothing": {},
        "one run each": {"unit_point": write_experiment(tmp_path, "unit_point", runs=1)} if "each" in case else {},
    }[case]
    shown = texts(drawn(tmp_path, made.corpus if runs else None, runs))
    expected = {"one experiment": "noise_bfloat16: agrees", "nothing": "no curve was run", "one run each": "unit_point"}
    assert any(text.startswith(expected[case]) for text in shown)


def test_same_figure_same_bytes(made, tmp_path):
    table(tmp_path, made.corpus, made.runs)
    for name in ("first.svg", "second.svg"):
        style.save(figure.from_files(SimpleNamespace(table=str(tmp_path / "reproduction.csv")), {}), tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_verdicts_have_colours_of_their_own():
    mine = [colour for _, colour, _ in figure.VERDICTS.values()]
    assert len({*mine, *style.COLOURS.values(), *style.EXPERIMENTS}) == len([*mine, *style.COLOURS, *style.EXPERIMENTS])


def test_a_bad_table_is_named(tmp_path):
    path = tmp_path / "reproduction.csv"
    with pytest.raises(UserError, match=r"reproduction\.csv: cannot be read"):
        figure.read(path)
    path.write_text("quantity,step\na,1\n")
    with pytest.raises(UserError, match=r"reproduction\.csv: no column 'experiment'"):
        figure.read(path)


def test_the_figure_imports_no_torch():
    check = "import sys; import blackholes.figures.reproduction.reproduction, blackholes.reproduction.published; "
    check += "sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT / "workflow/scripts")
