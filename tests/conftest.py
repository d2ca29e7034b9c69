"""Shapes in the kernels' signatures are checked whenever a test calls them. Compiled loops (_*.py) are left alone.

Tests of one module run in one process, and all end-to-end tests in one too, since they share a finished run.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest
from jaxtyping import config, install_import_hook

_kernels = Path(find_spec("blackholes.kernels").origin).parent
install_import_hook([f"blackholes.kernels.{path.stem}" for path in _kernels.glob("[!_]*.py")], "beartype.beartype")


@pytest.fixture
def bad_input():
    """Lets input that contradicts a signature through, to see what the function itself says about it."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder in ("e2e", "slurm") else item.path.name))
