"""From the corpus to histories: a job a run, or a job for several (`training.runs_per_job`).

Both write the same bytes and have the same parameters, so going from one to the other reruns nothing, but for jobs that
record forces: their runs have a parameter more.
"""

TRAINED = {  # what a run's training writes
    "history": f"{RUN}/embedding_evolution.safetensors",
    "log": f"{RUN}/training_log.csv",
    "config": f"{RUN}/model/config.json",
    "model": f"{RUN}/model/model.safetensors",
}
FORCES = f"{RUN}/forces.safetensors"  # and what is recorded of the runs that `record` names
RECORDED = {name: runs for name, it in CONFIG.experiments.items() if (runs := it.recorded())}
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
        "<results>/logs/train/{experiment}_{run}.log",
    benchmark:
        "<results>/benchmarks/train/{experiment}_{run}.tsv"
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


for experiment, kinds in RECORDED.items():

    rule:
        # the same as `train`, of the runs whose forces are recorded: only these are trained again for it
        name:
            f"train_{experiment}_recorded"
        input:
            corpus=corpus_file("tokens.safetensors", experiment),
        output:
            **{kind: file.replace("{experiment}", experiment) for kind, file in TRAINED.items()},
            forces=FORCES.replace("{experiment}", experiment),
        log:
            f"<results>/logs/train/{experiment}_{{run}}.log",
        benchmark:
            f"<results>/benchmarks/train/{experiment}_{{run}}.tsv"
        wildcard_constraints:
            run="|".join(kinds),
        conda:
            "../../envs/blackholes.yaml"
        threads: CONFIG.experiments[experiment].batch_split
        resources:
            disk_mb=int(history_mb(experiment) + forces_mb(experiment)) + 50,
            runtime=lambda wildcards, attempt, steps=CONFIG.experiments[experiment].steps: attempt * (10 + steps // 400),
            gpu=gpus(CONFIG.training.device),
        params:
            settings=CONFIG.experiments[experiment].shared_settings(),
            forces=lambda wildcards, kinds=kinds: {wildcards.run: kinds[wildcards.run]},
            code=code_digest("train.py"),
        script:
            "../scripts/train.py"


for pack, (experiment, runs) in PACKS.items():
    kinds = {run: kind for run, kind in RECORDED.get(experiment, {}).items() if run in runs}

    rule:
        name:
            pack
        input:
            corpus=corpus_file("tokens.safetensors", experiment),
        output:
            **{kind: [file.format(experiment=experiment, run=run) for run in runs] for kind, file in TRAINED.items()},
            **({"forces": [FORCES.format(experiment=experiment, run=run) for run in kinds]} if kinds else {}),
        log:
            f"<results>/logs/train/{experiment}_{runs[0]}-{runs[-1]}.log",
        benchmark:
            f"<results>/benchmarks/train/{experiment}_{runs[0]}-{runs[-1]}.tsv"
        conda:
            "../../envs/blackholes.yaml"
        threads: CONFIG.experiments[experiment].batch_split * (1 if ON_GPU else len(runs))
        resources:
            mem_mb=lambda wildcards, attempt, mb=1500 + 250 * len(runs): mb * attempt,
            disk_mb=len(runs) * (int(history_mb(experiment)) + 50) + len(kinds) * int(forces_mb(experiment)),
            runtime=lambda wildcards, attempt, minutes=10 + CONFIG.experiments[experiment].steps * len(runs) // 500: (
                minutes * attempt
            ),
            gpu=gpus(CONFIG.training.device),
        params:
            **({"forces": kinds} if kinds else {}),
            settings=CONFIG.experiments[experiment].shared_settings(),
            code=code_digest("train.py"),
        script:
            "../scripts/train.py"


ALONE = [*(f"train_{experiment}_recorded" for experiment in RECORDED), "train"]
workflow.ruleorder(*([*PACKS, *ALONE] if packing.together(CONFIG) else [*ALONE, *PACKS]))


rule history_hdf5:
    # for notebooks that read HDF5: made only when it is asked for
    input:
        history=f"{RUN}/embedding_evolution.safetensors",
        tokens=own_corpus_file("tokens.safetensors"),
    output:
        hdf5=f"{RUN}/embedding_evolution.h5",
    log:
        "<results>/logs/history_hdf5/{experiment}_{run}.log",
    benchmark:
        "<results>/benchmarks/history_hdf5/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        disk_mb=lambda wildcards: int(history_mb(wildcards.experiment)) + 50,
    params:
        code=code_digest("history_hdf5.py"),
    script:
        "../scripts/history_hdf5.py"
