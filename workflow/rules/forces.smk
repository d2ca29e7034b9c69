"""Why tokens freeze: the law of the next weights checked, tables and figures, of runs that record forces (row F)."""

FORCES_FIGURES = {  # name of the figure → its title in the report
    "forces_moves": "intended and realised moves, run {run}",
    "forces_parts": "forces by their part, run {run}",
    "forces_swarm": "the dead as a swarm, run {run}",
    "forces_probability": "probability of the dead, run {run}",
}


def of_recorded(pattern):
    """The file `pattern` of every run that records forces."""
    return [pattern.format(experiment=name, run=run) for name, runs in RECORDED.items() for run in runs]


rule forces:
    input:
        of_recorded(f"{RUN}/freeze.csv"),
        [of_recorded(f"{RUN}/figures/{figure}.png") for figure in FORCES_FIGURES],


rule freeze:
    input:
        history=f"{RUN}/embedding_evolution.safetensors",
        forces=FORCES,
        log=f"{RUN}/training_log.csv",
        model=f"{RUN}/model/model.safetensors",
        corpus=own_corpus_file("tokens.safetensors"),
    output:
        freeze=f"{RUN}/freeze.csv",
        law=report(
            f"{RUN}/law.csv",
            caption="../report/law.rst",
            category="Tables",
            labels={"table": "the law of the next weights, run {run}", "experiment": "{experiment}"},
        ),
        series=f"{RUN}/forces_series.safetensors",
    log:
        "<results>/logs/freeze/{experiment}_{run}.log",
    benchmark:
        "<results>/benchmarks/freeze/{experiment}_{run}.tsv"
    wildcard_constraints:
        experiment="|".join(RECORDED) or "none",
    conda:
        "../../envs/blackholes.yaml"
    params:
        settings=run_settings,
        code=code_digest("freeze.py"),
    script:
        "../scripts/freeze.py"


rule forces_figures:
    input:
        series=f"{RUN}/forces_series.safetensors",
        freeze=f"{RUN}/freeze.csv",
        tokens=own_corpus_file("tokens.csv"),
    output:
        **figure_outputs(RUN, "Forces", FORCES_FIGURES, experiment="{experiment}"),
    log:
        "<results>/logs/figures/{experiment}_{run}_forces.log",
    benchmark:
        "<results>/benchmarks/figures/{experiment}_{run}_forces.tsv"
    wildcard_constraints:
        experiment="|".join(RECORDED) or "none",
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params(
            "runs", FORCES_FIGURES, lambda wildcards: figure_options(wildcards) | {"run": f"run_{wildcards.run}"}
        ),
    script:
        "../scripts/figures.py"
