"""Snakemake's command line in a fork of one process that has imported its libraries: 2 s less a call.

None of the project's own modules is imported before the fork, so every call reads those of its own checkout.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LIBRARIES = ["snakemake.cli", "snakemake.workflow", "pydantic", "numpy", "yaml", "xxhash", "psutil"]


def call(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float) -> tuple[int, str]:
    """(exit status, what it printed) of `snakemake` with these arguments."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    with tempfile.NamedTemporaryFile("r") as said:
        process = context.Process(target=_snakemake, args=(list(arguments), str(folder), dict(environment), said.name))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"snakemake {' '.join(arguments)} took more than {seconds} s:\n{said.read()}")
        return process.exitcode, said.read()


def _snakemake(arguments: list[str], folder: str, environment: dict[str, str], said: str) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for stream in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_APPEND), stream)
    sys.path[:] = [path for path in sys.path if "workflow/scripts" not in path]  # pytest's own checkout
    sys.argv = ["snakemake", *arguments]
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
