"""Motion of a history on bfloat16's lattice: displacements, their validation, the tokens' lifecycle (row E)."""

from blackholes.artifacts.job import open_job
from blackholes.lattice import displacements

with open_job(snakemake, streamed=["history"]) as job:
    summary = displacements.write(
        job.input.get("history") or job.params.settings["path"],
        displacements.Outputs(**dict(job.output.items())),
        key=job.params.settings["key"],
        dead_mask=job.input.get("dead_mask") or None,
        keep=job.params.settings["keep"],
        dtype=job.params.settings["dtype"],
        token=job.params.settings["token"],
        seed=job.params.settings["seed"],
        metadata=job.metadata,
        budget_gb=job.config["lattice"][job.wildcards.lattice]["memory_budget_gb"],
        progress=job.progress("step"),
    )
    job.log(summary)
