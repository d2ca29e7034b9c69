"""Published values beside ours: with the overlay config/published.yaml, or config/qwen3.yaml."""

from blackholes.reproduction import published

PUBLISHED = [name for name in CONFIG.experiments if published.experiment_of(name)]
PUBLISHED_CHECKPOINT = [name for name in [published.CHECKPOINT] if name in CONFIG.checkpoints]
REPRODUCTION = (
    ["<results>/reproduction.csv", "<results>/figures/reproduction.png"] if PUBLISHED or PUBLISHED_CHECKPOINT else []
)


def published_files(experiment):
    """What the reproduction reads of every run of an experiment → its file."""
    return {
        "logs": "training_log.csv",
        "models": "model/model.safetensors",
        "histories": "embedding_evolution.safetensors",
        "counts": "black_hole_counts.safetensors",
        "graphs": "graph_statistics.safetensors",
        "geometry": "geometric_time_series.safetensors",
    }


def published_corpus(wildcards):
    """The tokens, if there is anything to compare. sys.exit: Snakemake prints a traceback around a WorkflowError."""
    if not PUBLISHED and PUBLISHED_CHECKPOINT:
        return []
    if not PUBLISHED:
        sys.exit(
            f"reproduction: none of the published experiments ({', '.join(published.RUNNABLE)}) is configured; "
            "add --configfile config/published.yaml"
        )
    corpora = {CONFIG.experiments[name].corpus.name for name in PUBLISHED}
    if len(corpora) > 1:
        sys.exit(
            f"reproduction: the published experiments have several corpora ({', '.join(sorted(corpora))}), expected one"
        )
    return corpus_file("tokens.safetensors", PUBLISHED[0])


rule reproduction:
    input:
        "<results>/reproduction.csv",
        "<results>/figures/reproduction.png",


rule reproduce:
    input:
        **{
            f"{name}_{kind}": of_runs(f"{RUN}/{file}", name)
            for name in PUBLISHED
            for kind, file in published_files(name).items()
        },
        **{
            f"{name}_{kind}": f"<results>/checkpoints/{name}/{file}"
            for name in PUBLISHED_CHECKPOINT
            for kind, file in {
                "census": "census.json",
                "overdensity": "overdensity.csv",
                "sphere": "sphere.safetensors",
            }.items()
        },
        corpus=published_corpus,
    output:
        table=report(
            "<results>/reproduction.csv",
            caption="../report/reproduction_table.rst",
            category="Reproduction",
            labels={"table": "published values beside ours", "experiment": "all"},
        ),
    log:
        "<results>/logs/reproduce.log",
    benchmark:
        "<results>/benchmarks/reproduce.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        facts=[file_digest(path) for path in published.FILES],
        code=code_digest("reproduce.py"),
    script:
        "../scripts/reproduce.py"


rule reproduction_figure:
    input:
        table="<results>/reproduction.csv",
    output:
        **figure_outputs(
            "<results>", "Reproduction", {"reproduction": "published values beside ours"}, experiment="all"
        ),
    log:
        "<results>/logs/figures/reproduction.log",
    benchmark:
        "<results>/benchmarks/figures/reproduction.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params("reproduction", ["reproduction"], {"dpi": CONFIG.figures.dpi}),
    script:
        "../scripts/figures.py"
