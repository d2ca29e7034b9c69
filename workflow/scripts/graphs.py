"""Components and densities of one run's graphs, for every adjacency and step (row B)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.runs import graphs

with open_job(snakemake) as job:
    on = device.choose(job.config["distances"]["device"])
    graphs.write_graph_statistics(
        job.input.history,
        job.input.get("distances"),
        job.params.adjacency,
        job.output.graphs,
        metadata=job.metadata | {"device": device.describe(on)},
        device=on,
        budget_gb=job.config["distances"]["memory_budget_gb"],
        progress=job.progress("step"),
    )
