"""A run's history as an HDF5 file, for the notebooks (row A)."""

from blackholes.artifacts.histories import write_hdf5
from blackholes.artifacts.job import open_job
from blackholes.training import tokens

with open_job(snakemake, streamed=["history"]) as job:
    write_hdf5(job.input.history, job.output.hdf5, tokens.load(job.input.tokens).dead_mask)
