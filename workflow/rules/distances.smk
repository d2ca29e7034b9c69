"""From histories to Chebyshev matrices."""


rule distances:
    input:
        (
            of_runs(f"{RUN}/pairwise_distances.safetensors", *WITH_MATRICES)
            if WITH_MATRICES
            else []
        ),


rule run_distances:
    input:
        history=history_for_matrices,
    output:
        distances=f"{RUN}/pairwise_distances.safetensors",
    log:
        "results/logs/distances/{experiment}_{run}.log",
    benchmark:
        "results/benchmarks/distances/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        disk_mb=lambda wildcards: int(matrices_mb(wildcards)) + 50,
        runtime=lambda wildcards, attempt: 10 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        **RECIPES.stage("distances", script="distances.py", after=same_run("train")),
    script:
        "../scripts/distances.py"
