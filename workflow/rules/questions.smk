"""The open questions, each with an answer from the runs of all experiments, or with what to run for one."""

EVERY_RUN = [(name, f"run_{run}") for name in CONFIG.experiments for run in run_numbers(name)]


rule questions:
    input:
        ["<results>/questions.csv", "<results>/questions.md", "<results>/figures/questions.png"]
        if CONFIG.experiments
        else [],


rule answer:
    input:
        histories=of_runs(f"{RUN}/embedding_evolution.safetensors"),
        logs=of_runs(f"{RUN}/training_log.csv"),
        counts=of_runs(f"{RUN}/black_hole_counts.safetensors"),
        corpora=[corpus_file("tokens.safetensors", experiment) for experiment, _ in EVERY_RUN],
        escapes=of_runs(f"{RUN}/escapes.csv"),
        holes=of_runs(f"{RUN}/lineage.csv"),
        events=of_runs(f"{RUN}/lineage_events.csv"),
        forces=of_recorded(FORCES),
        series=of_recorded(f"{RUN}/forces_series.safetensors"),
    output:
        questions=report(
            "<results>/questions.csv",
            caption="../report/questions.rst",
            category="Questions",
            labels={"table": "the questions and their answers", "experiment": "all"},
        ),
        values="<results>/question_values.csv",
        page="<results>/questions.md",
    log:
        "<results>/logs/answer.log",
    benchmark:
        "<results>/benchmarks/answer.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        runs=[list(run) for run in EVERY_RUN],
        recorded=[[name, f"run_{run}"] for name, runs in RECORDED.items() for run in runs],
        settings={name: it.shared_settings() for name, it in CONFIG.experiments.items()},
        corpora={name: it.corpus.name for name, it in CONFIG.experiments.items()},
        shown=f"run_{CONFIG.figures.run:03d}",
        code=code_digest("answer.py"),
    script:
        "../scripts/answer.py"


rule questions_figure:
    input:
        questions="<results>/questions.csv",
        values="<results>/question_values.csv",
    output:
        **figure_outputs("<results>", "Questions", {"questions": "the answers and their intervals"}, experiment="all"),
    log:
        "<results>/logs/figures/questions.log",
    benchmark:
        "<results>/benchmarks/figures/questions.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params("runs", ["questions"], {"dpi": CONFIG.figures.dpi}),
    script:
        "../scripts/figures.py"
