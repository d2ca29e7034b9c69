"""What the reproduction reads."""


def reproduction_files(experiment):
    """What the reproduction reads of an experiment's runs → (its file, the stage that makes it)."""
    kinds = ["logs", "counts"]
    if experiment == published.ONE:
        kinds += ["graphs", "geometry"]
    return {"models": ("model/model.safetensors", "train")} | {
        kind: RUN_FILES[kind] for kind in kinds
    }


def published_corpus(wildcards):
    """The tokens, if there is anything to compare. No WorkflowError: Snakemake would print a traceback around it."""
    there = [name for name in published.CONDITIONS if name in CONFIG.experiments]
    if not there and published.CHECKPOINT in CONFIG.checkpoints:
        return []
    if not there:
        sys.exit(
            f"reproduction: none of the published experiments ({', '.join(published.CONDITIONS)}) is configured; "
            "add --configfile config/published.yaml"
        )
    corpora = {CONFIG.experiments[name].corpus.name for name in there}
    if len(corpora) > 1:
        sys.exit(
            f"reproduction: the published experiments have several corpora ({', '.join(sorted(corpora))}), expected one"
        )
    return corpus_file("tokens.safetensors", there[0])
