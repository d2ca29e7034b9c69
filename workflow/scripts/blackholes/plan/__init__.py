"""What a call of Snakemake would run, why, and what it will cost: `python -m blackholes.plan`. Imports no torch."""
