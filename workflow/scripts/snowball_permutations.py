"""A part of the permutations of the tokens around a checkpoint's largest hole (row D)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.snowballs import permutations

with open_job(snakemake) as job:
    summary = permutations.write(
        job.input.latent,
        job.input.W,
        job.params.settings,
        job.params.permutations,
        tuple(job.params.part),
        job.output.clouds,
        device=device.choose(job.config["distances"]["device"]),
        progress=job.progress("cloud"),
    )
    job.log(summary)
