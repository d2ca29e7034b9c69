"""From the corpus to histories: a job a run."""


rule train:
    input:
        of_runs(f"{RUN}/embedding_evolution.safetensors"),


rule train_run:
    input:
        corpus=f"{CORPUS}/tokens.safetensors",
    output:
        history=f"{RUN}/embedding_evolution.safetensors",
        log=f"{RUN}/training_log.csv",
        config=f"{RUN}/model/config.json",
        model=f"{RUN}/model/model.safetensors",
    log:
        "results/logs/train/{experiment}_{run}.log",
    benchmark:
        "results/benchmarks/train/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: CONFIG.training.threads
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        disk_mb=lambda wildcards: int(history_mb(wildcards)) + 50,
        runtime=lambda wildcards, attempt: attempt
        * (10 + CONFIG.experiments[wildcards.experiment].steps // 500),
        gpu=gpus(CONFIG.training.device),
    params:
        **RECIPES.stage(
            "train",
            script="train.py",
            after=lambda wildcards: [("corpus", {})],
            settings=lambda wildcards: CONFIG.experiments[
                wildcards.experiment
            ].run_settings(int(wildcards.run)),
        ),
    script:
        "../scripts/train.py"
