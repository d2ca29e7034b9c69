"""Black holes, events, geometry and graphs of one run, at every step (row B)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.runs import statistics

with open_job(snakemake, streamed=["history"]) as job:
    on = device.choose(job.config["distances"]["device"])
    out = job.output
    left = statistics.write(
        job.input.history,
        job.params.adjacency,
        statistics.Outputs(out.counts, out.events, out.geometry, out.graphs),
        metadata=job.metadata | {"device": device.describe(on)},
        device=on,
        budget_gb=job.config["distances"]["memory_budget_gb"],
        progress=job.progress("step"),
    )
    job.log(left)
