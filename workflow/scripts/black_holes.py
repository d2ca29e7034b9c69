"""Black holes of one run, at every step, what becomes of them, and the geometry of the cloud (row B)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.runs import black_holes, geometry

with open_job(snakemake) as job:
    on = device.choose(job.config["distances"]["device"])
    common = {
        "metadata": job.metadata | {"device": device.describe(on)},
        "device": on,
        "budget_gb": job.config["distances"]["memory_budget_gb"],
    }
    history, out = job.input.history, job.output
    black_holes.write(history, out.counts, out.events, progress=job.progress("step"), **common)
    geometry.write(history, out.geometry, progress=job.progress("step"), **common)
