"""Damaged files: a job that reads one names it, the next call makes it anew, and `verify` finds them all."""

import csv
import os
import random

from blackholes.verify.check import check
from e2e.test_reruns import counts, overlay

RUN = "results/normal/run_001"
HISTORY = f"{RUN}/embedding_evolution.safetensors"
STATISTICS = "results/qwen/run_001/graph_statistics.safetensors"


def flip(path, chance):
    """Change one bit, and keep the times of the file."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_damaged_input_is_an_error_and_the_next_call_makes_it_anew(clone, finished):
    """One that a job compares before it starts, and a history, which is compared while it is read."""
    statistics, history = clone.path(STATISTICS), clone.path(HISTORY)
    for damaged in (statistics, history):
        flip(damaged, random.Random(1))
        os.utime(damaged)  # as if it was new, so that what reads it is to run
    first = clone.run("--keep-going", status=1)
    assert f"error: {STATISTICS}: damaged: its tensors are not those that black_holes qwen/run_001 wrote" in first.said
    assert f"error: {HISTORY}: damaged: its tensors are not those that were written" in first.said
    for damaged in (statistics, history):
        kept = damaged.with_name(f".{damaged.name}.damaged")
        assert f"it is kept as {kept.relative_to(clone.folder)}, and the next call makes it anew" in first.said
        assert not damaged.exists()
        assert kept.exists()
    assert {"train", "prepare_corpus"}.isdisjoint(first.jobs)
    second = counts(clone.run())
    assert second["train"] == 1
    assert second["black_holes"] in (1, 2)  # that of `normal` only if it was it that met the damaged history
    assert clone.digests() == finished.digests()
    assert counts(clone.plan()) == {}


def test_verify(clone, report_row):
    """All is well; then of every kind of file one has a flipped bit, and a time that says nothing of it."""
    assert clone.run("verify").said.count("results/verify.csv") == 1
    table = list(csv.DictReader(clone.path("results/verify.csv").read_text().splitlines()))
    assert {row["state"] for row in table} == {"ok"}
    assert {row["file"] for row in table} == set(clone.results("logs/", "benchmarks/", "verify.csv"))

    overlay("experiments: {normal: {learning_rate: 0.002}}")(clone)
    said = clone.run("verify", status=1, overlay="overlay.yaml").said
    for file in (HISTORY, f"{RUN}/black_hole_counts.safetensors"):
        assert f"stale: {file}: of another configuration: learning_rate: 0.001 → 0.002" in said
    assert "stale: results/qwen/run_001" not in said

    chance, root = random.Random(2), clone.path("results")
    one_of_each = {(path.name, path.parts[-3] == "checkpoints"): path for path in sorted(root.rglob("*.*"))}
    kinds = {path for path in one_of_each.values() if path.is_file() and path.suffix not in (".log", ".tsv")}
    kinds = {path for path in kinds if "logs" not in path.parts and path.name != "verify.csv"}
    assert len(kinds) > 60
    for path in kinds:
        flip(path, chance)
    wrong = {root / one.file for one in check(root) if one.state in ("damaged", "foreign")}
    assert wrong == kinds
