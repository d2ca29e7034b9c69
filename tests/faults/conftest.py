"""Two finished runs, of two configurations, for all faults; and a table of faults and outcomes at the end."""

import os
from pathlib import Path

import pytest
from helpers import aligned

HERE = Path(__file__).parent
OTHER = "overwrite: true\nexperiment_defaults: {learning_rate: 0.002}\nsnowballs: {trained: {n_trials: 6}}\n"
TABLE = []  # (fault, what was done, outcome)


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def seed():
    """FAULTS_SEED, or one that differs from call to call; the table says which."""
    return int(os.environ.get("FAULTS_SEED", int.from_bytes(os.urandom(3), "big")))


@pytest.fixture
def clone(finished, tmp_path):
    return finished.copy(tmp_path / "clone")


@pytest.fixture
def fresh(finished, tmp_path):
    return finished.clean(tmp_path / "fresh")


@pytest.fixture(scope="session")
def other(finished, tmp_path_factory):
    """A checkout in which another configuration has run, overlay.yaml. Not to be changed."""
    checkout = finished.copy(tmp_path_factory.mktemp("other"))
    checkout.path("overlay.yaml").write_text(OTHER)
    checkout.run(overlay="overlay.yaml")
    return checkout


@pytest.fixture
def report_row():
    """Adds a row to the table that is printed at the end."""
    return lambda *row: TABLE.append(row)


def pytest_terminal_summary(terminalreporter):
    if TABLE:
        terminalreporter.section("faults and outcomes")
        for line in aligned(("fault", "what was done", "outcome"), *TABLE):
            terminalreporter.line(line)
