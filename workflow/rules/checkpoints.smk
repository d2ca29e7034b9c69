"""Finished checkpoints (row C): the embedding → equal rows → sphere and box → exact distances → why these tokens."""


rule checkpoints:
    input:
        expand(
            f"{CHECKPOINT}/{{file}}",
            checkpoint=CONFIG.checkpoints,
            file=["black_holes.csv", "overdensity.csv", "tokens.csv"],
        ),
        entry_figures("checkpoint", CONFIG.checkpoints),


rule read_checkpoint:
    input:
        model=run_model,
    output:
        W=f"{CHECKPOINT}/W.safetensors",
    log:
        "results/logs/checkpoints/{checkpoint}_read.log",
    benchmark:
        "results/benchmarks/checkpoints/{checkpoint}_read.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        **RECIPES.stage(
            "read_checkpoint",
            script="read_checkpoint.py",
            after=lambda wildcards: run_stages(wildcards, "train"),
            source=lambda wildcards: CONFIG.checkpoints[
                wildcards.checkpoint
            ].model_dump(include={"hub", "revision", "tensor"}),
            content=checkpoint_content,
        ),
    script:
        "../scripts/read_checkpoint.py"


rule fetch_tokenizer:
    # of a checkpoint on the hub; others have theirs on the disk
    output:
        tokenizer=f"{CHECKPOINT}/tokenizer.json",
    log:
        "results/logs/checkpoints/{checkpoint}_tokenizer.log",
    benchmark:
        "results/benchmarks/checkpoints/{checkpoint}_tokenizer.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        **RECIPES.stage(
            "fetch_tokenizer",
            script="fetch_tokenizer.py",
            source=lambda wildcards: CONFIG.checkpoints[
                wildcards.checkpoint
            ].model_dump(include={"hub", "revision"}),
        ),
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
        "results/logs/checkpoints/{checkpoint}_census.log",
    benchmark:
        "results/benchmarks/checkpoints/{checkpoint}_census.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: checkpoint_mb(wildcards, attempt),
        runtime=lambda wildcards, attempt: 10 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        **RECIPES.stage(
            "census",
            script="census.py",
            after=lambda wildcards: [
                ("read_checkpoint", dict(checkpoint=wildcards.checkpoint)),
                *tokenizer_stages(wildcards),
            ],
            tokenizer=tokenizer_content,
        ),
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
        "results/logs/checkpoints/{checkpoint}_overdensity.log",
    benchmark:
        "results/benchmarks/checkpoints/{checkpoint}_overdensity.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: checkpoint_mb(wildcards, attempt),
        runtime=lambda wildcards, attempt: 20 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        **RECIPES.stage(
            "overdensity",
            script="overdensity.py",
            after=same_checkpoint("census"),
            settings=lambda wildcards: CONFIG.checkpoints[
                wildcards.checkpoint
            ].model_dump(mode="json", include={"basis", "box", "disk_budget_gb"}),
        ),
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
            labels={
                "table": "distances in the overdensity",
                "checkpoint": "{checkpoint}",
            },
        ),
        statistics=f"{CHECKPOINT}/distance_statistics.safetensors",
    log:
        "results/logs/checkpoints/{checkpoint}_distances.log",
    benchmark:
        "results/benchmarks/checkpoints/{checkpoint}_distances.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: checkpoint_mb(wildcards, attempt),
        disk_mb=lambda wildcards: int(
            1000 * CONFIG.checkpoints[wildcards.checkpoint].disk_budget_gb
        ),
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        **RECIPES.stage(
            "overdensity_distances",
            script="overdensity_distances.py",
            after=same_checkpoint("overdensity"),
            threshold=lambda wildcards: CONFIG.checkpoints[
                wildcards.checkpoint
            ].threshold,
        ),
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
    log:
        "results/logs/checkpoints/{checkpoint}_tokens.log",
    benchmark:
        "results/benchmarks/checkpoints/{checkpoint}_tokens.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: checkpoint_mb(wildcards, attempt),
        runtime=lambda wildcards, attempt: 20 * attempt,
    params:
        **RECIPES.stage(
            "token_table",
            script="token_table.py",
            after=same_checkpoint("overdensity_distances"),
        ),
    script:
        "../scripts/token_table.py"
