"""Draws several figures from the same inputs: `params.figures` names modules of blackholes.figures and the outputs."""

from importlib import import_module

from blackholes.artifacts.job import open_job
from blackholes.figures import style

with open_job(snakemake) as job:
    options = job.params.options
    for name in job.params.figures:
        figure = import_module(f"blackholes.figures.{job.params.room}.{name}").from_files(job.input, options)
        style.save(figure, job.output[name], job.output[f"{name}_svg"], dpi=options["dpi"])
