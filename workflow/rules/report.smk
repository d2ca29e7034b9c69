"""The report: every figure and table with its caption, in one HTML file."""


# gives a second Snakemake this one's configuration
SAME_CONFIGURATION = " ".join(
    ["--configfile", *(shlex.quote(str(path)) for path in workflow.config_settings.configfiles)]
    * bool(workflow.config_settings.configfiles)
    + ["--config", *(shlex.quote(value) for value in workflow.config_settings.config_args or [])]
    * bool(workflow.config_settings.config_args)
)


rule contents:
    # everything but the report, which is made of it
    input:
        rules.corpus.input,
        rules.train.input,
        rules.distances.input if CONFIG.distances.store else [],
        rules.black_holes.input,
        rules.figures.input,


rule report:
    input:
        "results/report.html",


rule write_report:
    input:
        rules.contents.input,
    output:
        "results/report.html",
    params:
        upstream=lambda wildcards: RECIPES.upstream(
            [("figure_experiments", {})]
            + [
                (stage, dict(experiment=experiment, run=f"{CONFIG.figures.run:03d}"))
                for experiment in CONFIG.experiments
                for stage in ["summary", "figure_hole_members", *(f"figure_{name}" for name in OF_EXPERIMENT)]
            ]
        ),
    log:
        "results/logs/report.log",
    resources:
        mem_mb=2000,
        runtime=10,
    shell:
        # a second Snakemake in the same folder: it reads what the finished jobs left in .snakemake, and changes nothing
        "{sys.executable} -m snakemake contents --snakefile {workflow.main_snakefile} --cores 1 --nolock "
        "{SAME_CONFIGURATION} --report {output} &> {log}"
