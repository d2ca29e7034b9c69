"""The page index.html: what happened, every figure and table, and where it all comes from."""

from blackholes.artifacts.job import open_job
from blackholes.page import build

with open_job(snakemake) as job:
    paths = dict.fromkeys(job.input)  # a file may be among the report's contents and be named again
    job.log(build.write(job.output.page, paths, job.params.titles, job.config["captions"], job.config))
