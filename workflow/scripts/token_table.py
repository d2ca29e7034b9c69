"""Every token of a checkpoint: what it is, and how much it looks unused (row C)."""

from blackholes.analysis import token_table
from blackholes.artifacts.job import open_job

with open_job(snakemake) as job:
    token_table.write(job)
