"""The embedding of one finished checkpoint (row C)."""

from blackholes.artifacts.job import open_job
from blackholes.checkpoints import embedding

with open_job(snakemake) as job:
    source = job.config["checkpoints"][job.wildcards.checkpoint]
    place = embedding.find(job.input.get("model") or None, source)
    job.log(embedding.write_embedding(place, job.output.W, job.metadata, progress=job.progress("token")))
