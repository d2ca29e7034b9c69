"""tokenizer.json of a checkpoint on the Hugging Face hub (row C)."""

from blackholes.analysis import hub
from blackholes.artifacts.job import open_job

with open_job(snakemake) as job:
    source = job.config["checkpoints"][job.wildcards.checkpoint]
    hub.fetch_tokenizer(source["hub"], source["revision"], job.output.tokenizer)
