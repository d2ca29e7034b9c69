"""The check of results: what is missing, damaged, foreign, stale or orphaned is named, and nothing else is."""

import csv
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from blackholes.artifacts.files import write_text
from blackholes.artifacts.job import open_job
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.verify import contents, plan
from blackholes.verify.check import check, set_aside
from blackholes.verify.plan import Plan
from blackholes.verify.run import run
from helpers import random_history, run_statistics
from snakemake.iocontainers import Log
from test_job import fake

RUN = "qwen/run_001"
HISTORY, COUNTS, EVENTS = (
    f"{RUN}/{name}" for name in ("embedding_evolution.safetensors", "black_hole_counts.safetensors", "events.csv")
)
PICTURES = [f"qwen/figures/loss{kind}" for kind in (".png", ".svg", ".html", ".json", ".h5")]


def write_job(root, name, inputs, outputs, write):
    """A job that has read and written these files, with its records."""
    snakemake = fake(
        root,
        {f"in_{index}": str(root / file) for index, file in enumerate(inputs)},
        {f"out_{index}": str(root / file) for index, file in enumerate(outputs)},
        {"settings": {"seed": 43}, "code": "c0de"},
        rule=name,
    )
    snakemake.log = Log([str(root / "logs" / f"{name}.log")])
    with open_job(snakemake) as job:
        write(job, *(root / file for file in outputs))


def png():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0abc")) + chunk(b"IEND", b"")


def write_pictures(job, picture, drawing, page, facts, history):
    picture.parent.mkdir(parents=True)
    picture.write_bytes(png())
    write_text(drawing, '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><text>σ</text></svg>\n')
    write_text(page, "<html>report</html>\n")
    write_text(facts, '{"holes": 13}\n')
    with h5py.File(history, "w") as file:
        file["W"] = np.ones((2, 3, 4), np.uint16)


def write_counts(job, counts, events):
    made = run_statistics(str(job.input.in_0), counts.parent)
    os.replace(made.counts, counts)
    for other in (made.geometry, made.graphs):
        other.unlink()


def make(root, seed=0):
    def write_history(job, path):
        write_tensors(path, {"embedding_history": random_history(seed=seed)}, job.metadata)

    write_job(root, "train", [], [HISTORY], write_history)
    write_job(root, "black_holes", [HISTORY], [COUNTS, EVENTS], write_counts)
    write_job(root, "figures", [COUNTS, EVENTS], PICTURES, write_pictures)
    return root


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "results")


def states(found):
    """File → state and why, of those that are not well."""
    return {one.file: (one.state, one.why) for one in found if one.state != "ok"}


def flip(path, at, bit):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def test_all_is_well(root):
    found = check(root)
    assert [one.file for one in found] == sorted([HISTORY, COUNTS, EVENTS, *PICTURES])
    assert states(found) == {}
    assert {one.job for one in found if RUN in one.file} == {"train", "black_holes"}


def test_a_hundred_flipped_bits(root):
    """Of 100 random bits, in files of every kind and in the records, each is found, and nothing else is said."""
    chance = random.Random(20)
    files = [*(root / one.file for one in check(root)), *(root / "logs").rglob("*.json")]
    assert len({path.suffix for path in files}) == 7
    found = 0
    for number in range(100):
        path = files[number % len(files)]
        before = path.read_bytes()
        flip(path, chance.randrange(len(before)), chance.randrange(8))
        wrong = states(check(root))
        name = path.relative_to(root).as_posix()
        named = {name, name.removeprefix("logs/records/").removesuffix(".json")} & set(wrong)
        assert named, (name, wrong)
        assert {wrong[one][0] for one in named} <= {"damaged", "foreign"}
        found += bool(named)
        path.write_bytes(before)
    assert found == 100
    assert states(check(root)) == {}


def test_what_is_missing(root):
    (root / EVENTS).unlink()
    assert states(check(root)) == {EVENTS: ("missing", "no such file")}
    expected = {str(root / name): "" for name in (HISTORY, COUNTS, EVENTS, *PICTURES, "qwen/summary.csv")}
    wrong = states(check(root, Plan(expected)))
    assert wrong == {EVENTS: ("missing", "no such file"), "qwen/summary.csv": ("missing", "no such file")}
    del expected[str(root / EVENTS)]
    assert set(states(check(root, Plan(expected)))) == {"qwen/summary.csv"}  # nobody asks for the other any more


def test_what_is_cut_off_or_longer(root):
    for name in (HISTORY, EVENTS, *PICTURES):
        before = (root / name).read_bytes()
        for changed in (before[:-1], before[: len(before) // 2], b"", before + b"\n"):
            (root / name).write_bytes(changed)
            assert {file: state for file, (state, _) in states(check(root)).items()} == {name: "damaged"}
        (root / name).write_bytes(before)


def test_what_is_foreign(root, tmp_path):
    other = make(tmp_path / "other" / "results", seed=1)
    (root / COUNTS).write_bytes((other / COUNTS).read_bytes())
    state, why = states(check(root))[COUNTS]
    assert state == "foreign"
    assert why.startswith("foreign: a complete file, but not the one that black_holes wrote")
    make_again = (root / HISTORY).read_bytes()
    (root / COUNTS).write_bytes(make_again)
    assert states(check(root))[COUNTS] == ("foreign", f"it is {HISTORY}")


def test_what_is_stale(root):
    """The history was made again, otherwise, and what was made from it was not."""

    def write_history(job, path):
        write_tensors(path, {"embedding_history": random_history(seed=7)}, job.metadata)

    write_job(root, "train", [], [HISTORY], write_history)
    old = ("stale", f"made from another {HISTORY}")
    assert states(check(root)) == {COUNTS: old, EVENTS: old}
    planned = {str(root / one.file): "" for one in check(root)} | {str(root / HISTORY): "params changed"}
    assert states(check(root, Plan(planned)))[HISTORY] == ("stale", "params changed")


def test_what_is_orphaned(root):
    (root / "qwen" / "notes.txt").write_text("mine")
    left = root / RUN / ".events.csv.host.1.tmp"
    left.write_text("x")
    orphan = ("orphaned", "no record says that a job wrote it")
    assert states(check(root)) == {"qwen/notes.txt": orphan, left.relative_to(root).as_posix(): orphan}
    planned = {str(root / name): "" for name in (HISTORY, COUNTS, EVENTS)}
    wrong = states(check(root, Plan(planned)))
    assert wrong[PICTURES[0]] == ("orphaned", "the configuration has nothing that makes it")
    planned[str(root / "qwen" / "notes.txt")] = ""
    assert states(check(root, Plan(planned)))["qwen/notes.txt"] == ("foreign", orphan[1])


def test_set_aside_so_that_it_is_made_anew(root):
    flip(root / HISTORY, -1, 0)
    kept = set_aside(root, check(root))
    assert kept == [str(root / RUN / ".embedding_evolution.safetensors.damaged")]
    assert states(check(root))[HISTORY] == ("missing", "no such file")


# --- what a kind has to have


def wrong_with(path):
    return contents.problem(path, {})


STATISTICS = {name: torch.ones(1, dtype=torch.int64) for name in ("spike_token_ids", "degrees", "hole_labels")}
NOT_FINITE = "has NaN or infinity, the first at"


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("embedding_evolution", {"history": torch.ones(1)}, "no tensor 'embedding_history'"),
        (
            "embedding_evolution",
            {"embedding_history": torch.ones(2, 3, 4)},
            "tensor 'embedding_history' is F32 [2, 3, 4], expected BF16 S V D",
        ),
        (
            "pairwise_distances",
            {"chebyshev_distances": torch.ones(2, 3, 4)},
            "tensor 'chebyshev_distances' is [2, 3, 4], expected V to be 3, as beside it",
        ),
        (
            "pairwise_distances",
            {"chebyshev_distances": torch.tensor([[[0.0, 1], [torch.nan, 0]]])},
            f"tensor 'chebyshev_distances' {NOT_FINITE} (0, 1, 0)",
        ),
        (
            "embedding_evolution",
            {"embedding_history": torch.tensor([[[1.0, -torch.inf]]]).bfloat16()},
            f"tensor 'embedding_history' {NOT_FINITE} (0, 0, 1)",
        ),
        (
            "any",
            {"x": torch.tensor(torch.inf, dtype=torch.float64)},
            f"tensor 'x' {NOT_FINITE} (0,)",
        ),
        ("any", {"x": torch.tensor([torch.finfo(torch.float16).max]).half()}, ""),
        ("distance_statistics", STATISTICS | {"nearest": torch.tensor([torch.nan])}, ""),
        ("distance_statistics", STATISTICS | {"edges": torch.tensor([torch.nan])}, f"tensor 'edges' {NOT_FINITE} (0,)"),
    ],
)
def test_tensors_of_a_kind(tmp_path, name, tensors, message):
    write_tensors(tmp_path / f"{name}.safetensors", tensors)
    assert wrong_with(tmp_path / f"{name}.safetensors") == message


def test_sizes_are_the_same_within_a_folder(tmp_path):
    sizes = {}
    write_tensors(tmp_path / "embedding_evolution.safetensors", {"embedding_history": torch.ones(2, 3, 4).bfloat16()})
    assert contents.problem(tmp_path / "embedding_evolution.safetensors", sizes) == ""
    write_tensors(tmp_path / "pairwise_distances.safetensors", {"chebyshev_distances": torch.ones(5, 3, 3)})
    said = contents.problem(tmp_path / "pairwise_distances.safetensors", sizes)
    assert said == "tensor 'chebyshev_distances' is [5, 3, 3], expected S to be 2, as beside it"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"x", "not a complete safetensors file"),
        ("training_log.csv", b"step,loss\n", "no column 'grad_norm'"),
        ("a.csv", b"a,b\n1,2\n3\n", "row 2 has 1 fields, expected 2"),
        ("a.csv", b"a,b\n\xff,2\n", "cannot be loaded: 'utf-8' codec can't decode byte"),
        ("a.json", b"{", "cannot be loaded: Expecting property name"),
        ("a.png", b"GIF", "not a PNG picture"),
        ("a.png", png()[:-12], "the picture has no end"),
        ("a.png", png() + b"x", "there are bytes after the picture"),
        ("a.png", png().replace(b"IDAT", b"IDAU"), "a part of the picture has another checksum than it says"),
        ("a.png", png()[:25], "cannot be loaded: "),
        ("a.svg", b"<svg", "cannot be loaded: "),
        ("a.svg", b"<html/>", "not an SVG picture"),
        ("a.h5", b"x", "cannot be loaded: "),
        ("a.html", b"", "the file is empty"),
    ],
)
def test_what_cannot_be_loaded(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert wrong_with(tmp_path / name).startswith(message)


# --- the command, and what Snakemake says


def test_the_table_and_the_last_line(root):
    said = []
    run(root, None, said.append)
    assert said[0] == f"8 files: 8 ok; {root / 'verify.csv'}"
    flip(root / EVENTS, 3, 1)
    (root / COUNTS).unlink()
    said.clear()
    run(root, None, said.append)
    assert said[:3] == [
        f"missing: {root / COUNTS}: no such file",
        f"damaged: {root / EVENTS}: {states(check(root))[EVENTS][1]}",
        f"8 files: 6 ok, 1 missing, 1 damaged; {root / 'verify.csv'}",
    ]
    with open(root / "verify.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["state"] for row in table if row["file"] in (COUNTS, EVENTS)] == ["missing", "damaged"]
    assert len(table) == 8


def test_the_command(root):
    def call(*arguments):
        ran = subprocess.run(
            [sys.executable, "-m", "blackholes.verify", *arguments],
            cwd=Path(contents.__file__).parents[2],
            capture_output=True,
            text=True,
        )
        return ran.returncode, ran.stdout + ran.stderr

    assert call(str(root))[0] == 0
    flip(root / EVENTS, 3, 1)
    status, said = call(str(root), "--set-aside")
    assert status == 1
    assert f"kept as {root / RUN}/.events.csv.damaged" in said
    status, said = call(str(root / "nowhere"))
    assert (status, said) == (2, f"error: {root / 'nowhere'}: no such folder; expected results\n")


SUMMARY = """output_file\tdate\trule\tlog-file(s)\tstatus\tplan
results/a.csv\tFri\ttrain\tx.log\tok\tno update
results/b.csv\t-\ttrain\t-\tmissing\tupdate pending
results/c.csv\tFri\tnext\tx.log\tok\tupdate pending
results/d.csv\tFri\tnext\tx.log\tparams changed\tupdate pending
"""


def test_what_snakemake_says_of_files(monkeypatch):
    """A file of an entry that was removed from the configuration has no rule; its neighbours are then not asked for."""
    asked = []

    def said(targets, arguments):
        asked.append(list(targets))
        for target in targets:
            if "gone" in target:
                return subprocess.CompletedProcess([], 1, "", f"MissingRuleException:\nNo rule to produce {target} (if")
        text = SUMMARY if targets == ["all"] else "".join(f"{target}\t-\tr\t-\tok\tno update\n" for target in targets)
        return subprocess.CompletedProcess([], 0, "building DAG\n" + text, "")

    monkeypatch.setattr(plan, "_summary", said)
    found = plan.ask([], ["results/a.csv", "results/gone/x.csv", "results/gone/run_001/y.csv", "results/qwen/z.h5"])
    assert found.files == {
        "results/a.csv": "",
        "results/b.csv": "missing",
        "results/c.csv": "update pending",
        "results/d.csv": "params changed",
        "results/qwen/z.h5": "",
    }
    assert found.without_rule == {"results/gone/x.csv", "results/gone/run_001/y.csv"}
    assert len(asked) == 3


def test_a_configuration_that_snakemake_refuses(root, monkeypatch):
    refused = subprocess.CompletedProcess([], 1, "", "WorkflowError in file:\nconfiguration: figures.dpi: 5\n\n")
    monkeypatch.setattr(plan, "_summary", lambda targets, arguments: refused)
    with pytest.raises(UserError) as caught:
        run(root, [], print)
    assert str(caught.value) == "Snakemake cannot say what the results should be: configuration: figures.dpi: 5"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("", "it says nothing"),
        ("Using a profile\n\nsteps: 0\n", "steps: 0"),
        (
            'Config\nWorkflowError in file "a.smk", line 12:\nsteps: 0\n  File "a.smk", line 12, in <module>\n',
            "steps: 0",
        ),
        ("MissingRuleException:\nNo rule to produce x\nmore\n", "No rule to produce x"),
        ("WorkflowError:", "WorkflowError:"),
    ],
)
def test_why_snakemake_refused(said, line):
    assert plan.refusal(said) == line
