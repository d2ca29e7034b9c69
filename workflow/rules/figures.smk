"""Figures of an experiment, of a run, and of experiments side by side. Those of other rows are in their rules' files.

A figure `<name>` is drawn by the module blackholes.figures.<row>.<name>, and its caption is workflow/report/<name>.rst.
"""

FIGURES = {  # category in the report → name of the figure → its title there
    "Training": {"loss_curves": "loss curves"},
    "Black holes": {
        "black_hole_counts": "black hole counts",
        "black_hole_means": "black hole means",
        "tokens_per_hole": "tokens per hole",
        "escapes": "escapes of live tokens",
    },
    "Graphs": {"cluster_dynamics": "cluster dynamics", "component_sizes": "component sizes"},
    "Geometry": {"centroid": "centroid"},
}
EXPERIMENT_FIGURES = {name: title for titles in FIGURES.values() for name, title in titles.items()}
COMPARISONS = {"experiments": "experiments side by side", "distinct_vectors": "distinct vectors"}
SIDE_BY_SIDE = CONFIG.side_by_side()


def compared_rounded(*experiments):
    """An option of figures, if the vectors that these experiments train have more digits than their histories."""
    rounded = [name for name in experiments if CONFIG.experiments[name].precision != "bf16"]
    which = f"{', '.join(rounded)}: " if len(experiments) > 1 else ""
    return {"note": f"{which}vectors equal after rounding to bfloat16"} if rounded else {}


def left_out():
    """An option of the figures that compare: the experiments that they do not show, and why."""
    others = [name for name in CONFIG.experiments if name not in SIDE_BY_SIDE]
    return {"note": f"not shown: {', '.join(others)} (another corpus or vocabulary)"} if others else {}


def notes(*options):
    """The notes of some options, as one."""
    said = [it["note"] for it in options if it]
    return {"note": "; ".join(said)} if said else {}


def figure_options(wildcards):
    """What a figure of one experiment, or of one run of it, is to show."""
    steps = CONFIG.experiments[wildcards.experiment].steps
    return {
        "experiment": wildcards.experiment,
        "key_steps": configuration.steps_at(CONFIG.figures.key_steps, steps),
        "dpi": CONFIG.figures.dpi,
        **compared_rounded(wildcards.experiment),
    }


rule figures:
    input:
        expand("<results>/{experiment}/figures/{figure}.png", experiment=CONFIG.experiments, figure=EXPERIMENT_FIGURES),
        expand(
            "<results>/{experiment}/run_{run:03d}/figures/{figure}.png",
            experiment=CONFIG.experiments,
            run=CONFIG.figures.run,
            figure=["hole_members", "lineage"],
        ),
        expand("<results>/figures/{figure}.png", figure=COMPARISONS if SIDE_BY_SIDE else []),


rule experiment_figures:
    input:
        tokens=own_corpus_file("tokens.csv"),
        logs=run_files("training_log.csv"),
        counts=run_files("black_hole_counts.safetensors"),
        graphs=run_files("graph_statistics.safetensors"),
        geometry=run_files("geometric_time_series.safetensors"),
        escapes=run_files("escapes.csv"),
        curves="<results>/{experiment}/escape_curves.csv",
        statistics="<results>/{experiment}/escape_statistics.csv",
    output:
        **{
            kind: file
            for category, titles in FIGURES.items()
            for kind, file in figure_outputs(
                "<results>/{experiment}", category, titles, experiment="{experiment}"
            ).items()
        },
    log:
        "<results>/logs/figures/{experiment}.log",
    benchmark:
        "<results>/benchmarks/figures/{experiment}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params("runs", EXPERIMENT_FIGURES, figure_options),
    script:
        "../scripts/figures.py"


rule hole_members:
    input:
        counts=f"{RUN}/black_hole_counts.safetensors",
        tokens=own_corpus_file("tokens.csv"),
    output:
        **figure_outputs(RUN, "Black holes", {"hole_members": "hole members, run {run}"}, experiment="{experiment}"),
    log:
        "<results>/logs/figures/{experiment}_{run}_hole_members.log",
    benchmark:
        "<results>/benchmarks/figures/{experiment}_{run}_hole_members.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params(
            "runs", ["hole_members"], lambda wildcards: figure_options(wildcards) | {"run": f"run_{wildcards.run}"}
        ),
    script:
        "../scripts/figures.py"


rule lineage_figure:
    input:
        graph=f"{RUN}/lineage.graphml",
        events=f"{RUN}/lineage_events.csv",
        counts=f"{RUN}/black_hole_counts.safetensors",
    output:
        **figure_outputs(RUN, "Black holes", {"lineage": "lineage, run {run}"}, experiment="{experiment}"),
    log:
        "<results>/logs/figures/{experiment}_{run}_lineage.log",
    benchmark:
        "<results>/benchmarks/figures/{experiment}_{run}_lineage.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params(
            "runs", ["lineage"], lambda wildcards: figure_options(wildcards) | {"run": f"run_{wildcards.run}"}
        ),
    script:
        "../scripts/figures.py"


rule experiments_figure:
    input:
        tokens=corpus_file("tokens.csv", SIDE_BY_SIDE[0]) if SIDE_BY_SIDE else [],
        logs=of_runs(f"{RUN}/training_log.csv", *SIDE_BY_SIDE),
        counts=of_runs(f"{RUN}/black_hole_counts.safetensors", *SIDE_BY_SIDE),
        graphs=of_runs(f"{RUN}/graph_statistics.safetensors", *SIDE_BY_SIDE),
    output:
        **figure_outputs("<results>", "Comparison", COMPARISONS, experiment="all"),
    log:
        "<results>/logs/figures/experiments.log",
    benchmark:
        "<results>/benchmarks/figures/experiments.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params(
            "runs",
            COMPARISONS,
            {
                "experiments": [name for name in SIDE_BY_SIDE for _ in run_numbers(name)],
                "dpi": CONFIG.figures.dpi,
                **notes(compared_rounded(*SIDE_BY_SIDE), left_out()),
            },
        ),
    script:
        "../scripts/figures.py"
