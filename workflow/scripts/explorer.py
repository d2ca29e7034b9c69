"""What the page's explorer shows of one run: tokens' holes and places at some of its steps."""

from blackholes.artifacts.job import open_job
from blackholes.runs import explorer

with open_job(snakemake, streamed=["history"]) as job:
    job.log(explorer.write(job.input.history, job.input.counts, job.output.explorer, job.metadata))
