"""Start the scripts of jobs as forks of one process that has imported torch.

Snakemake starts a Python for every job, and importing torch takes longer than many jobs here work. So the first job of
a call starts a server (multiprocessing's "forkserver"), which imports the libraries once, and every job is a fork of
it: a process of its own, with its own memory, threads and exit status. A job ends with the Snakemake that started it.

Only where Snakemake runs all jobs on its own machine are they started so, and of these not the ones with a conda
environment, a container or environment modules. On a cluster the few local jobs start as Snakemake starts them: the
login node imports no torch. Nor does this module.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import nullcontext
from importlib.util import find_spec
from multiprocessing import connection
from pathlib import Path
from typing import Any

IMPORTED = ["snakemake.script", "torch", "numba", "jaxtyping"]
THREADS = ["OMP_NUM", "GOTO_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM", "NUMEXPR_NUM"]
_starting = threading.Lock()


def install(workflow: Any) -> None:
    """Make this process start Python scripts as forks, where it runs jobs itself."""
    if sys.platform != "linux" or workflow.output_settings.dryrun:  # on macOS a fork breaks Apple's libraries
        return
    # here, since outside a Snakemake that runs its modules import each other in a circle
    from snakemake.script import PythonScript

    start_python = PythonScript.execute_script

    def execute_script(self: Any, fname: str, edit: bool = False) -> None:
        own_environment = self.conda_env or self.container_img or self.env_modules or self.shadow_dir
        if edit or own_environment or not workflow.local_exec:  # known by now
            start_python(self, fname, edit=edit)
        else:
            _run(self, fname)

    if start_python.__module__ != __name__:
        multiprocessing.get_context("forkserver").set_forkserver_preload(IMPORTED)
        # Under this name multiprocessing does not run the program's file in every fork, which would import all of
        # Snakemake.
        sys.modules["__main__"].__spec__ = find_spec("snakemake.__main__")
        PythonScript.execute_script = execute_script


def _run(script: Any, file: str) -> None:
    """Run a script's file in a fork and wait for it, as Snakemake's shell() does with a command."""
    context = multiprocessing.get_context("forkserver")
    with _starting:  # Snakemake starts each job from a thread of its own
        process = context.Process(target=_work, args=(file, script.threads, script.resources.get("tmpdir")))
        process.start()
        # Starting a process asks after all others that multiprocessing knows, and takes their exit status from the
        # thread that waits for it. So each is known to its own thread only.
        multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]
    with _measured(process.pid, script.bench_record):
        process.join()
    if process.exitcode:
        raise subprocess.CalledProcessError(process.exitcode, f"{sys.executable} {file}")


def _measured(pid: int | None, record: Any) -> Any:
    """Snakemake's measurement of a process for the rule's benchmark file."""
    if record is None:
        return nullcontext()
    from snakemake.benchmark import benchmarked

    return benchmarked(pid, record)


def _work(file: str, threads: int, tmpdir: str | None) -> None:
    """What a fork does: the script, with the environment that Snakemake gives to scripts."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update({f"{name}_THREADS": str(threads) for name in THREADS})
    sys.modules["torch"].set_num_threads(threads)  # it read these variables when it was imported
    if tmpdir:
        os.environ.update(TMPDIR=tmpdir, TMP=tmpdir, TEMPDIR=tmpdir, TEMP=tmpdir)
        tempfile.tempdir = None
    Path("/proc/self/comm").write_text(Path(file).stem.partition(".")[2][:15])  # what `top` shows
    sys.argv = [file]
    runpy.run_path(file, run_name="__main__")


def _end_with_parent() -> None:
    """Kill this process once the Snakemake that started it is gone, so that no job writes results nobody waits for."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
