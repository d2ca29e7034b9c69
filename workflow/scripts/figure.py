"""Draws one figure: `params.figure` names a module of blackholes.figures, which reads the inputs."""

from importlib import import_module

from blackholes.artifacts.job import open_job
from blackholes.figures import style

with open_job(snakemake) as job:
    module = import_module(f"blackholes.figures.{job.params.figure}")
    options = job.params.get("options") or {}
    figure = module.from_files(job.input, options)
    style.save(figure, job.output.png, job.output.svg, dpi=options.get("dpi", 200))
