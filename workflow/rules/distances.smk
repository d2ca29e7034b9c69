"""From histories to Chebyshev matrices (row B)."""

from blackholes.limits import LARGE

# experiments whose vocabularies are small enough for distance matrices to be stored
WITH_MATRICES = [name for name, it in CONFIG.experiments.items() if not it.is_large]


def matrices_mb(wildcards):
    """Size of a run's distance matrices in MB."""
    settings = CONFIG.experiments[wildcards.experiment]
    return 4e-6 * (settings.steps + 1) * settings.model.vocabulary_size**2


def history_for_matrices(wildcards):
    """The history of a run; where its matrices would be too large, one line that says so."""
    settings = CONFIG.experiments[wildcards.experiment]
    tokens, run = settings.model.vocabulary_size, RUN.format(**dict(wildcards.items()))
    if settings.is_large:  # sys.exit, since Snakemake prints a traceback around a WorkflowError
        sys.exit(
            f"{run.replace('<results>', CONFIG.results)}/pairwise_distances.safetensors: {settings.steps + 1:,} matrices of {tokens:,} × {tokens:,} would take "
            f"{matrices_mb(wildcards) / 1000:,.0f} GB, expected a vocabulary of at most {LARGE:,} tokens; "
            "black_holes needs no matrices"
        )
    return f"{run}/embedding_evolution.safetensors"


rule matrices:
    input:
        of_runs(f"{RUN}/pairwise_distances.safetensors", *WITH_MATRICES) if WITH_MATRICES else [],


rule distances:
    input:
        history=history_for_matrices,
    output:
        distances=f"{RUN}/pairwise_distances.safetensors",
    log:
        "<results>/logs/distances/{experiment}_{run}.log",
    benchmark:
        "<results>/benchmarks/distances/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        disk_mb=lambda wildcards: int(matrices_mb(wildcards)) + 50,
        gpu=gpus(CONFIG.distances.device),
    params:
        code=code_digest("distances.py"),
    script:
        "../scripts/distances.py"
