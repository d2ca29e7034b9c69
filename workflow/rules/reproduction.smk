"""Published values beside ours: with the overlay config/published.yaml, or config/qwen3.yaml."""

REPRODUCTION = ["results/reproduction.csv", "results/figures/reproduction.png"]
PUBLISHED = [name for name in published.CONDITIONS if name in CONFIG.experiments]
COMPARED = [*PUBLISHED, *({published.CHECKPOINT} & set(CONFIG.checkpoints))]
PUBLISHED_CHECKPOINT = {  # what is read of it → its file
    "census": "census.json",
    "overdensity": "overdensity.csv",
    "sphere": "sphere.safetensors",
}


rule reproduction:
    input:
        REPRODUCTION,


rule reproduce:
    input:
        **{
            f"{name}_{kind}": of_runs(f"{RUN}/{file}", name)
            for name in PUBLISHED
            for kind, (file, _) in reproduction_files(name).items()
        },
        **{
            f"{published.CHECKPOINT}_{kind}": f"results/checkpoints/{published.CHECKPOINT}/{file}"
            for kind, file in PUBLISHED_CHECKPOINT.items()
            if published.CHECKPOINT in COMPARED
        },
        corpus=published_corpus,
    output:
        table=report(
            "results/reproduction.csv",
            caption="../report/reproduction_table.rst",
            category="Reproduction",
            labels={"table": "published values beside ours", "experiment": "all"},
        ),
    log:
        "results/logs/reproduce.log",
    benchmark:
        "results/benchmarks/reproduce.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        **RECIPES.stage(
            "reproduction",
            script="reproduce.py",
            after=lambda wildcards: [corpus_stage(name) for name in PUBLISHED[:1]]
            + [
                (stage, dict(experiment=name, run=run))
                for name in PUBLISHED
                for stage in sorted(
                    {stage for _, stage in reproduction_files(name).values()}
                )
                for run in run_numbers(name)
            ]
            + [
                ("overdensity_distances", dict(checkpoint=name))
                for name in COMPARED
                if name == published.CHECKPOINT
            ],
        ),
    script:
        "../scripts/reproduce.py"


rule figure_reproduction:
    input:
        table="results/reproduction.csv",
    output:
        png=report(
            "results/figures/reproduction.png",
            caption="../report/reproduction.rst",
            category="Reproduction",
            labels={"figure": "published values beside ours", "experiment": "all"},
        ),
        svg="results/figures/reproduction.svg",
    log:
        "results/logs/figures/reproduction.log",
    benchmark:
        "results/benchmarks/figures/reproduction.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        **RECIPES.stage(
            "figure_reproduction",
            script="figure.py",
            modules=["blackholes.figures.reproduction.reproduction"],
            after=lambda wildcards: [("reproduction", {})],
            figure="reproduction.reproduction",
            options={"dpi": CONFIG.figures.dpi},
        ),
    script:
        "../scripts/figure.py"
