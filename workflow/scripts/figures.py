"""Draws figures: `params.modules` are modules of blackholes.figures, which read the inputs and name the outputs."""

from importlib import import_module

from blackholes.artifacts.job import open_job
from blackholes.figures import style

with open_job(snakemake) as job:
    options = job.params.options
    for module in job.params.modules:
        name = module.rpartition(".")[2]
        figure = import_module(module).from_files(job.input, options)
        if "note" in options:
            style.qualify(figure, options["note"])
        style.save(figure, job.output[name], job.output[f"{name}_svg"], dpi=options["dpi"])
