"""One rule a figure, all alike: `figure_<name>` draws with the module blackholes.figures.<name>."""

# figures of an experiment → what they read, and the report's category
OF_EXPERIMENT = {
    "loss_curves": (["logs", "tokens"], "Training"),
    "black_hole_counts": (["counts"], "Black holes"),
    "black_hole_means": (["counts", "tokens"], "Black holes"),
    "tokens_per_hole": (["counts"], "Black holes"),
    "cluster_dynamics": (["counts", "graphs"], "Graphs"),
    "component_sizes": (["graphs"], "Graphs"),
    "centroid": (["geometry"], "Geometry"),
}

# experiments side by side: those with the tokens of the first
COMPARED = [
    name
    for name, it in CONFIG.experiments.items()
    if it.corpus.name == next(iter(CONFIG.experiments.values())).corpus.name
]


rule figures:
    input:
        expand(
            "results/{experiment}/figures/{figure}.png",
            experiment=CONFIG.experiments,
            figure=OF_EXPERIMENT,
        ),
        [
            f"results/{experiment}/run_{CONFIG.figures.run:03d}/figures/hole_members.png"
            for experiment in CONFIG.experiments
        ],
        "results/figures/experiments.png",


for figure, (reads, category) in OF_EXPERIMENT.items():

    rule:
        name:
            f"figure_{figure}"
        input:
            **figure_files(reads),
        output:
            png=report(
                f"results/{{experiment}}/figures/{figure}.png",
                caption=f"../report/{figure}.rst",
                category=category,
                labels={
                    "figure": figure.replace("_", " "),
                    "experiment": "{experiment}",
                },
            ),
            svg=f"results/{{experiment}}/figures/{figure}.svg",
        log:
            f"results/logs/figures/{{experiment}}_{figure}.log",
        benchmark:
            f"results/benchmarks/figures/{{experiment}}_{figure}.tsv"
        conda:
            "../../envs/blackholes.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 1500 * attempt,
            runtime=lambda wildcards, attempt: 10 * attempt,
        params:
            **RECIPES.stage(
                f"figure_{figure}",
                script="figure.py",
                modules=[f"blackholes.figures.runs.{figure}"],
                after=figure_stages(reads),
                figure=f"runs.{figure}",
                options=figure_options,
            ),
        script:
            "../scripts/figure.py"


for kind, drawn in OF_ENTRIES.items():

    rule:
        name:
            f"{kind}_figures"
        input:
            **{
                name: f"{drawn['folder']}/{file}"
                for name, file in drawn["reads"].items()
            },
        output:
            **{
                figure: report(
                    f"{drawn['folder']}/figures/{figure}.png",
                    caption=f"../report/{figure}.rst",
                    category=drawn["category"],
                    labels={"figure": title, kind: f"{{{kind}}}"},
                )
                for figure, title in drawn["figures"].items()
            },
            **{
                f"{figure}_svg": f"{drawn['folder']}/figures/{figure}.svg"
                for figure in drawn["figures"]
            },
        log:
            f"results/logs/figures/{{{kind}}}_{kind}.log",
        benchmark:
            f"results/benchmarks/figures/{{{kind}}}_{kind}.tsv"
        conda:
            "../../envs/blackholes.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 1500 * attempt,
            runtime=lambda wildcards, attempt: 10 * attempt,
        params:
            **RECIPES.stage(
                f"{kind}_figures",
                script="figures.py",
                modules=[
                    f"blackholes.figures.{drawn['room']}.{figure}"
                    for figure in drawn["figures"]
                ],
                after=lambda wildcards, kind=kind, drawn=drawn: [
                    (drawn["stage"], {kind: getattr(wildcards, kind)})
                ],
                room=drawn["room"],
                figures=list(drawn["figures"]),
                options=lambda wildcards, kind=kind: {
                    kind: getattr(wildcards, kind),
                    "dpi": CONFIG.figures.dpi,
                },
            ),
        script:
            "../scripts/figures.py"


rule figure_hole_members:
    input:
        counts=f"{RUN}/black_hole_counts.safetensors",
        tokens=own_corpus_file("tokens.csv"),
    output:
        png=report(
            f"{RUN}/figures/hole_members.png",
            caption="../report/hole_members.rst",
            category="Black holes",
            labels={"figure": "hole members, run {run}", "experiment": "{experiment}"},
        ),
        svg=f"{RUN}/figures/hole_members.svg",
    log:
        "results/logs/figures/{experiment}_{run}_hole_members.log",
    benchmark:
        "results/benchmarks/figures/{experiment}_{run}_hole_members.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        **RECIPES.stage(
            "figure_hole_members",
            script="figure.py",
            modules=["blackholes.figures.runs.hole_members"],
            after=lambda wildcards: own_corpus_stage(wildcards)
            + same_run("black_holes")(wildcards),
            figure="runs.hole_members",
            options=figure_options,
        ),
    script:
        "../scripts/figure.py"


rule figure_experiments:
    input:
        **figure_files(["logs", "counts", "graphs", "tokens"], COMPARED),
    output:
        png=report(
            "results/figures/experiments.png",
            caption="../report/experiments.rst",
            category="Comparison",
            labels={"figure": "experiments side by side", "experiment": "all"},
        ),
        svg="results/figures/experiments.svg",
    log:
        "results/logs/figures/experiments.log",
    benchmark:
        "results/benchmarks/figures/experiments.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1500 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        **RECIPES.stage(
            "figure_experiments",
            script="figure.py",
            modules=["blackholes.figures.runs.experiments"],
            after=figure_stages(["logs", "counts", "graphs", "tokens"], COMPARED),
            figure="runs.experiments",
            options={
                "experiments": [name for name in COMPARED for _ in run_numbers(name)],
                "dpi": CONFIG.figures.dpi,
            },
        ),
    script:
        "../scripts/figure.py"
