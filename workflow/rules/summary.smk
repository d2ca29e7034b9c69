"""Tables over the runs of an experiment."""


rule summarise:
    input:
        logs=lambda wildcards: of_runs(f"{RUN}/training_log.csv", wildcards.experiment),
        counts=lambda wildcards: of_runs(
            f"{RUN}/black_hole_counts.safetensors", wildcards.experiment
        ),
        graphs=lambda wildcards: of_runs(
            f"{RUN}/graph_statistics.safetensors", wildcards.experiment
        ),
        geometry=lambda wildcards: of_runs(
            f"{RUN}/geometric_time_series.safetensors", wildcards.experiment
        ),
    output:
        summary=report(
            "results/{experiment}/summary.csv",
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "summary over the runs", "experiment": "{experiment}"},
        ),
        increases=report(
            "results/{experiment}/increases.csv",
            caption="../report/increases.rst",
            category="Tables",
            labels={
                "table": "steps on which holes multiplied",
                "experiment": "{experiment}",
            },
        ),
    log:
        "results/logs/summarise/{experiment}.log",
    benchmark:
        "results/benchmarks/summarise/{experiment}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        **RECIPES.stage(
            "summary",
            script="summarise.py",
            after=every_run("train", "black_holes", "graphs"),
            runs=lambda wildcards: [
                f"run_{run}" for run in run_numbers(wildcards.experiment)
            ],
            steps=lambda wildcards: configuration.steps_at(
                CONFIG.figures.summary_steps,
                CONFIG.experiments[wildcards.experiment].steps,
            ),
        ),
    script:
        "../scripts/summarise.py"
