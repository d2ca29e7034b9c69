"""From the corpus to histories: a job a run, or a job for several (`training.runs_per_job`).

Both write the same bytes and have the same parameters, so going from one to the other reruns nothing.
"""

TRAINED = {  # what a run's training writes
    "history": f"{RUN}/embedding_evolution.safetensors",
    "log": f"{RUN}/training_log.csv",
    "config": f"{RUN}/model/config.json",
    "model": f"{RUN}/model/model.safetensors",
}
ON_GPU = bool(gpus(CONFIG.training.device))
PACKS = packing.packs(CONFIG)  # rule → (experiment, runs)
config["packs"] = {pack: runs for pack, (_, runs) in PACKS.items()}  # tells the script which runs a job is for


def run_settings(wildcards):
    """What the runs of an experiment share."""
    return CONFIG.experiments[wildcards.experiment].shared_settings()


rule histories:
    input:
        of_runs(TRAINED["history"]),


rule train:
    input:
        corpus=own_corpus_file("tokens.safetensors"),
    output:
        **TRAINED,
    log:
        "results/logs/train/{experiment}_{run}.log",
    benchmark:
        "results/benchmarks/train/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: lambda wildcards: CONFIG.experiments[wildcards.experiment].batch_split
    resources:
        disk_mb=lambda wildcards: int(history_mb(wildcards.experiment)) + 50,
        runtime=lambda wildcards, attempt: attempt * (10 + CONFIG.experiments[wildcards.experiment].steps // 500),
        gpu=gpus(CONFIG.training.device),
    params:
        settings=run_settings,
        code=code_digest("train.py"),
    script:
        "../scripts/train.py"


for pack, (experiment, runs) in PACKS.items():

    rule:
        name:
            pack
        input:
            corpus=corpus_file("tokens.safetensors", experiment),
        output:
            **{kind: [file.format(experiment=experiment, run=run) for run in runs] for kind, file in TRAINED.items()},
        log:
            f"results/logs/train/{experiment}_{runs[0]}-{runs[-1]}.log",
        benchmark:
            f"results/benchmarks/train/{experiment}_{runs[0]}-{runs[-1]}.tsv"
        conda:
            "../../envs/blackholes.yaml"
        threads: CONFIG.experiments[experiment].batch_split * (1 if ON_GPU else len(runs))
        resources:
            mem_mb=lambda wildcards, attempt, mb=1500 + 250 * len(runs): mb * attempt,
            disk_mb=len(runs) * (int(history_mb(experiment)) + 50),
            runtime=lambda wildcards, attempt, minutes=10 + CONFIG.experiments[experiment].steps * len(runs) // 500: (
                minutes * attempt
            ),
            gpu=gpus(CONFIG.training.device),
        params:
            settings=CONFIG.experiments[experiment].shared_settings(),
            code=code_digest("train.py"),
        script:
            "../scripts/train.py"


workflow.ruleorder(*([*PACKS, "train"] if packing.together(CONFIG) else ["train", *PACKS]))


rule history_hdf5:
    # for notebooks that read HDF5: made only when it is asked for
    input:
        history=f"{RUN}/embedding_evolution.safetensors",
        tokens=own_corpus_file("tokens.safetensors"),
    output:
        hdf5=f"{RUN}/embedding_evolution.h5",
    log:
        "results/logs/history_hdf5/{experiment}_{run}.log",
    benchmark:
        "results/benchmarks/history_hdf5/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        disk_mb=lambda wildcards: int(history_mb(wildcards.experiment)) + 50,
    params:
        code=code_digest("history_hdf5.py"),
    script:
        "../scripts/history_hdf5.py"
