"""What `blackholes.plan` needs of Snakemake: the jobs of a dry run, with reasons, and after a real one what each did.

A dry run that is asked for it, by the environment, writes its jobs to a file. A real one notes the work of every job
that ends, and what digests of code stand for. Imports no torch.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from blackholes.orchestration import code, work

ASK = "BLACKHOLES_PLAN"  # in the environment: where a dry run writes its jobs
DIGESTS = Path(".snakemake/code_digests.json")  # digest of code → module → its own


def install(workflow: Any) -> None:
    """Make this process write its plan, or note the work of its jobs."""
    # here, since outside a Snakemake that runs its modules import each other in a circle
    from snakemake.dag import DAG

    if workflow.output_settings.dryrun:
        if place := os.environ.get(ASK):
            stats = DAG.stats

            def stats_and_plan(self: Any) -> Any:
                needed = self.needrun_jobs(exclude_finished=False)
                jobs = [described(self, job) for job in needed if not job.rule.norun]
                Path(place).write_text(json.dumps({"jobs": jobs, "digests": code.known}), encoding="utf-8")
                return stats(self)

            DAG.stats = stats_and_plan  # which a dry run calls when it knows all of its jobs
        return
    if hasattr(DAG, "notes_work"):  # of an earlier call in this process
        return
    DAG.notes_work, finish = True, DAG.finish

    async def finish_and_note(self: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        for one in job if job.is_group() else [job]:
            if one.benchmark:
                work.note(one.benchmark, one.rule.name, dict(one.wildcards_dict), workflow.config)
        return await finish(self, job, *args, **kwargs)

    DAG.finish = finish_and_note


def refuse_targets(workflow: Any) -> None:
    """End a call that asks for `plan` beside other targets, which it would run. For `onstart`.

    Raises:
        WorkflowError: with the command that plans these targets.
    """
    from snakemake.exceptions import WorkflowError

    targets = [str(target) for target in workflow.dag_settings.targets]
    if "plan" in targets and (others := [target for target in targets if target != "plan"]):
        raise WorkflowError(
            f"plan: refused beside other targets, which would run: {', '.join(others)}. "
            "To plan them, with the --configfile of this call: "
            f"PYTHONPATH=workflow/scripts python -m blackholes.plan -- {' '.join(others)}"
        )


def described(dag: Any, job: Any) -> dict[str, Any]:
    """What a plan says of a job that is to run. Whatever Snakemake does not know of it is left out."""
    reason, records = dag.reason(job), dag.workflow.persistence
    changed = records.params_changed(job) if job.output and records.has_metadata(job) else None
    others = reason.input_changed  # files, or whether there are any
    others = [] if not others or others is True else others
    resources = {key: job.resources.get(key) for key in ("mem_mb", "disk_mb")}
    return {
        "rule": job.rule.name,
        "wildcards": dict(job.wildcards_dict),
        "work": work.work(job.rule.name, job.wildcards_dict, dag.workflow.config),
        "outputs": [str(file) for file in job.output],
        "benchmark": str(job.benchmark or ""),
        "threads": int(job.threads),
        "after": [
            str(file) for other in dag.dependencies[job] if dag.needrun(other) for file in list(other.output)[:1]
        ],
        "resources": {key: value for key, value in resources.items() if isinstance(value, int)},
        "missing": sorted(str(file) for file in reason.missing_output if not os.path.exists(str(file))),
        "incomplete": sorted(map(str, reason.incomplete_output)),
        "inputs": sorted({*map(str, reason.updated_input), *map(str, others)}),
        "derived": bool(reason.derived),
        "old": sorted(map(str, changed.only_old)) if changed else [],
        "new": sorted(map(str, changed.only_new)) if changed else [],
    }


def in_order(jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The jobs, each behind those whose files it reads, and those of a rule together where that allows it."""
    makes = {file: job for job in jobs for file in job["outputs"]}
    depths = dict[int, int]()

    def depth(job: dict[str, Any]) -> int:
        if id(job) not in depths:
            depths[id(job)] = max((1 + depth(makes[file]) for file in job["after"] if file in makes), default=0)
        return depths[id(job)]

    return sorted(jobs, key=lambda job: (depth(job), job["rule"], list(job["wildcards"].values())))


def remember() -> None:
    """Keep what every digest of code of this process stands for, so that a later plan can say which module changed."""
    with suppress(OSError):
        temporary = DIGESTS.with_name(f".{DIGESTS.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(digests() | code.known), encoding="utf-8")
        os.replace(temporary, DIGESTS)


def digests() -> dict[str, dict[str, str]]:
    """Digest of code → module → digest of its statements, of all calls in this folder."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(DIGESTS.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}
