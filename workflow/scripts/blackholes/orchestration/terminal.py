"""What a user sees while jobs run: their progress lines, errors and how many are done.

Snakemake's blocks about every job (inputs, outputs, reasons, resources) stay in its log under .snakemake/log; in the
terminal they bury the rest. `snakemake --verbose` shows them, and so does a dry run.
"""

import logging
from typing import Any

from snakemake.logging import LogEvent, get_event

HIDDEN = {
    *(LogEvent.JOB_INFO, LogEvent.GROUP_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED),
    *(LogEvent.SHELLCMD, LogEvent.RESOURCES_INFO),
}


def show_work_only(workflow: Any) -> None:
    """Hide Snakemake's blocks about jobs from the terminal, but not from its log, in this process."""
    if workflow.output_settings.dryrun or workflow.output_settings.verbose:
        return
    for handler in logging.getLogger("snakemake.logging").handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(_is_shown)


def _is_shown(record: logging.LogRecord) -> bool:
    event = get_event(record)
    selecting = event is None and record.getMessage().startswith("Select jobs to execute")
    return event not in HIDDEN and not selecting


def asks_for_all(workflow: Any) -> bool:
    """Whether a call makes the page or the report: those who ask for single files want no table of everything."""
    targets = {str(target) for target in workflow.dag_settings.targets}
    return not targets or bool(targets & {"all", "page", "report"})


def name_logs_that_cannot_be_written() -> None:
    """Let a failed job whose log cannot be written end in one line, where Snakemake itself ends with a traceback."""
    # here, since outside a Snakemake that runs its modules import each other in a circle
    from snakemake.dag import DAG
    from snakemake.logging import logger

    handle = DAG.handle_log
    if handle.__module__ == __name__:
        return

    async def handle_log(self: Any, *arguments: Any, **options: Any) -> None:
        try:
            await handle(self, *arguments, **options)
        except OSError as error:
            logger.error(f"{error.filename}: cannot be written: {error.strerror}")

    DAG.handle_log = handle_log
