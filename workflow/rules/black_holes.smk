"""From histories to black holes, graphs and the geometry of the cloud, and tables over the runs (row B)."""


rule statistics:
    input:
        of_runs(f"{RUN}/black_hole_counts.safetensors"),
        expand("<results>/{experiment}/{table}.csv", experiment=CONFIG.experiments, table=["summary", "lineages"]),


rule black_holes:
    input:
        history=f"{RUN}/embedding_evolution.safetensors",
    output:
        counts=f"{RUN}/black_hole_counts.safetensors",
        events=f"{RUN}/events.csv",
        geometry=f"{RUN}/geometric_time_series.safetensors",
        graphs=f"{RUN}/graph_statistics.safetensors",
    log:
        "<results>/logs/black_holes/{experiment}_{run}.log",
    benchmark:
        "<results>/benchmarks/black_holes/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        gpu=gpus(CONFIG.distances.device),
    params:
        adjacency={name: rule.model_dump(mode="json") for name, rule in CONFIG.adjacency.items()},
        code=code_digest("black_holes.py"),
    script:
        "../scripts/black_holes.py"


rule summarise:
    input:
        logs=run_files("training_log.csv"),
        counts=run_files("black_hole_counts.safetensors"),
        graphs=run_files("graph_statistics.safetensors"),
        geometry=run_files("geometric_time_series.safetensors"),
    output:
        summary=report(
            "<results>/{experiment}/summary.csv",
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "summary over the runs", "experiment": "{experiment}"},
        ),
        increases=report(
            "<results>/{experiment}/increases.csv",
            caption="../report/increases.rst",
            category="Tables",
            labels={"table": "steps on which holes multiplied", "experiment": "{experiment}"},
        ),
    log:
        "<results>/logs/summarise/{experiment}.log",
    benchmark:
        "<results>/benchmarks/summarise/{experiment}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        runs=lambda wildcards: [f"run_{run}" for run in run_numbers(wildcards.experiment)],
        steps=lambda wildcards: configuration.steps_at(
            CONFIG.figures.summary_steps, CONFIG.experiments[wildcards.experiment].steps
        ),
        code=code_digest("summarise.py"),
    script:
        "../scripts/summarise.py"


rule lineage:
    input:
        counts=f"{RUN}/black_hole_counts.safetensors",
        tokens=own_corpus_file("tokens.csv"),
        corpus=own_corpus_file("tokens.safetensors"),
    output:
        holes=f"{RUN}/lineage.csv",
        graph=f"{RUN}/lineage.graphml",
        events=f"{RUN}/lineage_events.csv",
        escapes=f"{RUN}/escapes.csv",
    log:
        "<results>/logs/lineage/{experiment}_{run}.log",
    benchmark:
        "<results>/benchmarks/lineage/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        flicker=CONFIG.lineage.flicker,
        settings=run_settings,
        code=code_digest("lineage.py"),
    script:
        "../scripts/lineage.py"


rule lineages:
    input:
        holes=run_files("lineage.csv"),
        events=run_files("lineage_events.csv"),
        escapes=run_files("escapes.csv"),
    output:
        lineages=report(
            "<results>/{experiment}/lineages.csv",
            caption="../report/lineages.rst",
            category="Tables",
            labels={"table": "lineages of the runs", "experiment": "{experiment}"},
        ),
        curves="<results>/{experiment}/escape_curves.csv",
        statistics=report(
            "<results>/{experiment}/escape_statistics.csv",
            caption="../report/escape_statistics.rst",
            category="Tables",
            labels={"table": "what escapes depend on", "experiment": "{experiment}"},
        ),
    log:
        "<results>/logs/lineages/{experiment}.log",
    benchmark:
        "<results>/benchmarks/lineages/{experiment}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        runs=lambda wildcards: [f"run_{run}" for run in run_numbers(wildcards.experiment)],
        code=code_digest("lineages.py"),
    script:
        "../scripts/lineages.py"
