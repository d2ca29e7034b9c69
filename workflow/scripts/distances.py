"""Chebyshev matrices of one run (row B)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.runs import distances

with open_job(snakemake, streamed=["history"]) as job:
    on = device.choose(job.config["distances"]["device"])
    size = distances.write_chebyshev(
        job.input.history,
        job.output.distances,
        metadata=job.metadata | {"device": device.describe(on)},
        device=on,
        budget_gb=job.config["distances"]["memory_budget_gb"],
        progress=job.progress("step"),
    )
    experiment = job.wildcards.experiment
    job.log(distances.storage(size, job.config["experiments"][experiment]["runs"], experiment))
