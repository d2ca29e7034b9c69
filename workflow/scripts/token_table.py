"""Every token of a checkpoint: what it is, and how likely its vector was never trained (row C)."""

from blackholes.artifacts.job import open_job
from blackholes.checkpoints import token_table

with open_job(snakemake) as job:
    summary = token_table.write(
        job.input.W,
        job.input.holes,
        job.input.sphere,
        job.input.centroid,
        job.input.statistics,
        job.output.tokens,
        job.output.ranking,
        tokenizer=job.input.get("tokenizer") or None,
    )
    job.log(summary)
