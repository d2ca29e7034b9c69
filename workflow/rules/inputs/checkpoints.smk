"""What the jobs of row C read, and what has to be done before."""


def run_model(wildcards):
    """What a run writes, where a checkpoint is one of this workflow's; else nothing."""
    run = CONFIG.checkpoints[wildcards.checkpoint].run
    return f"results/{run}/model/model.safetensors" if run else []


def run_stages(wildcards, stage):
    """A stage of the run that a checkpoint comes from, if it comes from one."""
    source = CONFIG.checkpoints[wildcards.checkpoint].run
    if not source:
        return []
    experiment, run = run_of(source)
    return [(stage, dict(experiment=experiment, run=run))]


def same_checkpoint(*stages):
    """The stages before one, of the same checkpoint."""
    return lambda wildcards: [
        (stage, dict(checkpoint=wildcards.checkpoint)) for stage in stages
    ]


def checkpoint_content(wildcards):
    """Digest of an embedding on the disk, so that an edit of it counts; None for others, and where it is missing."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    try:
        place = entry.path and checkpoint_files.locate(entry.path, entry.tensor)
    except UserError:  # the job that reads it will say
        return None
    return place and checkpoint_files.content(place, known=".snakemake/embeddings.json")


def tokenizer_file(wildcards):
    """The tokenizer of a checkpoint, if it has one: a file, or one to be made."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    if entry.tokenizer is None:
        return []
    if entry.tokenizer != "auto":
        path = Path(entry.tokenizer).expanduser()
        path = path / checkpoint_files.TOKENIZER if path.is_dir() else path
        if not path.exists() and path.parts[0] != "results":
            sys.exit(
                f"checkpoints.{wildcards.checkpoint}.tokenizer: {path}: no such file"
            )
        return str(path)
    if entry.run:
        return corpus_file("tokenizer.json", entry.run.partition("/")[0])
    if entry.hub:
        return f"{CHECKPOINT}/tokenizer.json".format(checkpoint=wildcards.checkpoint)
    return str(checkpoint_files.tokenizer_beside(entry.path) or "") or []


def tokenizer_content(wildcards):
    """Digest of a tokenizer that is not made here, so that an edit of it counts."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    given = entry.path or entry.tokenizer not in (None, "auto")
    path = tokenizer_file(wildcards) if given else []
    return file_digest(path) if path and Path(path).is_file() else None


def tokenizer_stages(wildcards):
    """The stage that makes a checkpoint's tokenizer, if one does."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    if entry.tokenizer != "auto" or entry.path:
        return []
    return (
        [corpus_stage(entry.run.partition("/")[0])]
        if entry.run
        else same_checkpoint("fetch_tokenizer")(wildcards)
    )


def checkpoint_mb(wildcards, attempt):
    """Memory of a job on a checkpoint, in MB."""
    budget = CONFIG.checkpoints[wildcards.checkpoint].memory_budget_gb
    return int(1000 * (budget + 1) * attempt)
