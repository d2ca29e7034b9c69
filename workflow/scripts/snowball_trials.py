"""The trials of one σ (row D)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.snowballs import trials

with open_job(snakemake) as job:
    summary = trials.write(
        job.input.get("centroid") or None,
        job.params.settings,
        job.params.sigma,
        job.params.n_trials,
        job.output.trials,
        device=device.choose(job.config["distances"]["device"]),
        progress=job.progress("trial"),
    )
    job.log(summary)
