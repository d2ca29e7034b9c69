"""Copies of one finished run of the whole workflow, tiny, for the end-to-end tests."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of `finished` to change."""
    return finished.copy(tmp_path / "clone")


@pytest.fixture
def fresh(finished, tmp_path):
    """A checkout in which nothing has run, but whose kernels are compiled."""
    return finished.clean(tmp_path / "fresh")


TABLE = []  # (edit, how, rule → number of jobs) of test_reruns.py


@pytest.fixture
def report_row():
    """Adds a row to the table of edits that is printed at the end."""
    return lambda *row: TABLE.append(row)


def pytest_terminal_summary(terminalreporter):
    if TABLE:
        terminalreporter.section("edits and the jobs that run")
    for edit, how, jobs in TABLE:
        shown = ", ".join(f"{rule} {count}" for rule, count in sorted(jobs.items())) or "none"
        terminalreporter.line(f"{how:>4}  {edit}: {shown}")
