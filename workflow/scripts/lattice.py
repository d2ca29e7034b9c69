"""Motion of a history on the lattice of bfloat16: displacements, their validation, tokens' lifecycle (row E)."""

from blackholes.artifacts.job import open_job
from blackholes.lattice import displacements as lattice

with open_job(snakemake) as job:
    summary = lattice.write(
        job.input.get("history") or job.params.settings["path"],
        lattice.Outputs(**dict(job.output.items())),
        key=job.params.settings["key"],
        dead_mask=job.input.get("dead_mask") or None,
        keep=job.params.settings["keep"],
        dtype=job.params.settings["dtype"],
        token=job.params.settings["token"],
        metadata=job.metadata,
        budget_gb=job.config["lattice"][job.wildcards.lattice]["memory_budget_gb"],
        progress=job.progress("step"),
    )
    job.log(summary)
