"""What became of the black holes of one run (row G), and when its live tokens left the dead."""

from blackholes.artifacts.job import open_job
from blackholes.runs import escapes, lineage
from blackholes.training import occurrences, tokens
from blackholes.training.settings import run_settings

with open_job(snakemake) as job:
    budget = job.config["distances"]["memory_budget_gb"]
    outputs = lineage.Outputs(job.output.holes, job.output.graph, job.output.events)
    lineage.write(job.input.counts, outputs, job.params.flicker, budget, job.progress("step"))

    settings = run_settings(job.params.settings, int(job.wildcards.run))
    token_ids = tokens.load(job.input.corpus).token_ids.numpy()
    first = occurrences.first_steps(token_ids, settings, job.input.corpus)
    escapes.write(job.input.counts, job.input.tokens, first, job.output.escapes, budget)
