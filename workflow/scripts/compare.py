"""Experiments compared by pairs of runs with the same seed."""

from blackholes.artifacts.job import open_job
from blackholes.runs import comparison

with open_job(snakemake, streamed=["histories"]) as job:
    kinds = (job.input.logs, job.input.counts, job.input.histories, job.input.corpora)
    of_runs = zip(job.params.runs, *kinds, strict=True)
    files = {tuple(run): comparison.Files(*paths) for run, *paths in of_runs}
    pairs = comparison.by_pair(job.params.pairs, files)
    budget = job.config["distances"]["memory_budget_gb"]
    comparison.write(pairs, job.params.steps, job.output.comparison, budget, job.progress("run"))
