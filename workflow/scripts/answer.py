"""The open questions, answered from the runs that there are."""

from blackholes.artifacts.job import open_job
from blackholes.runs.questions import data, tables

with open_job(snakemake, streamed=["histories"]) as job:
    kinds = ("histories", "logs", "counts", "corpora", "escapes", "holes", "events")
    files = [data.Files(*paths) for paths in zip(*(job.input[kind] for kind in kinds), strict=True)]
    recorded = zip(job.params.recorded, job.input.forces, job.input.series, strict=True)
    of = {tuple(run): own for run, own in zip(job.params.runs, files, strict=True)}
    for run, forces, series in recorded:
        of[tuple(run)].forces, of[tuple(run)].series = forces, series
    budget = job.config["distances"]["memory_budget_gb"]
    runs = data.read_all(job.params.runs, files, job.params.settings, job.params.corpora, budget, job.progress("run"))
    tables.write(runs, job.output.questions, job.output.values, job.output.page, job.params.shown)
