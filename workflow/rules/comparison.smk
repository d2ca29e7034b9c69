"""Experiments compared by pairs of runs with the same seed, where there are some to compare."""

COMPARED = CONFIG.comparisons()  # (experiment, reference, pairs of runs)
COMPARED_RUNS = list(
    dict.fromkeys((name, run) for *names, runs in COMPARED for pair in runs for name, run in zip(names, pair))
)


def of_compared(name):
    """This file of every run that is compared."""
    return [f"<results>/{experiment}/{run}/{name}" for experiment, run in COMPARED_RUNS]


def not_compared():
    """An option of the figure: the experiments that no pair of runs has."""
    others = [name for name in CONFIG.experiments if not any(name in names for *names, _ in COMPARED)]
    return {"note": f"not shown: {', '.join(others)} (no reference)"} if others else {}


rule comparison:
    input:
        ["<results>/comparison.csv", "<results>/figures/comparison.png"] if COMPARED else [],


rule compare:
    input:
        logs=of_compared("training_log.csv"),
        counts=of_compared("black_hole_counts.safetensors"),
        histories=of_compared("embedding_evolution.safetensors"),
        corpora=[corpus_file("tokens.safetensors", experiment) for experiment, _ in COMPARED_RUNS],
    output:
        comparison=report(
            "<results>/comparison.csv",
            caption="../report/comparison_table.rst",
            category="Comparison",
            labels={"table": "differences by pairs of runs", "experiment": "all"},
        ),
    log:
        "<results>/logs/compare.log",
    benchmark:
        "<results>/benchmarks/compare.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        runs=[list(run) for run in COMPARED_RUNS],
        pairs=[[*names, [list(pair) for pair in runs]] for *names, runs in COMPARED],
        steps=sorted(
            {
                step
                for names in COMPARED
                for step in configuration.steps_at(CONFIG.figures.key_steps, CONFIG.experiments[names[0]].steps)
            }
        ),
        code=code_digest("compare.py"),
    script:
        "../scripts/compare.py"


rule comparison_figure:
    input:
        comparison="<results>/comparison.csv",
    output:
        **figure_outputs("<results>", "Comparison", {"comparison": "differences by pairs of runs"}, experiment="all"),
    log:
        "<results>/logs/figures/comparison.log",
    benchmark:
        "<results>/benchmarks/figures/comparison.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params("runs", ["comparison"], {"dpi": CONFIG.figures.dpi, **not_compared()}),
    script:
        "../scripts/figures.py"
