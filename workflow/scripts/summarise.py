"""Tables over the runs of one experiment: every series at the chosen steps, and the increases."""

from blackholes.artifacts.job import open_job
from blackholes.runs import summary

with open_job(snakemake) as job:
    said = summary.write(
        job.input.logs,
        [job.input.counts, job.input.graphs, job.input.geometry],
        job.input.counts,
        job.params.runs,
        job.params.steps,
        job.output.summary,
        job.output.increases,
    )
    job.log(said)
