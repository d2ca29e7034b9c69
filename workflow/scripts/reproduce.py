"""Published values beside ours, in one table."""

from blackholes.analysis import reproduction
from blackholes.artifacts.job import open_job

with open_job(snakemake) as job:
    experiments: dict[str, dict[str, list[str]]] = {}
    for name, files in job.input.items():
        experiment, _, kind = name.rpartition("_")
        if experiment:
            experiments.setdefault(experiment, {})[kind] = [files] if isinstance(files, str) else list(files)
    job.say(reproduction.write(job.input.corpus, experiments, job.output.table))
