"""Training runs: the corpus' tokens → histories, training logs, checkpoints (row A)."""

from dataclasses import replace

from blackholes.artifacts.job import open_job
from blackholes.kernels import device
from blackholes.training import engine
from blackholes.training.settings import run_settings

with open_job(snakemake) as job:
    kinds = (job.output.history, job.output.log, job.output.config, job.output.model)
    files = [engine.RunFiles(*paths) for paths in zip(*([k] if isinstance(k, str) else k for k in kinds), strict=True)]
    runs = job.config["packs"].get(job.rule) or [job.wildcards.run]
    numbers = [int(run) for run in runs]
    settings = [run_settings(job.params.settings, run) for run in numbers]
    for k, run in enumerate(runs):
        if kind := job.params.get("forces", {}).get(run):
            files[k].forces = files[k].folder / "forces.safetensors"
            settings[k] = replace(settings[k], forces=kind)
    engine.write_runs(
        job.input.corpus,
        files,
        settings,
        device=device.choose(job.config["training"]["device"]),
        threads=job.threads,
        metadata=job.metadata,
        code=job.params.code,
        checkpoint_seconds=job.config["training"]["checkpoint_seconds"],
        progress=lambda k: job.progress("step", f"run_{numbers[k]:03d}" if len(numbers) > 1 else ""),
        log=job.log,
    )
