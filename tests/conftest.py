"""Shapes in the kernels' signatures are checked whenever a test calls them. Compiled loops are not checked."""

from importlib.util import find_spec
from pathlib import Path

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
