"""Token black holes: corpus → training runs → histories → distances → black holes and graphs → figures → report."""

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")
sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from blackholes.orchestration import locks

if workflow.is_main_process:
    locks.hold()  # and release what a killed Snakemake left locked


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs/figures.smk"
include: "workflow/rules/inputs/checkpoints.smk"
include: "workflow/rules/inputs/snowballs.smk"
include: "workflow/rules/inputs/lattice.smk"
include: "workflow/rules/inputs/reproduction.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/distances.smk"
include: "workflow/rules/black_holes.smk"
include: "workflow/rules/summary.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/checkpoints.smk"
include: "workflow/rules/snowballs.smk"
include: "workflow/rules/lattice.smk"
include: "workflow/rules/reproduction.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    contents,
    corpus,
    train,
    distances,
    black_holes,
    figures,
    checkpoints,
    snowballs,
    lattice,
    reproduction,
    report,
    write_report,


rule all:
    default_target: True
    input:
        rules.corpus.input,
        rules.train.input,
        rules.distances.input if CONFIG.distances.store else [],
        rules.black_holes.input,
        rules.figures.input,
        rules.checkpoints.input,
        rules.snowballs.input,
        rules.lattice.input,
        REPRODUCTION if COMPARED else [],
        rules.report.input,
