"""Finished checkpoints (row C): the embedding → equal rows → sphere and box → exact distances → why these tokens."""

from blackholes.artifacts import checkpoint_files

CHECKPOINT_FIGURES = {
    "sky_map": "norms and sky map",
    "distance_distribution": "distances in the overdensity",
    "overdensity_graph": "graph and cluster",
    "token_ranking": "tokens that look unused",
}


def checkpoint_model(wildcards):
    """What a run writes, where a checkpoint is one of this workflow's; else nothing."""
    run = CONFIG.checkpoints[wildcards.checkpoint].run
    return f"<results>/{run}/model/model.safetensors" if run else []


def checkpoint_content(wildcards):
    """Digest of an embedding on the disk, so that an edit of it counts; None for others, and where it is missing."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    try:
        place = entry.path and checkpoint_files.locate(entry.path, entry.tensor)
    except UserError:  # the job that reads it reports this
        return None
    return place and checkpoint_files.content(place, known=".snakemake/embeddings.json")


def tokenizer_file(wildcards):
    """The tokenizer of a checkpoint, if it has one: a file, or one that a job makes."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    if entry.tokenizer is None:
        return []
    if entry.tokenizer != "auto":
        path = Path(entry.tokenizer).expanduser()
        path = path / checkpoint_files.TOKENIZER if path.is_dir() else path
        if not path.is_file() and (path.exists() or not path.is_relative_to(CONFIG.results)):
            sys.exit(f"checkpoints.{wildcards.checkpoint}.tokenizer: {path}: no such file")
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
    return users_digest(tokenizer_file(wildcards)) if given else None


def checkpoint_mb(wildcards, attempt):
    """Memory of a job on a checkpoint, in MB."""
    budget = CONFIG.checkpoints[wildcards.checkpoint].memory_budget_gb
    return int(1000 * (budget + 1) * attempt)


def distances_mb(wildcards):
    """The most that a checkpoint's distances can take on the disk, in MB: of all its tokens, and within its budget."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    V = 0
    if entry.run:
        V = CONFIG.experiments[entry.run.partition("/")[0]].model.vocabulary_size
    elif entry.path:
        try:
            V = checkpoint_files.locate(entry.path, entry.tensor).shape[0]
        except UserError:  # the job that reads it reports this
            pass
    most = 1000 * entry.disk_budget_gb
    return int(min(most, 4e-6 * V**2 if V else most)) + 50


def checkpoint_threads(wildcards):
    """Two for a published model; one for a run of this workflow, so that it is not kept waiting for a second core."""
    return 1 if CONFIG.checkpoints[wildcards.checkpoint].run else 2


rule checkpoints:
    input:
        expand(
            f"{CHECKPOINT}/{{file}}",
            checkpoint=CONFIG.checkpoints,
            file=["black_holes.csv", "overdensity.csv", "tokens.csv"],
        ),
        expand(f"{CHECKPOINT}/figures/{{figure}}.png", checkpoint=CONFIG.checkpoints, figure=CHECKPOINT_FIGURES),


rule read_checkpoint:
    input:
        model=checkpoint_model,
    output:
        W=f"{CHECKPOINT}/W.safetensors",
    log:
        "<results>/logs/checkpoints/{checkpoint}_read.log",
    benchmark:
        "<results>/benchmarks/checkpoints/{checkpoint}_read.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        source=lambda wildcards: CONFIG.checkpoints[wildcards.checkpoint].model_dump(
            include={"hub", "revision", "tensor"}
        ),
        content=checkpoint_content,
        code=code_digest("read_checkpoint.py"),
    script:
        "../scripts/read_checkpoint.py"


rule fetch_tokenizer:
    # of a checkpoint on the hub; others have theirs on the disk
    output:
        tokenizer=f"{CHECKPOINT}/tokenizer.json",
    log:
        "<results>/logs/checkpoints/{checkpoint}_tokenizer.log",
    benchmark:
        "<results>/benchmarks/checkpoints/{checkpoint}_tokenizer.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        source=lambda wildcards: CONFIG.checkpoints[wildcards.checkpoint].model_dump(include={"hub", "revision"}),
        code=code_digest("fetch_tokenizer.py"),
    script:
        "../scripts/fetch_tokenizer.py"


rule census:
    input:
        W=f"{CHECKPOINT}/W.safetensors",
        tokenizer=tokenizer_file,
    output:
        holes=report(
            f"{CHECKPOINT}/black_holes.csv",
            caption="../report/census.rst",
            category="Checkpoints",
            labels={"table": "black holes", "checkpoint": "{checkpoint}"},
        ),
        census=f"{CHECKPOINT}/census.json",
    log:
        "<results>/logs/checkpoints/{checkpoint}_census.log",
    benchmark:
        "<results>/benchmarks/checkpoints/{checkpoint}_census.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: checkpoint_threads
    resources:
        mem_mb=checkpoint_mb,
        gpu=gpus(CONFIG.distances.device),
    params:
        tokenizer=tokenizer_content,
        code=code_digest("census.py"),
    script:
        "../scripts/census.py"


rule overdensity:
    input:
        W=f"{CHECKPOINT}/W.safetensors",
        holes=f"{CHECKPOINT}/black_holes.csv",
    output:
        sphere=f"{CHECKPOINT}/sphere.safetensors",
        centroid=f"{CHECKPOINT}/black_hole_centroid.safetensors",
    log:
        "<results>/logs/checkpoints/{checkpoint}_overdensity.log",
    benchmark:
        "<results>/benchmarks/checkpoints/{checkpoint}_overdensity.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: checkpoint_threads
    resources:
        mem_mb=checkpoint_mb,
        runtime=lambda wildcards, attempt: 20 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        settings=lambda wildcards: CONFIG.checkpoints[wildcards.checkpoint].model_dump(
            mode="json", include={"basis", "box", "disk_budget_gb"}
        ),
        code=code_digest("overdensity.py"),
    script:
        "../scripts/overdensity.py"


rule overdensity_distances:
    input:
        W=f"{CHECKPOINT}/W.safetensors",
        sphere=f"{CHECKPOINT}/sphere.safetensors",
        holes=f"{CHECKPOINT}/black_holes.csv",
    output:
        distances=f"{CHECKPOINT}/overdensity_distances.safetensors",
        table=report(
            f"{CHECKPOINT}/overdensity.csv",
            caption="../report/overdensity.rst",
            category="Checkpoints",
            labels={"table": "distances in the overdensity", "checkpoint": "{checkpoint}"},
        ),
        statistics=f"{CHECKPOINT}/distance_statistics.safetensors",
    log:
        "<results>/logs/checkpoints/{checkpoint}_distances.log",
    benchmark:
        "<results>/benchmarks/checkpoints/{checkpoint}_distances.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: checkpoint_threads
    resources:
        mem_mb=checkpoint_mb,
        disk_mb=distances_mb,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        threshold=lambda wildcards: CONFIG.checkpoints[wildcards.checkpoint].threshold,
        code=code_digest("overdensity_distances.py"),
    script:
        "../scripts/overdensity_distances.py"


rule token_table:
    input:
        W=f"{CHECKPOINT}/W.safetensors",
        tokenizer=tokenizer_file,
        holes=f"{CHECKPOINT}/black_holes.csv",
        sphere=f"{CHECKPOINT}/sphere.safetensors",
        centroid=f"{CHECKPOINT}/black_hole_centroid.safetensors",
        statistics=f"{CHECKPOINT}/distance_statistics.safetensors",
    output:
        tokens=f"{CHECKPOINT}/tokens.csv",
        ranking=report(
            f"{CHECKPOINT}/ranking.csv",
            caption="../report/ranking.rst",
            category="Checkpoints",
            labels={"table": "how well the ranking finds holes", "checkpoint": "{checkpoint}"},
        ),
    log:
        "<results>/logs/checkpoints/{checkpoint}_tokens.log",
    benchmark:
        "<results>/benchmarks/checkpoints/{checkpoint}_tokens.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: checkpoint_threads
    resources:
        mem_mb=checkpoint_mb,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        tokenizer=tokenizer_content,
        code=code_digest("token_table.py"),
    script:
        "../scripts/token_table.py"


rule checkpoint_figures:
    input:
        tokens=f"{CHECKPOINT}/tokens.csv",
        ranking=f"{CHECKPOINT}/ranking.csv",
        sphere=f"{CHECKPOINT}/sphere.safetensors",
        statistics=f"{CHECKPOINT}/distance_statistics.safetensors",
        table=f"{CHECKPOINT}/overdensity.csv",
    output:
        **figure_outputs(CHECKPOINT, "Checkpoints", CHECKPOINT_FIGURES, checkpoint="{checkpoint}"),
    log:
        "<results>/logs/figures/{checkpoint}_checkpoint.log",
    benchmark:
        "<results>/benchmarks/figures/{checkpoint}_checkpoint.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params(
            "checkpoints",
            CHECKPOINT_FIGURES,
            lambda wildcards: {"checkpoint": wildcards.checkpoint, "dpi": CONFIG.figures.dpi},
        ),
    script:
        "../scripts/figures.py"
