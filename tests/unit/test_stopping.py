"""SIGTERM at the worst moments: a call ends once its running jobs have ended, and starts no other."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
# Two jobs, one after the other. Snakemake sends itself SIGTERM once while it holds its scheduler's lock, or twice.
SNAKEFILE = f"""
import os, signal, sys

sys.path.insert(0, {str(SCRIPTS)!r})
from blackholes.orchestration import stopping

stopping.install()

if workflow.is_main_process:
    from snakemake.scheduling.job_scheduler import JobScheduler

    finish, ended = JobScheduler._finish_jobs, []

    def finish_jobs(self):
        assert self._lock.locked()
        finish(self)
        if self.workflow.dag.finished(next(job for job in self.workflow.dag.jobs if job.name == "first")) and not ended:
            ended.append(True)
            for _ in range(SIGNALS):
                os.kill(os.getpid(), signal.SIGTERM)

    JobScheduler._finish_jobs = finish_jobs


rule second:
    input:
        "first",
    output:
        "second",
    shell:
        "touch {{output}}"


rule first:
    output:
        "first",
    shell:
        "touch {{output}}"
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_it_ends_though_the_lock_is_held(tmp_path, signals):
    """Without the module Snakemake 9.27 waits for ever."""
    (tmp_path / "Snakefile").write_text(f"SIGNALS = {signals}\n{SNAKEFILE}")
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert "Will exit after finishing currently running jobs" in ended.stderr
    assert (tmp_path / "first").exists()
    assert not (tmp_path / "second").exists()
