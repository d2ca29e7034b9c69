"""What figures read, and what has to be done before."""

# what a figure reads → (the file of each run, the stage that makes it)
RUN_FILES = {
    "logs": ("training_log.csv", "train"),
    "counts": ("black_hole_counts.safetensors", "black_holes"),
    "graphs": ("graph_statistics.safetensors", "graphs"),
    "geometry": ("geometric_time_series.safetensors", "black_holes"),
}
# figures of an entry of `checkpoints`, `snowballs`, `lattice`, drawn in one job since they read the same files:
# wildcard → its folder, the stage that makes what they read, their files, their names in the report
OF_ENTRIES = {
    "checkpoint": {
        "room": "checkpoints",
        "folder": CHECKPOINT,
        "category": "Checkpoints",
        "stage": "token_table",
        "reads": {
            "tokens": "tokens.csv",
            "sphere": "sphere.safetensors",
            "statistics": "distance_statistics.safetensors",
            "table": "overdensity.csv",
        },
        "figures": {
            "sky_map": "norms and sky map",
            "distance_distribution": "distances in the overdensity",
            "overdensity_graph": "graph and cluster",
            "token_ranking": "tokens that look unused",
        },
    },
    "snowball": {
        "room": "snowballs",
        "folder": SNOWBALL,
        "category": "Snowballs",
        "stage": "snowball_sweep",
        "reads": {
            "trials": "trials.csv",
            "scores": "z_scores.csv",
            "elements": "elements.safetensors",
        },
        "figures": {
            "snowball_sweep": "what becomes of tokens as σ grows",
            "z_scores": "z-scores of the checkpoint",
            "snowball_elements": "elements and normal distribution",
        },
    },
    "lattice": {
        "room": "lattice",
        "folder": LATTICE,
        "category": "Lattice",
        "stage": "lattice",
        "reads": {
            "steps": "displacement_per_step.csv",
            "lifecycle": "lifecycle.csv",
            "raster": "raster.safetensors",
        },
        "figures": {
            "lattice_percentiles": "displacement, percentiles",
            "lattice_phases": "phases of the lifecycle",
            "lattice_motion": "first and last motion",
            "lattice_raster": "raster of one token",
            "lattice_crossings": "exponent crossings",
        },
    },
}


def entry_figures(kind, names):
    """The figures of these checkpoints, snowballs or histories."""
    entries = OF_ENTRIES[kind]
    return expand(
        f"{entries['folder']}/figures/{{figure}}.png",
        figure=entries["figures"],
        **{kind: names},
    )


def figure_files(reads, experiments=None):
    """Input function: the named files of every run of these experiments, by default the wildcard's."""
    return {
        kind: (
            (
                corpus_file("tokens.csv", experiments[0])
                if experiments
                else own_corpus_file("tokens.csv")
            )
            if kind == "tokens"
            else lambda wildcards, file=RUN_FILES[kind][0]: of_runs(
                f"{RUN}/{file}", *(experiments or [wildcards.experiment])
            )
        )
        for kind in reads
    }


def figure_stages(reads, experiments=None):
    """The stages before a figure that reads these."""
    return lambda wildcards: [
        corpus_stage((experiments or [wildcards.experiment])[0])
        for kind in reads
        if kind == "tokens"
    ] + [
        (RUN_FILES[kind][1], dict(experiment=experiment, run=run))
        for kind in reads
        if kind in RUN_FILES
        for experiment in experiments or [wildcards.experiment]
        for run in run_numbers(experiment)
    ]


def figure_options(wildcards):
    """What a figure of one experiment, or of one run of it, is to show."""
    steps = CONFIG.experiments[wildcards.experiment].steps
    run = {"run": f"run_{wildcards.run}"} if hasattr(wildcards, "run") else {}
    return {
        "experiment": wildcards.experiment,
        "key_steps": configuration.steps_at(CONFIG.figures.key_steps, steps),
        "dpi": CONFIG.figures.dpi,
        **run,
    }
