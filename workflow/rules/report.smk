"""The report: every figure and table with its caption, in one HTML file."""

rule contents:
    # what the report shows
    input:
        expand(f"{CORPUS}/tokens.csv", corpus=CONFIG.corpora()),
        expand("results/{experiment}/summary.csv", experiment=CONFIG.experiments),
        rules.figures.input,
        rules.checkpoints.input,
        rules.snowballs.input,
        rules.lattice.input,
        REPRODUCTION,


rule report:
    # a second Snakemake, with the configuration of this one, reads what finished jobs left in .snakemake
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
    params:
        python=sys.executable,
        snakefile=workflow.main_snakefile,
        options=[
            *(["--configfile", *map(os.path.relpath, workflow.config_settings.configfiles)] if workflow.config_settings.configfiles else []),
            *(["--config", *workflow.config_settings.config_args] if workflow.config_settings.config_args else []),
        ],
    shell:
        "{params.python:q} -m snakemake contents --snakefile {params.snakefile:q} --cores 1 --nolock"
        " {params.options:q} --report {output:q} > {log:q} 2>&1"
