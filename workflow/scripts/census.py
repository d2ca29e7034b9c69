"""Equal rows of a checkpoint's embedding: its black holes (row C)."""

from blackholes.artifacts.job import open_job
from blackholes.checkpoints import census
from blackholes.kernels import device

with open_job(snakemake) as job:
    on = device.choose(job.config["distances"]["device"])
    tokenizer = job.input.get("tokenizer") or None
    job.log(census.write(job.input.W, job.output.holes, job.output.census, tokenizer, device=on))
