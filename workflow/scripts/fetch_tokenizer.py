"""tokenizer.json of a checkpoint on the Hugging Face hub (row C)."""

from blackholes.artifacts.job import open_job
from blackholes.checkpoints import hub

with open_job(snakemake) as job:
    source = job.config["checkpoints"][job.wildcards.checkpoint]
    hub.fetch_tokenizer(source["hub"], source["revision"], job.output.tokenizer)
