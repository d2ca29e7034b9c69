"""Shapes in the kernels' signatures are checked whenever a test calls them. Compiled loops (_*.py) are left alone."""

import os
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


@pytest.fixture
def disk_calls(monkeypatch):
    """What is asked of the disk from here on, in order.

    ("write", inode, None), ("fsync", inode, size of the file by then) and ("replace", inode, new name).
    """
    calls, write, fsync, replace = [], os.pwrite, os.fsync, os.replace

    def recorded_write(handle, data, offset):
        calls.append(("write", os.fstat(handle).st_ino, None))
        return write(handle, data, offset)

    def recorded_fsync(handle):
        calls.append(("fsync", os.fstat(handle).st_ino, os.fstat(handle).st_size))
        return fsync(handle)

    def recorded_replace(source, target):
        calls.append(("replace", os.stat(source).st_ino, Path(target)))
        return replace(source, target)

    for name, recorded in ("pwrite", recorded_write), ("fsync", recorded_fsync), ("replace", recorded_replace):
        monkeypatch.setattr(os, name, recorded)
    return calls
