"""What reruns after an edit: a table of edits and the jobs that run, printed at the end of the tests.

`plan` rows are dry runs: the jobs that Snakemake would start with. `run` rows really run: what an edit leaves without a
change of bytes is skipped then.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from e2e.checkout import Checkout, tracked

PACKAGE = "workflow/scripts/blackholes"
OVERLAY = "overlay.yaml"
REPLACE = ("--config", "overwrite=true")
QUESTIONS = {"answer": 1, "questions_figure": 1}
FIGURES = {"experiment_figures": 1, "experiments_figure": 1, "report": 1, "page": 1, **QUESTIONS}
LINEAGE = {"lineage": 1, "lineages": 1, "explorer": 1}
OF_A_RUN = {"hole_members": 1, "lineage_figure": 1}


def append(text: str, *files: str) -> Callable[[Checkout], None]:
    def edit(checkout: Checkout) -> None:
        for name in files:
            checkout.edit(name, text)

    return edit


def overlay(text: str) -> Callable[[Checkout], None]:
    return lambda checkout: checkout.path(OVERLAY).write_text(text + "\n")


def modules(checkout: Checkout):
    return [*checkout.folder.glob(f"{PACKAGE}/**/*.py"), *checkout.folder.glob("workflow/scripts/*.py")]


def comments(checkout: Checkout) -> None:
    for path in modules(checkout):
        path.write_text(path.read_text() + "\n# edited\n")


def docstrings(checkout: Checkout) -> None:
    """Another docstring in every module and function that has one."""
    for path in modules(checkout):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and (
                old := ast.get_docstring(node, False)
            ):
                text = text.replace(old, f"Edited. {old}", 1)
        path.write_text(text)


def formatting(checkout: Checkout) -> None:
    """Reformatted for lines of 60 characters, without the comments that would hold a line together."""
    ruff = [sys.executable, "-m", "ruff", "format", "--isolated", "--quiet", "--line-length", "60"]
    subprocess.run([*ruff, checkout.folder / "workflow/scripts"], check=True)


def touch(checkout: Checkout) -> None:
    """Give every file the same time, now: in what order they are touched must not matter."""
    now = time.time()
    for path in checkout.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path, (now, now))


def checkouts(checkout: Checkout) -> None:
    """Every tracked file is written anew, as `git checkout` of another branch and back does."""
    for name in tracked():
        content = checkout.path(name).read_bytes()
        checkout.path(name).unlink()
        checkout.path(name).write_bytes(content)


@dataclass
class Row:
    edit: str
    make: Callable[[Checkout], None]
    jobs: dict[str, int]  # rule → how many of its jobs
    arguments: list[str] = field(default_factory=list)
    really: bool = False  # run, and not only planned


TABLE = [
    Row("comments in every module and script", comments, {}),
    Row("docstrings of every module and function", docstrings, {}),
    Row("every module formatted otherwise", formatting, {}),
    Row("touch of every file", touch, {}),
    Row("git checkout and back: every file written anew", checkouts, {}),
    Row("--set-threads distances=2", lambda checkout: None, {}, ["--set-threads", "distances=2"]),
    Row("device, time between checkpoints", overlay("training: {device: cpu, checkpoint_seconds: 7}"), {}),
    Row(
        "learning rate of `normal`",
        overlay("experiments: {normal: {learning_rate: 0.002}}"),
        {"train": 1, "distances": 1, "black_holes": 1, "summarise": 1, **LINEAGE, **OF_A_RUN, **FIGURES},
    ),
    Row(
        "divisor of `normal`'s loss",
        overlay("experiments: {normal: {loss_divisor: tokens}}"),
        {"train": 1, "distances": 1, "black_holes": 1, "summarise": 1, **LINEAGE, **OF_A_RUN, **FIGURES},
    ),
    Row(
        "one more run of `normal`",  # two seeds are shared now, so experiments are compared
        overlay("experiments: {normal: {runs: 2}}"),
        {
            **{"train": 1, "distances": 1, "black_holes": 1, "summarise": 1, "compare": 1, "comparison_figure": 1},
            **{**LINEAGE, **FIGURES},
        },
    ),
    Row(
        "corpus of `thimble`",
        overlay("experiments: {thimble: {corpus: {training_part: 0.06}}}"),
        {
            **{"prepare_corpus": 1, "train": 1, "black_holes": 1, "summarise": 1, "experiment_figures": 1},
            **{**LINEAGE, **OF_A_RUN, "lattice_displacements": 1, "lattice_figures": 1, "report": 1, "page": 1},
            **QUESTIONS,
        },
    ),
    Row("distances.store: false", overlay("distances: {store: false}"), {}),
    Row(
        "distances.store: false, and an edit of the distances' script",
        lambda checkout: (
            overlay("distances: {store: false}")(checkout),
            checkout.edit("workflow/scripts/distances.py", "EDITED = 1"),
        ),
        {},
    ),
    Row(
        "a statement in the distances' script",
        append("EDITED = 1", "workflow/scripts/distances.py"),
        {"distances": 3},
        really=True,
    ),
    Row(
        "a statement in a kernel (neighbours), the same bytes",
        append("EDITED = 1", f"{PACKAGE}/kernels/neighbours.py"),
        {"black_holes": 4},
        really=True,
    ),
    Row(
        "a statement in the first job of a chain (read_checkpoint), the same bytes",
        append("EDITED = 1", "workflow/scripts/read_checkpoint.py"),
        {"read_checkpoint": 1},
        really=True,
    ),
    Row(
        "another formula of the geometry: other bytes in one of four files",
        append(
            "_right = cloud\n\n\ndef cloud(snapshots):\n    return {k: 2 * v for k, v in _right(snapshots).items()}",
            f"{PACKAGE}/runs/geometry.py",
        ),
        {"black_holes": 4, "summarise": 3, "experiment_figures": 3, "report": 1, "page": 1},
        really=True,
    ),
    Row(
        "a figure's colour",
        append("style.COLOURS['centroid_displacement'] = '#aa0000'", f"{PACKAGE}/figures/runs/centroid.py"),
        {"experiment_figures": 3, "report": 1, "page": 1},
        really=True,
    ),
]


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("reruns"))


@pytest.fixture
def edited(checkout, finished):
    """The checkout, whose tracked files are put back afterwards."""
    yield checkout
    for name in tracked():
        if (content := finished.path(name).read_bytes()) != checkout.path(name).read_bytes():
            checkout.path(name).write_bytes(content)
    checkout.path(OVERLAY).unlink(missing_ok=True)


@pytest.mark.parametrize("row", [row for row in TABLE if not row.really], ids=lambda row: row.edit)
def test_what_an_edit_would_rerun(edited, row, report_row):
    compare(edited, row, edited.plan, report_row)


@pytest.mark.parametrize("row", [row for row in TABLE if row.really], ids=lambda row: row.edit)
def test_what_an_edit_reruns(finished, tmp_path, row, report_row):
    compare(finished.copy(tmp_path / "clone"), row, Checkout.run, report_row)


def compare(checkout, row, call, report_row):
    row.make(checkout)
    chosen = OVERLAY if checkout.path(OVERLAY).exists() else None
    arguments = (checkout, *row.arguments) if call is Checkout.run else row.arguments
    ran = call(*arguments, overlay=chosen)
    jobs = counts(ran)
    report_row(row.edit, "run" if row.really else "plan", jobs)
    assert jobs == row.jobs
    if row.really:
        assert counts(checkout.plan()) == {}


def counts(ran) -> dict[str, int]:
    """Rule → number of its jobs, but for rules that only collect."""
    blocks = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", ran.log, re.MULTILINE)
    names = [rule for rule, lines in blocks if re.search(r"^    output: ", lines, re.MULTILINE)]
    return {rule: names.count(rule) for rule in names}


def test_a_second_call_does_nothing(finished):
    assert "Nothing to be done" in finished.plan().said


def test_a_fresh_clone_over_the_same_results_reruns_nothing(finished, tmp_path, report_row):
    other = Checkout.fresh(tmp_path / "other")
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.path(name), other.path(name))
    jobs = counts(other.plan())
    report_row("a fresh clone over the same results", "plan", jobs)
    assert jobs == {}


def test_what_was_remade_in_an_earlier_call_still_counts(finished, tmp_path, report_row):
    """Only histories are asked for first. A later call has to know that all after them is of the old training."""
    clone = finished.copy(tmp_path / "clone")
    overlay("experiments: {normal: {learning_rate: 0.002}}")(clone)
    assert counts(clone.run("histories", *REPLACE, overlay=OVERLAY)) == {"train": 1}
    jobs = counts(clone.plan(overlay=OVERLAY))
    report_row("the same as `learning rate`, histories made by an earlier call", "plan", jobs)
    assert jobs == {"distances": 1, "black_holes": 1, "summarise": 1, **LINEAGE, **OF_A_RUN, **FIGURES}


def test_stale_files_that_are_all_touched_count_as_new(finished, tmp_path, report_row):
    """The one case that goes unseen (docs/using.md). A touch of the matrices alone is seen: their benchmark is old."""
    clone = finished.copy(tmp_path / "clone")
    overlay("experiments: {normal: {learning_rate: 0.002}}")(clone)
    clone.run("histories", *REPLACE, overlay=OVERLAY)
    stale = "results/normal/run_001/pairwise_distances.safetensors"
    clone.path(stale).touch()
    assert counts(clone.plan("matrices", overlay=OVERLAY)) == {"distances": 1}
    touch(clone)
    jobs = counts(clone.plan("matrices", overlay=OVERLAY))
    report_row("the same, and then a touch of every file", "plan", jobs)
    assert jobs == {}
