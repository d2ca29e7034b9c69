"""Tokens of the corpus, their counts, and which of them are dead (row A)."""

from blackholes.artifacts.job import open_job
from blackholes.training import corpus

with open_job(snakemake) as job:
    job.log(corpus.write(job.params.corpus, job.output.tokens, job.output.table, job.output.tokenizer, job.metadata))
