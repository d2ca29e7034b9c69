"""Published values beside ours, in one table."""

from blackholes.artifacts.job import open_job
from blackholes.reproduction import comparison
from blackholes.reproduction.published import CHECKPOINT

with open_job(snakemake) as job:
    experiments: dict[str, dict[str, list[str]]] = {}
    for name, files in job.input.items():
        experiment, _, kind = name.rpartition("_")
        if experiment:
            experiments.setdefault(experiment, {})[kind] = [files] if isinstance(files, str) else list(files)
    checkpoint = {kind: files[0] for kind, files in experiments.pop(CHECKPOINT, {}).items()}
    corpus = job.input.get("corpus") or None
    job.log(comparison.write(corpus, experiments, job.output.table, checkpoint or None))
