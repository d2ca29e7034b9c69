"""The figures of a checkpoint, in one job: they read tables and statistics, never the embedding."""

OF_CHECKPOINT = {  # figure → the report's label
    "sky_map": "norms and sky map",
    "distance_distribution": "distances in the overdensity",
    "overdensity_graph": "graph and cluster",
    "token_ranking": "tokens that look unused",
}


rule checkpoint_figures:
    input:
        tokens=f"{CHECKPOINT}/tokens.csv",
        sphere=f"{CHECKPOINT}/sphere.safetensors",
        statistics=f"{CHECKPOINT}/distance_statistics.safetensors",
        table=f"{CHECKPOINT}/overdensity.csv",
    output:
        **{
            figure: report(
                f"{CHECKPOINT}/figures/{figure}.png",
                caption=f"../report/{figure}.rst",
                category="Checkpoints",
                labels={"figure": title, "checkpoint": "{checkpoint}"},
            )
            for figure, title in OF_CHECKPOINT.items()
        },
        **{
            f"{figure}_svg": f"{CHECKPOINT}/figures/{figure}.svg"
            for figure in OF_CHECKPOINT
        },
    log:
        "results/logs/figures/{checkpoint}_checkpoint.log",
    benchmark:
        "results/benchmarks/figures/{checkpoint}_checkpoint.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        **RECIPES.stage(
            "checkpoint_figures",
            script="figures.py",
            modules=[f"blackholes.figures.{figure}" for figure in OF_CHECKPOINT],
            after=same_checkpoint("token_table"),
            figures=list(OF_CHECKPOINT),
            options=lambda wildcards: {
                "checkpoint": wildcards.checkpoint,
                "dpi": CONFIG.figures.dpi,
            },
        ),
    script:
        "../scripts/figures.py"
