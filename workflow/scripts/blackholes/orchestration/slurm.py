"""What Snakemake's SLURM executor (version 2 of the plugin) needs to lose no job and wait for none in vain.

`ask_for_one_at_a_time` is called before jobs are known, `start` when the executor is. Where jobs do not run through
SLURM, nothing changes.
"""

import asyncio
import math
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from blackholes.orchestration import locks

Answer = tuple[dict[str, str] | None, float | None]  # job → state, and the seconds the question took; or no answer
_NAME = re.compile(r"(.*_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # the plugin names jobs so, after a prefix
_ASK_AGAIN = 10.0  # seconds
_FORGOTTEN = 240  # seconds that ended jobs have to stay visible; the plugin asks every 180 s or more often


def refuse_gpus(workflow: Any) -> None:
    """Refuse the resource `gpus`: SLURM is asked for nothing, and the job fails or computes on the CPU.

    Raises:
        WorkflowError: a rule, a profile or the command line has it.
    """
    named = [rule.name for rule in workflow.rules if "gpus" in rule.resources]
    if named:
        rules = ", ".join(sorted(named)[:3])
        raise WorkflowError(f"resources: gpus of {rules} is not allowed; expected gpu, as in gpu=1")


def ask_for_one_at_a_time(workflow: Any) -> None:
    """Let a group ask for what the largest of its jobs needs, and for the minutes of all of them.

    Snakemake asks for the sum of their threads and memory and the longest of their times, as if they ran side by side.
    But this plugin runs the jobs of a group one after the other: they would end too late and leave most CPUs idle.
    """
    from snakemake.resources import GroupResources

    side_by_side = GroupResources.basic_layered

    def asked_for(toposorted_jobs: Any, **more: Any) -> Any:
        if workflow.executor_plugin is not None and workflow.executor_plugin.name == "slurm":
            toposorted_jobs = [[job] for jobs in toposorted_jobs for job in jobs]
        return side_by_side(toposorted_jobs=toposorted_jobs, **more)

    GroupResources.basic_layered = asked_for


def start(workflow: Any) -> None:
    """Choose a way of asking for jobs' states that works, wait out outages, and cancel what a killed call left.

    Raises:
        WorkflowError: neither sacct nor squeue can tell how a job ended.
    """
    if workflow.executor_plugin is None or workflow.executor_plugin.name != "slurm":
        return
    plugin = sys.modules["snakemake_executor_plugin_slurm"]
    if choose_status_command(workflow.executor_settings) == "squeue":
        # The plugin asks the controller for this again and again, and turns to sacct while there is no answer.
        plugin.get_min_job_age = lambda: math.inf  # type: ignore[attr-defined]
    plugin.query_job_status = patient(plugin.query_job_status)  # type: ignore[attr-defined]
    if locks.alone():
        cancel_orphans(Path(workflow.workdir_init))


def choose_status_command(settings: Any) -> str:
    """Where sacct, which is the default, does not work, set squeue: the plugin would wait for sacct for ever.

    Returns:
        "squeue" where that is all there is to ask, else "sacct".

    Raises:
        WorkflowError: squeue would not do either, since SLURM forgets ended jobs too soon.
    """
    failed = _output("sacct", "--noheader", "--allocations")[1]
    if not failed:
        return "sacct"
    shown = re.search(r"^MinJobAge\s*=\s*(\d+)", _output("scontrol", "show", "config")[0], re.MULTILINE)
    if shown and int(shown[1]) < _FORGOTTEN:
        raise WorkflowError(
            f"SLURM forgets how jobs ended: sacct says {failed!r}, and MinJobAge in slurm.conf is {shown[1]} s; "
            f"expected slurmdbd, or a MinJobAge of {_FORGOTTEN} s"
        )
    if settings.status_command == "sacct":
        _say(f"squeue is asked for the states of jobs, since sacct says: {failed}")
        settings.status_command = "squeue"
    return "squeue"


def patient(query: Callable[[str, Any], Awaitable[Answer]]) -> Callable[[str, Any], Awaitable[Answer]]:
    """A question for jobs' states that always gets an answer, and in which a preempted job has ended.

    The plugin drops all jobs, and waits for ever, if it gets no answer a few times; so while the controller is away
    it has to wait here. It takes a preempted job for one that goes on, which is right only if SLURM queues it again.
    """

    async def ask(command: str, logger: Any) -> Answer:
        states, seconds = await query(command, logger)
        if states is None:
            _say("SLURM does not answer; waiting until it does. Jobs go on meanwhile")
            while states is None:
                await asyncio.sleep(_ASK_AGAIN)
                states, seconds = await query(command, logger)
            _say("SLURM answers again")
        preempted = [job for job, state in states.items() if state == "PREEMPTED"]
        if preempted:  # sacct says so of a job that was queued again, too
            now = await asyncio.to_thread(_states, preempted)
            states = states | {job: now.get(job, "CANCELLED") for job in preempted}
            states = {job: "CANCELLED" if state == "PREEMPTED" else state for job, state in states.items()}
        return states, seconds

    return ask


def cancel_orphans(folder: Path, seconds: float = 60) -> list[str]:
    """Cancel the jobs that another Snakemake submitted from `folder`, wait until they are gone, and return them.

    To be called while no other Snakemake uses the folder: theirs was killed, and would write beside this one's.
    """
    orphans = _jobs_of(folder)
    if orphans:
        _say(f"jobs of a Snakemake that was killed are cancelled: {', '.join(orphans)}")
        _output("scancel", *orphans)
    deadline = time.monotonic() + seconds
    while orphans and _jobs_of(folder) and time.monotonic() < deadline:
        time.sleep(1)
    return orphans


def _jobs_of(folder: Path) -> list[str]:
    """Jobs in SLURM's queue that a Snakemake submitted from `folder`."""
    listed, _ = _output("squeue", "--me", "--noheader", "--format=%A|%j|%Z")
    jobs = [line.split("|", 2) for line in listed.splitlines()]
    return [job for job, name, place in jobs if _NAME.fullmatch(name) and Path(place).resolve() == folder.resolve()]


def _states(jobs: list[str]) -> dict[str, str]:
    """Job → state, as the controller knows it; a job that it has forgotten is not there."""
    said, _ = _output("squeue", f"--jobs={','.join(jobs)}", "--states=all", "--noheader", "--format=%i|%T")
    return dict(line.split("|") for line in said.splitlines())


def _output(*command: str) -> tuple[str, str]:
    """What a command prints, and the last line that it says if it fails."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    said = (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]
    return ran.stdout, said if ran.returncode else ""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
