"""All trials of a sweep over σ and the permutations, compared with the checkpoint (row D)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.snowballs import sweep

with open_job(snakemake) as job:
    summary = sweep.write(
        job.input.get("centroid") or None,
        job.input.get("W") or None,
        job.params.settings,
        dict(zip(job.params.labels, job.input.tables, strict=True)),
        job.params.shown,
        job.params.permutations,
        job.input.clouds,
        sweep.Outputs(job.output.trials, job.output.scores, job.output.elements, job.output.test),
        metadata=job.metadata,
        device=device.choose(job.config["distances"]["device"]),
    )
    job.log(summary)
