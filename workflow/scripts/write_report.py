"""The report: a second Snakemake reads what the finished jobs left in .snakemake, and changes nothing."""

import subprocess
import sys
from pathlib import Path

from blackholes.artifacts.files import atomic
from blackholes.artifacts.job import open_job
from blackholes.errors import UserError

with open_job(snakemake) as job, atomic(job.output[0]) as temporary:
    command = [sys.executable, "-m", "snakemake", "contents", "--cores", "1", "--nolock"]
    command += ["--snakefile", str(Path(snakemake.scriptdir).resolve().parents[1] / "Snakefile")]
    command += ["--configfile", *job.params.files] if job.params.files else []
    command += ["--config", *job.params.values] if job.params.values else []
    for stale in temporary.parent.glob(".report.html.*.html"):  # of a killed job
        stale.unlink()
    page = temporary.with_suffix(".html")  # Snakemake chooses the format by the name
    ran = subprocess.run([*command, "--report", str(page)], stdout=job.log, stderr=subprocess.STDOUT)
    if ran.returncode or not page.exists():
        raise UserError(f"{job.output[0]}: snakemake --report failed; its output is in {snakemake.log[0]}")
    page.rename(temporary)
