"""All trials of a sweep over σ, compared with the checkpoint (row D)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.snowballs import sweep

with open_job(snakemake) as job:
    summary = sweep.write_sweep(
        job.input.get("centroid") or None,
        job.input.get("W") or None,
        job.params.settings,
        job.input.tables,
        job.params.labels,
        job.params.shown,
        job.output.trials,
        job.output.scores,
        job.output.elements,
        metadata=job.metadata,
        device=device.choose(job.config["distances"]["device"]),
    )
    job.log(summary)
