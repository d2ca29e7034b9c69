"""Shapes in the kernels' signatures are checked whenever a test calls them. Compiled loops are not checked.

Here too: what several folders of tests use.
"""

import fcntl
import os
import shutil
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


@pytest.fixture
def one_thread():
    """For modules in which nothing is large: two of torch's threads on a busy machine wait for each other."""
    from blackholes.kernels import backends

    with backends.one_thread():
        yield


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


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A checkout in which the whole workflow has run, tiny, as users start it. Not to be changed: `copy` it.

    Several pytests, side by side or one after the other, share one in the folder FINISHED_RUN; the first makes it.
    """
    from e2e.checkout import Checkout

    shared = os.environ.get("FINISHED_RUN")
    folder = Path(shared) if shared else tmp_path_factory.mktemp("finished")
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder / "checkout", ignore_errors=True)
            Checkout.fresh(folder / "checkout").run()
            (folder / "done").touch()
    return Checkout(folder / "checkout")
