"""Spherical coordinates, the box and the tokens in it, the holes' centroid and spread (row C)."""

from blackholes.artifacts.job import open_job
from blackholes.checkpoints import overdensity
from blackholes.kernels import device

with open_job(snakemake) as job:
    on = device.choose(job.config["distances"]["device"])
    summary = overdensity.write(
        job.input.W,
        job.input.holes,
        job.output.sphere,
        job.output.centroid,
        job.params.settings,
        metadata=job.metadata | {"device": device.describe(on)},
        device=on,
    )
    job.log(summary)
