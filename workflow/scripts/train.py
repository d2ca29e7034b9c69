"""One training run: the corpus' tokens → history, training log, checkpoint (row A)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.training import engine

with open_job(snakemake) as job:
    engine.write_run(
        job.input.corpus,
        job.output.history,
        job.output.log,
        (job.output.config, job.output.model),
        job.params.settings,
        device=device.choose(job.config["training"]["device"]),
        threads=job.threads,
        metadata=job.metadata,
        progress=job.progress("step"),
    )
