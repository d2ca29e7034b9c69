"""Published values beside ours: with the overlay config/published.yaml."""

from blackholes.analysis.published import CONDITIONS, ONE

PUBLISHED = [name for name in CONDITIONS if name in CONFIG.experiments]
REPRODUCTION = ["results/reproduction.csv", "results/figures/reproduction.png"]
# what is read of each run → (its file, the stage that makes it)
REPRODUCTION_FILES = {
    "models": ("model/model.safetensors", "train"),
    "logs": RUN_FILES["logs"],
    "counts": RUN_FILES["counts"],
}
ONLY_OF_ONE = {kind: RUN_FILES[kind] for kind in ("graphs", "geometry")}


def reproduction_files(experiment):
    """What is read of an experiment's runs."""
    return REPRODUCTION_FILES | (ONLY_OF_ONE if experiment == ONE else {})


def published_corpus(wildcards):
    """The tokens, if there is anything to compare. No WorkflowError: Snakemake would print a traceback around it."""
    if not PUBLISHED:
        sys.exit(
            f"reproduction: none of the published experiments ({', '.join(CONDITIONS)}) is configured; "
            "add --configfile config/published.yaml"
        )
    return f"{CORPUS}/tokens.safetensors"


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
            after=lambda wildcards: [("corpus", {})]
            + [
                (stage, dict(experiment=name, run=run))
                for name in PUBLISHED
                for stage in sorted(
                    {stage for _, stage in reproduction_files(name).values()}
                )
                for run in run_numbers(name)
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
            modules=["blackholes.figures.reproduction"],
            after=lambda wildcards: [("reproduction", {})],
            figure="reproduction",
            options={"dpi": CONFIG.figures.dpi},
        ),
    script:
        "../scripts/figure.py"
