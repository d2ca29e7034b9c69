"""Token black holes: corpus → histories → matrices → statistics → figures → report; checkpoints, snowballs, lattice."""

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")
sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from blackholes.orchestration import (
    code,
    early_cutoff,
    folders,
    forked_jobs,
    gpu_node,
    locks,
    overwrites,
    planning,
    slurm,
    stopping,
    terminal,
)

if workflow.is_main_process:
    folders.refuse(workflow)
    folders.install(workflow)
    locks.release_stale(workflow)
    planning.install(workflow)
    early_cutoff.install(workflow)
    forked_jobs.install(workflow)
    stopping.install()
    slurm.ask_for_one_at_a_time(workflow)
    terminal.show_work_only(workflow)
    terminal.name_logs_that_cannot_be_written()
    code.recall()


# beside this file, whatever folder the call works in
configfile: str(Path(workflow.basedir) / "config" / "config.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/distances.smk"
include: "workflow/rules/black_holes.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/forces.smk"
include: "workflow/rules/comparison.smk"
include: "workflow/rules/questions.smk"
include: "workflow/rules/checkpoints.smk"
include: "workflow/rules/snowballs.smk"
include: "workflow/rules/lattice.smk"
include: "workflow/rules/reproduction.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/verify.smk"
include: "workflow/rules/plan.smk"


if workflow.is_main_process:
    code.keep()


# Targets to ask for by name. Jobs, whose threads and resources are set by name, are in the rules' files.
localrules:
    all,
    corpus,
    histories,
    matrices,
    statistics,
    figures,
    forces,
    comparison,
    questions,
    checkpoints,
    snowballs,
    lattice,
    reproduction,
    contents,
    report,
    verify,
    plan,


rule all:
    default_target: True
    input:
        rules.corpus.input,
        rules.histories.input,
        rules.matrices.input if CONFIG.distances.store else [],
        rules.statistics.input,
        rules.figures.input,
        rules.comparison.input,
        rules.forces.input,
        rules.questions.input,
        rules.checkpoints.input,
        rules.snowballs.input,
        rules.lattice.input,
        REPRODUCTION,
        rules.report.output,
        rules.page.output,


onstart:  # of a call that runs jobs; the executor is known by now
    planning.refuse_targets(workflow)
    overwrites.refuse(workflow, CONFIG)
    planning.remember()
    gpu_node.start(workflow)
    slurm.start(workflow)
    terminal.watch(workflow, CONFIG.results)


onsuccess:
    terminal.end()
    if terminal.asks_for_all(workflow):
        from blackholes import show  # and pandas

        show.at_the_end(CONFIG)


onerror:
    terminal.end()


slurm.refuse_gpus(workflow)
if workflow.is_main_process:
    overwrites.warn(workflow, CONFIG)
