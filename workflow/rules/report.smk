"""The report: every figure and table with its caption, in one HTML file."""


rule contents:
    # what the report shows: small files, since Snakemake reads what a job reads to know it again
    input:
        expand(f"{CORPUS}/tokens.csv", corpus=CONFIG.corpora()),
        expand("results/{experiment}/summary.csv", experiment=CONFIG.experiments),
        rules.figures.input,
        rules.checkpoints.input,
        rules.snowballs.input,
        rules.lattice.input,
        REPRODUCTION if COMPARED else [],


rule report:
    input:
        "results/report.html",


rule write_report:
    input:
        rules.contents.input,
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        # what gives a second Snakemake this one's configuration
        files=[os.path.relpath(path) for path in workflow.config_settings.configfiles],
        values=list(workflow.config_settings.config_args or []),
        upstream=lambda wildcards: RECIPES.upstream(
            [("figure_experiments", {})]
            + [("figure_reproduction", {})] * bool(COMPARED)
            + [
                (stage, dict(experiment=experiment, run=f"{CONFIG.figures.run:03d}"))
                for experiment in CONFIG.experiments
                for stage in [
                    "summary",
                    "figure_hole_members",
                    *(f"figure_{name}" for name in OF_EXPERIMENT),
                ]
            ]
            + [
                ("checkpoint_figures", dict(checkpoint=name))
                for name in CONFIG.checkpoints
            ]
            + [("snowball_figures", dict(snowball=name)) for name in CONFIG.snowballs]
            + [("lattice_figures", dict(lattice=name)) for name in CONFIG.lattice]
        ),
    script:
        "../scripts/write_report.py"
