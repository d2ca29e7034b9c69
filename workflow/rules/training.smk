"""From the corpus to histories: a job a run, or a job for several (`training.runs_per_job`).

Both write the same bytes and have the same parameters, so that going from one to the other reruns nothing.
"""

TRAINING = RECIPES.stage(
    "train",
    script="train.py",
    after=own_corpus_stage,
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
        corpus=own_corpus_file("tokens.safetensors"),
    output:
        **trained("embedding_evolution.safetensors"),
    log:
        "results/logs/train/{experiment}_{run}.log",
    benchmark:
        "results/benchmarks/train/{experiment}_{run}.tsv"
    wildcard_constraints:
        experiment=written_in("safetensors"),
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


use rule train_run as train_run_hdf5 with:
    output:
        **trained("embedding_evolution.h5"),
    wildcard_constraints:
        experiment=written_in("h5"),


for pack, (experiment, runs) in PACKS.items():

    rule:
        name:
            pack
        input:
            corpus=corpus_file("tokens.safetensors", experiment),
        output:
            **{
                kind: [pattern.format(experiment=experiment, run=run) for run in runs]
                for kind, pattern in trained(
                    CONFIG.experiments[experiment].history_file
                ).items()
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
            **TRAINING
            | {
                "settings": CONFIG.experiments[experiment].shared_settings(),
                "upstream": RECIPES.upstream([corpus_stage(experiment)]),
            },
        script:
            "../scripts/train.py"


workflow.ruleorder(
    *(
        [*PACKS, "train_run", "train_run_hdf5"]
        if packing.together(CONFIG)
        else ["train_run", "train_run_hdf5", *PACKS]
    )
)
