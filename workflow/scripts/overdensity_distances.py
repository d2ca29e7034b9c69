"""Exact distances between the tokens in the box, and statistics of them (row C)."""

from blackholes.artifacts.job import open_job
from blackholes.checkpoints import overdensity_distances
from blackholes.kernels import device

with open_job(snakemake) as job:
    on = device.choose(job.config["distances"]["device"])
    summary = overdensity_distances.write(
        job.input.W,
        job.input.sphere,
        job.output.distances,
        job.output.table,
        job.output.statistics,
        job.params.threshold,
        metadata=job.metadata | {"device": device.describe(on)},
        device=on,
        budget_gb=job.config["checkpoints"][job.wildcards.checkpoint]["memory_budget_gb"],
        progress=job.progress("row"),
    )
    job.log(summary)
