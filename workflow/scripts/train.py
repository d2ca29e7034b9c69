"""Training runs: the corpus' tokens → histories, training logs, checkpoints (row A)."""

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.training import engine
from blackholes.training.settings import run_settings

with open_job(snakemake) as job:
    kinds = (job.output.history, job.output.log, job.output.config, job.output.model)
    runs = [engine.RunFiles(*paths) for paths in zip(*([k] if isinstance(k, str) else k for k in kinds), strict=True)]
    several = len(runs) > 1
    threads = job.config["training"]["threads"]
    engine.write_runs(
        job.input.corpus,
        runs,
        [run_settings(job.params.settings, run) for run in job.params.runs],
        device=device.choose(job.config["training"]["device"]),
        threads=threads,
        workers=max(1, job.threads // threads),
        metadata=job.metadata,
        checkpoint_seconds=job.config["training"]["checkpoint_seconds"],
        progress=lambda k: job.progress("step", runs[k].folder.name if several else ""),
        say=job.say,
    )
