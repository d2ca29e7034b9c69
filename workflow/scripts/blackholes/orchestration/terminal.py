"""What a user sees while jobs run: their progress lines, errors and how many are done.

Snakemake's blocks about every job (inputs, outputs, reasons, resources) stay in its log under .snakemake/log; in the
terminal they bury the rest. `snakemake --verbose` shows them, and so does a dry run.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snakemake.logging import LogEvent, get_event, logger

from blackholes.artifacts.job import clock, job_name
from blackholes.orchestration import costs, planning, reasons
from blackholes.orchestration.progress import TimeLeft

HIDDEN = {
    *(LogEvent.JOB_INFO, LogEvent.GROUP_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED),
    *(LogEvent.SHELLCMD, LogEvent.RESOURCES_INFO),
}


def show_work_only(workflow: Any) -> None:
    """Hide Snakemake's blocks about jobs from the terminal, but not from its log, in this process."""
    if workflow.output_settings.dryrun or workflow.output_settings.verbose:
        return
    for handler in _handlers():
        handler.addFilter(_is_shown)


def _handlers() -> list[logging.Handler]:
    """Those that write to the terminal."""
    handlers = logging.getLogger("snakemake.logging").handlers
    return [handler for handler in handlers if handler.name == "DefaultStreamHandler"]


def _is_shown(record: logging.LogRecord) -> bool:
    event = get_event(record)
    selecting = event is None and record.getMessage().startswith("Select jobs to execute")
    return event not in HIDDEN and not selecting


class _Watch(logging.Filter):
    """Follows the jobs of a call, for the line that says how many are done, and for the screen."""

    def __init__(self, workflow: Any, results: str):
        super().__init__()
        needed = [job for job in workflow.dag.needrun_jobs(exclude_finished=False) if not job.rule.norun]
        self.dag, self.jobs = workflow.dag, {job.jobid: job for job in needed}
        jobs = {number: planning.described(workflow.dag, job) for number, job in self.jobs.items()}
        past = costs.recorded(Path(results))
        self.again = reasons.again(planning.in_order(list(jobs.values())), planning.digests())
        seconds = {job: costs.cost(one, past).seconds for job, one in jobs.items()}
        self.names = {job: job_name(one["rule"], one["wildcards"]) for job, one in jobs.items()}
        cores = workflow.resource_settings.cores
        # on a cluster it is the cluster's to say how many jobs run at once
        self.time = TimeLeft(jobs, seconds, cores or 1)
        self.known = bool(workflow.local_exec and cores)
        self.screen: Any = None
        self.lock = threading.Lock()
        self.judged, self.left = -1e9, 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        event = get_event(record)
        if event == LogEvent.JOB_STARTED:
            for job in record.__dict__["jobs"]:
                self._start(job)
        elif event == LogEvent.JOB_FINISHED:
            self._end(record.__dict__["job_id"], self.time.end)
        elif event == LogEvent.JOB_ERROR:
            self._end(record.__dict__["jobid"], self.time.fail)
        return True

    def _start(self, job: int) -> None:
        with self.lock:
            self.time.start(job)
        if self.screen and job in self.names:
            self.screen.start(self.names[job])

    def _end(self, job: int, how: Callable[[int], None]) -> None:
        with self.lock:
            how(job)
        if self.screen and job in self.names:
            self.screen.end(self.names[job])

    def words(self) -> str:
        """`3:10 so far, about 36:00 left`"""
        if not self.known:
            return f"{clock(self.time.elapsed)} so far"
        now = time.monotonic()
        with self.lock:
            if now - self.judged > 2:  # thousands of jobs take a while to be put in order
                for job in self.time.waiting:
                    if not self.dag.needrun(self.jobs[job]):  # its inputs are the same as before, after all
                        self.time.drop(job)
                self.judged, self.left = now, self.time.left()
            left = max(self.left - (now - self.judged), 0)
        return f"{clock(self.time.elapsed)} so far, about {clock(left)} left"


_watch: _Watch | None = None


def watch(workflow: Any, results: str) -> None:
    """Say why jobs run again and how long the call still takes; in a terminal, show a line for each running job."""
    global _watch
    settings, handlers = workflow.output_settings, _handlers()
    if settings.dryrun or settings.verbose or settings.quiet or not handlers:
        return
    _watch = _Watch(workflow, results)
    if _watch.again:
        logger.info("\n".join(["Why finished jobs run again:", *reasons.indented(_watch.again)]))
    for handler in handlers:
        handler.filters.insert(0, _watch)  # before the one that hides jobs
    watched = os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("CI")
    if workflow.local_exec and watched:
        from blackholes.orchestration.live import Screen

        _watch.screen = Screen(_watch.names.values(), _watch.words)
        return
    for handler in handlers:
        handler.setFormatter(_Formatter(handler.formatter, _watch))


class _Formatter(logging.Formatter):
    """Snakemake's, with the time after the number of jobs that are done."""

    def __init__(self, own: Any, watched: _Watch):
        super().__init__()
        self.own, self.watched = own, watched

    def format(self, record: logging.LogRecord) -> str:
        text = self.own.format(record)
        return f"{text} · {self.watched.words()}" if get_event(record) == LogEvent.PROGRESS else text


def end() -> None:
    """Leave the terminal as it was."""
    if _watch and _watch.screen:
        _watch.screen.stop()


def asks_for_all(workflow: Any) -> bool:
    """Whether a call makes the page or the report: those who ask for single files want no table of everything."""
    targets = {str(target) for target in workflow.dag_settings.targets}
    return not targets or bool(targets & {"all", "page", "report"})


def name_logs_that_cannot_be_written() -> None:
    """Let a failed job whose log cannot be written end in one line, where Snakemake itself ends with a traceback."""
    # here, since outside a Snakemake that runs its modules import each other in a circle
    from snakemake.dag import DAG

    handle = DAG.handle_log
    if handle.__module__ == __name__:
        return

    async def handle_log(self: Any, *arguments: Any, **options: Any) -> None:
        try:
            await handle(self, *arguments, **options)
        except OSError as error:
            logger.error(f"{error.filename}: cannot be written: {error.strerror}")

    DAG.handle_log = handle_log
