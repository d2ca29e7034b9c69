"""The report: every figure and table with its caption, in one HTML file."""

import shlex

CONFIG_FILES, CONFIG_VALUES = workflow.config_settings.configfiles, workflow.config_settings.config_args

# a second Snakemake, with the configuration of this one: it reads what finished jobs left in .snakemake
REPORT_COMMAND = shlex.join(
    [
        *(sys.executable, "-m", "snakemake", "contents"),
        *("--snakefile", str(workflow.main_snakefile), "--cores", "1", "--nolock"),
        *(["--configfile", *map(str, CONFIG_FILES)] if CONFIG_FILES else []),
        *(["--config", *CONFIG_VALUES] if CONFIG_VALUES else []),
    ]
)


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
    shell:
        "{REPORT_COMMAND} --report {output:q} > {log:q} 2>&1"
