"""One cluster and one undisturbed run for all tests here, and a table of what was done to it at the end."""

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import aligned
from slurm import alone, cluster, faults

HERE = Path(__file__).parent


def pytest_cmdline_main(config):
    """Become a pytest in namespaces of its own. Asked by pytest where a path in tests/slurm is given to it."""
    if not config.option.collectonly and alone.INSIDE not in os.environ and not cluster.missing() and alone.possible():
        command = alone.command("-m", "pytest", *config.invocation_params.args)
        sys.stdout.flush()
        os.execvp(command[0], command)


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            if why := cluster.missing():
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def slurm():
    """The folder of a running cluster. Its name is short, since a socket is in it."""
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/run") as folder:
        with cluster.cluster(Path(folder) / "cluster") as running:
            yield running


@pytest.fixture(scope="session")
def undisturbed(finished, tmp_path_factory):
    """File → digest of the training that faults befall, when none does, on this machine alone."""
    checkout = finished.copy(tmp_path_factory.mktemp("undisturbed"))
    checkout.path("overlay.yaml").write_text(faults.OVERLAY)
    checkout.run(faults.TARGET, overlay="overlay.yaml", cores=1)
    return faults.digests(checkout)


@pytest.fixture(scope="session")
def outcomes(request, slurm, finished, tmp_path_factory):
    """Fault → the training that it befell, and "gpu" → on_gpus, as futures: all at once, since each mostly waits."""
    asked = [item.callspec.params["name"] for item in request.session.items if "befell" in item.name]
    copies = {name: finished.copy(tmp_path_factory.mktemp("fault")) for name in (*asked, "gpu")}
    with ThreadPoolExecutor(len(copies)) as pool:
        befell = {name: pool.submit(faults.befall, faults.FAULTS[name], copies[name], slurm) for name in asked}
        yield befell | {"gpu": pool.submit(faults.on_gpus, copies["gpu"])}


TABLE = []  # (fault, states of SLURM's jobs, step gone on from, seconds)


@pytest.fixture
def report_row():
    """Adds a row to the table of faults that is printed at the end."""
    return lambda *row: TABLE.append(row)


def pytest_terminal_summary(terminalreporter):
    if TABLE:
        terminalreporter.section("faults, and how a training on the cluster ended")
        head = ("fault", "states of its jobs", "resumed after step", "result", "seconds")
        for line in aligned(head, *TABLE):
            terminalreporter.line(line)
