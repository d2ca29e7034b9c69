"""The point and the noise that a checkpoint's hole was rounded from (row D)."""

from blackholes.artifacts.job import open_job
from blackholes.snowballs import latent

with open_job(snakemake) as job:
    job.log(latent.write(job.input.centroid, job.input.W, job.output.latent, metadata=job.metadata))
