"""Refuses to replace finished runs by runs of other settings, before anything runs. Imports no torch."""

from pathlib import Path
from typing import Any

from blackholes.config import compare
from blackholes.config.model import Config
from blackholes.orchestration.reasons import indented


def refuse(workflow: Any, config: Config) -> None:
    """End a call that would replace finished runs by others. For `onstart`: the jobs of the call are known by then.

    Raises:
        WorkflowError: naming the runs, the keys with old and new values, and the two ways on.
    """
    from snakemake.exceptions import WorkflowError

    if not config.overwrite and (lines := replaced(workflow.dag, config)):
        raise WorkflowError("\n".join(said(lines, config.results)))


def warn(workflow: Any, config: Config) -> None:
    """Make a dry run say at its end that the call itself would be refused, and why."""
    from snakemake.dag import DAG
    from snakemake.logging import logger

    if not workflow.output_settings.dryrun or config.overwrite:
        return
    print_reasons = DAG.print_reasons

    def print_reasons_and_this(self: Any) -> None:
        print_reasons(self)
        if lines := replaced(self, config):
            logger.warning("\n".join(["without --dry-run this call is refused:", *said(lines, config.results)]))

    DAG.print_reasons = print_reasons_and_this


def replaced(dag: Any, config: Config) -> dict[str, list[str]]:
    """<experiment>/<run> → lines `key: old → new`, of the finished runs that jobs of this call would replace.

    Runs that would be trained again with the same settings, say after an edit of code, are none of them.
    """
    results, found, corpora = Path(config.results), {}, set[str]()
    for job in dag.needrun_jobs(exclude_finished=False):
        if job.rule.name == "prepare_corpus":
            corpora.add(job.wildcards_dict["corpus"])
        for file in map(Path, map(str, job.output)):
            if file.name == compare.HISTORY and file.is_file():
                experiment, run = file.parts[-3:-1]
                if lines := compare.run_differences(config, results, experiment, run):
                    found[f"{experiment}/{run}"] = lines
    if not found:  # the corpus alone was asked for
        for name in sorted(corpora):
            if lines := compare.corpus_differences(config, results, name):
                found[f"corpus/{name}"] = lines
    return dict(sorted(found.items()))


def said(runs: dict[str, list[str]], results: str) -> list[str]:
    """The lines of a refusal."""
    return [
        f"{results}: finished results of other settings would be replaced:",
        *indented([f"{name}: {'; '.join(lines)}" for name, lines in compare.together(runs).items()]),
        "Keep them: another folder for the new ones, `results: …` in your overlay or --config results=results/other.",
        "Or replace them: --config overwrite=true.",
    ]
