"""Says what `snakemake all` would run, why, and what it will cost. A rule without an output; runs nothing of it."""

from pathlib import Path

from blackholes.artifacts.job import open_job
from blackholes.plan.run import run

with open_job(snakemake) as job:
    run(Path(job.config["results"]), ["all", *job.config["verify_arguments"]], job.config["plan_cores"], job.log)
