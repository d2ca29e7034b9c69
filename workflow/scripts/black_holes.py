"""Black holes of one run, at every step, and what becomes of them (row B)."""

from blackholes.analysis import black_holes
from blackholes.artifacts.job import open_job
from blackholes.kernels import device

with open_job(snakemake) as job:
    on = device.choose(job.config["distances"]["device"])
    black_holes.write(
        job.input.history,
        job.output.counts,
        job.output.events,
        metadata=job.metadata | {"device": device.describe(on)},
        device=on,
        budget_gb=job.config["distances"]["memory_budget_gb"],
        progress=job.progress("step"),
    )
