"""Exact distances between the tokens of the box, and what they say (row C)."""

from blackholes.analysis import overdensity_distances
from blackholes.artifacts.job import open_job

with open_job(snakemake) as job:
    overdensity_distances.write(job)
