"""Shapes in the kernels' signatures are checked whenever a test calls them. Compiled loops (_*.py) are left alone."""

import os
from importlib.util import find_spec
from pathlib import Path

# NumPy's products here are tiny; on a busy machine its threads wait for each other (a layout took 25 s, not 0.3 s).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before anything imports NumPy

import hypothesis
import pytest
from jaxtyping import config, install_import_hook

hypothesis.settings.register_profile("any speed", deadline=None)  # the clock decides no test
hypothesis.settings.load_profile("any speed")

_kernels = Path(find_spec("blackholes.kernels").origin).parent
install_import_hook([f"blackholes.kernels.{path.stem}" for path in _kernels.glob("[!_]*.py")], "beartype.beartype")


@pytest.fixture
def bad_input():
    """Lets input that contradicts a signature through, to see what the function itself says about it."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
