"""Centroid, norms and radius of one run's token cloud, at every step (row B)."""

from blackholes.analysis import geometry
from blackholes.artifacts.job import open_job
from blackholes.kernels import device

with open_job(snakemake) as job:
    on = device.choose(job.config["distances"]["device"])
    geometry.write(
        job.input.history,
        job.output.geometry,
        metadata=job.metadata | {"device": device.describe(on)},
        device=on,
        budget_gb=job.config["distances"]["memory_budget_gb"],
        progress=job.progress("step"),
    )
