"""The film of how tokens leave the holes of one run."""

from blackholes.artifacts.job import open_job
from blackholes.figures import data
from blackholes.figures.runs import escape_filmstrip, film

with open_job(snakemake) as job:
    found = escape_filmstrip.read(job.input, job.params.options)
    names = data.read_tokens(job.input.tokens)["character"].tolist()
    job.log(f"{film.write(found, names, job.output.film)} frames")
