"""Checks every file of some results: `python -m blackholes.verify results`, `snakemake verify`. Imports no torch."""
