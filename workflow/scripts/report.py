"""The report: every figure and table in one HTML file, made by a second Snakemake (`config["report_command"]`)."""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from blackholes.artifacts.files import atomic
from blackholes.artifacts.job import open_job
from blackholes.errors import UserError

with open_job(snakemake) as job, TemporaryDirectory() as folder:
    page = Path(folder) / "report.html"  # Snakemake goes by the end of the name
    command = [sys.executable, *job.config["report_command"], "--report", str(page)]
    if subprocess.run(command, stdout=job.log_file, stderr=subprocess.STDOUT).returncode:
        raise UserError(f"{job.output.report}: Snakemake could not make it; {job.log_file.name} says why")
    with atomic(job.output.report) as temporary:
        shutil.copyfile(page, temporary)
