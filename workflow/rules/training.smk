"""From the corpus to histories: a job a run, or a job for several (`training.runs_per_job`).

Both write the same bytes and have the same parameters, so that going from one to the other reruns nothing.
"""

TRAINED = {  # what a run's training writes
    "history": f"{RUN}/embedding_evolution.safetensors",
    "log": f"{RUN}/training_log.csv",
    "config": f"{RUN}/model/config.json",
    "model": f"{RUN}/model/model.safetensors",
}
TRAINING = RECIPES.stage(
    "train",
    script="train.py",
    after=lambda wildcards: [("corpus", {})],
    settings=lambda wildcards: CONFIG.experiments[
        wildcards.experiment
    ].shared_settings(),
)
ON_GPU = bool(gpus(CONFIG.training.device))


rule train:
    input:
        of_runs(TRAINED["history"]),


rule train_run:
    input:
        corpus=f"{CORPUS}/tokens.safetensors",
    output:
        **TRAINED,
    log:
        "results/logs/train/{experiment}_{run}.log",
    benchmark:
        "results/benchmarks/train/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: CONFIG.training.threads
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        disk_mb=lambda wildcards: int(history_mb(wildcards.experiment)) + 50,
        runtime=lambda wildcards, attempt: attempt
        * (10 + CONFIG.experiments[wildcards.experiment].steps // 500),
        gpu=gpus(CONFIG.training.device),
    params:
        **TRAINING,
    script:
        "../scripts/train.py"


for pack, (experiment, runs) in PACKS.items():

    rule:
        name:
            pack
        input:
            corpus=f"{CORPUS}/tokens.safetensors",
        output:
            **{
                kind: [pattern.format(experiment=experiment, run=run) for run in runs]
                for kind, pattern in TRAINED.items()
            },
        log:
            f"results/logs/train/{experiment}_{runs[0]}-{runs[-1]}.log",
        benchmark:
            f"results/benchmarks/train/{experiment}_{runs[0]}-{runs[-1]}.tsv"
        conda:
            "../../envs/blackholes.yaml"
        threads: CONFIG.training.threads * (1 if ON_GPU else len(runs))
        resources:
            mem_mb=lambda wildcards, attempt, mb=1500 + 250 * len(runs): mb * attempt,
            disk_mb=len(runs) * (int(history_mb(experiment)) + 50),
            runtime=lambda wildcards, attempt, minutes=10 + CONFIG.experiments[
                experiment
            ].steps * len(runs) // 500: minutes
            * attempt,
            gpu=gpus(CONFIG.training.device),
        params:
            **TRAINING | {"settings": CONFIG.experiments[experiment].shared_settings()},
        script:
            "../scripts/train.py"


workflow.ruleorder(
    *([*PACKS, "train_run"] if packing.together(CONFIG) else ["train_run", *PACKS])
)
