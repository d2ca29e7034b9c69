"""Early cut-off: a job whose inputs were made again, with the same bytes as before, is not run.

Snakemake decides before it starts which jobs to run: one whose parameters changed, and all that depend on it. In a
later call it would compare checksums and find most of these up to date. Here the same comparison is made as soon as the
jobs before one have finished, so an edit that changes no byte stops at the rule that was edited.
"""

import os
from collections.abc import Iterable
from typing import Any

from snakemake.logging import logger


def install(workflow: Any) -> None:
    """Make every DAG of this process skip jobs that turned out to be up to date; a dry run shows all that may run."""
    if workflow.output_settings.dryrun:
        return
    from snakemake.dag import DAG  # here, since outside a Snakemake that runs its modules import each other in a circle

    finish = DAG.finish

    async def finish_and_skip(self: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        result = await finish(self, job, *args, **kwargs)
        skipped = await _skip_unchanged(self, job if job.is_group() else [job])
        return result or skipped

    if finish.__name__ != finish_and_skip.__name__:
        DAG.finish = finish_and_skip


async def _skip_unchanged(dag: Any, finished: Iterable[Any]) -> bool:
    """Drop jobs from the plan that became ready and are up to date, and then those after them; whether any was."""
    queue, skipped = list(finished), []
    while queue:
        after = [job for job in dag.depending[queue.pop()] if job in dag._ready_jobs]
        for job in after:
            if not job.is_group() and await _unchanged(dag, job):
                dag._ready_jobs.remove(job)
                dag._needrun.remove(job)
                dag._finished.add(job)
                waiting = [later for later in dag.depending[job] if dag.needrun(later)]
                for later in waiting:
                    dag._n_until_ready[later] -= 1
                dag.update_ready(waiting)
                queue.append(job)
                skipped.append(_name(job))
                for file in job.output:  # newer than the inputs: a later call need not compare checksums again
                    os.utime(file)
    if skipped:
        logger.info(f"not run, since their inputs have the same bytes as before: {', '.join(skipped)}")
    return bool(skipped)


def _name(job: Any) -> str:
    return "/".join([job.rule.name, *job.wildcards_dict.values()])


async def _unchanged(dag: Any, job: Any) -> bool:
    """Whether a job would run only since others ran before it, and these left the bytes it was last run with."""
    reason, records = dag.reason(job), dag.workflow.persistence
    if not reason.derived or reason.forced or reason.missing_output or not job.output:
        return False
    if not all([await file.exists() for file in job.output]) or await records.incomplete(job):
        return False
    if not records.has_metadata(job) or records.params_changed(job) or any(records.input_changed(job)):
        return False
    for file in job.input:
        known = records.input_checksums(job, str(file))
        if len(known) != 1 or not await file.is_same_checksum(known.pop(), dag.max_checksum_file_size):
            return False
    return True
