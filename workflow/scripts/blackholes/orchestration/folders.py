"""Refuses, in one line at the start, folders that Snakemake itself cannot work in. Imports no torch."""

import os
import shlex
import sys
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
