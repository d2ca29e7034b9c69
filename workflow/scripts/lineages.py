"""Lineages of the runs of an experiment side by side, and over all of them the escapes of live tokens (row G)."""

from blackholes.artifacts.job import open_job
from blackholes.runs import lineages, survival

with open_job(snakemake) as job:
    lineages.write(job.input.holes, job.input.events, job.input.escapes, job.params.runs, job.output.lineages)
    survival.write(job.input.escapes, job.output.curves, job.output.statistics)
