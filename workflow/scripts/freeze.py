"""The law of the next weights, checked, and what froze each token of a run (row F)."""

from blackholes.artifacts.job import open_job
from blackholes.runs import force_series, forces
from blackholes.training.forces import rule
from blackholes.training.settings import run_settings

with open_job(snakemake, streamed=["history"]) as job:
    settings = run_settings(job.params.settings, int(job.wildcards.run))
    files = forces.Files(job.input.history, job.input.forces, job.input.log, job.input.model, job.input.corpus)
    optimizer = rule(settings, forces.device(files.forces))
    budget, tick = job.config["distances"]["memory_budget_gb"], job.progress("step")
    dead, last = forces.write(files, optimizer, job.output.freeze, job.output.law, budget, tick)
    token = forces.shown_token(dead, last)
    force_series.write(files.history, files.forces, dead, token, job.output.series, job.metadata, budget, tick)
