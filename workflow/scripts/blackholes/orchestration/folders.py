"""Refuses, in one line, folders that Snakemake itself cannot work in. Imports no torch."""

import os
import shlex
import sys
from collections.abc import Callable
from typing import Any


def refuse(workflow: Any) -> None:
    """End with one line where a path would be taken for something else.

    Snakemake takes braces in the path of a workflow for wildcards. And where jobs are not forks (see `forked_jobs`), on
    a cluster or beside Linux, it writes the path of the Python interpreter into a shell command without quoting it.
    """
    for folder in (str(workflow.basedir), os.getcwd()):
        if "{" in folder or "}" in folder:
            sys.exit(f"{folder}: braces in the path, which Snakemake takes for wildcards; move it where there are none")
    settings = workflow.resource_settings
    on_cluster = settings.cores is None and settings.nodes is not None
    forks = sys.platform == "linux" and not on_cluster
    if not forks and not workflow.output_settings.dryrun and shlex.quote(sys.executable) != sys.executable:
        sys.exit(
            f"{sys.executable}: Snakemake does not quote this path when it starts jobs "
            f"{'on a cluster' if on_cluster else 'on this system'}; use an environment whose path has no spaces"
        )


def install(workflow: Any) -> None:
    """Make Snakemake say in a line why it cannot prepare a job: a folder that turned read-only, or a full disk.

    Before a job starts Snakemake deletes its log and makes folders for what it writes.
    """
    if workflow.output_settings.dryrun:
        return
    # here, since outside a Snakemake that runs its modules import each other in a circle
    from snakemake.jobs import Job

    if not hasattr(Job, "says_why"):  # of an earlier call in this process
        Job.says_why, Job.prepare = True, in_a_line(Job.prepare)


def in_a_line(prepare: Callable[..., Any]) -> Callable[..., Any]:
    """The coroutine function, with a WorkflowError, which Snakemake prints without a traceback, for an OSError."""
    from snakemake.exceptions import WorkflowError

    async def prepare_or_say(self: Any) -> None:
        try:
            await prepare(self)
        except OSError as error:
            raise WorkflowError(f"error: {error.filename}: cannot be written: {error.strerror}") from None

    return prepare_or_say
