"""Checks every file of the results: present, whole, and of this configuration and code. A rule without an output."""

from pathlib import Path

from blackholes.artifacts.job import open_job
from blackholes.errors import UserError
from blackholes.verify.check import TABLE, WRONG
from blackholes.verify.run import run

with open_job(snakemake) as job:
    results = Path(job.config["results"])
    found = run(results, job.config["verify_arguments"], job.log)
    if wrong := sum(one.state in WRONG for one in found):
        raise UserError(f"{results}: {wrong:,} files are not as they should be; {results / TABLE} names them")
