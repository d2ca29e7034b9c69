"""From histories to black holes, the geometry of the cloud, and, with distances, graphs."""


rule black_holes:
    input:
        of_runs(f"{RUN}/black_hole_counts.safetensors"),
        of_runs(f"{RUN}/graph_statistics.safetensors"),
        expand("results/{experiment}/summary.csv", experiment=CONFIG.experiments),


rule run_black_holes:
    input:
        history=run_history,
    output:
        counts=f"{RUN}/black_hole_counts.safetensors",
        events=f"{RUN}/events.csv",
        geometry=f"{RUN}/geometric_time_series.safetensors",
    log:
        "results/logs/black_holes/{experiment}_{run}.log",
    benchmark:
        "results/benchmarks/black_holes/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        **RECIPES.stage("black_holes", script="black_holes.py", after=same_run("train")),
    script:
        "../scripts/black_holes.py"


rule run_graphs:
    input:
        history=run_history,
        distances=stored_matrices,
    output:
        graphs=f"{RUN}/graph_statistics.safetensors",
    log:
        "results/logs/graphs/{experiment}_{run}.log",
    benchmark:
        "results/benchmarks/graphs/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        **RECIPES.stage(
            "graphs",
            script="graphs.py",
            after=graphs_after,
            adjacency={
                name: rule.model_dump(mode="json")
                for name, rule in CONFIG.adjacency.items()
            },
        ),
    script:
        "../scripts/graphs.py"
