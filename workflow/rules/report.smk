"""The report: every figure and table with its caption, in one HTML file."""

CONFIG_FILES, CONFIG_VALUES = workflow.config_settings.configfiles, workflow.config_settings.config_args

# arguments of a second Snakemake, with the configuration of this one: it reads what finished jobs left in .snakemake
SAME_CONFIGURATION = [
    *("--snakefile", str(workflow.main_snakefile), "--cores", "1", "--nolock"),
    *(["--configfile", *map(str, CONFIG_FILES)] if CONFIG_FILES else []),
    *(["--config", *CONFIG_VALUES] if CONFIG_VALUES else []),
]
# for the script; no parameter of the rule, since that would run it again where only these differ
config["report_command"] = ["-m", "snakemake", "contents", *SAME_CONFIGURATION]


rule contents:
    # what the report shows
    input:
        expand(f"{CORPUS}/tokens.csv", corpus=CONFIG.corpora()),
        expand("<results>/{experiment}/summary.csv", experiment=CONFIG.experiments),
        rules.figures.input,
        rules.comparison.input,
        rules.forces.input,
        rules.questions.input,
        rules.checkpoints.input,
        rules.snowballs.input,
        rules.lattice.input,
        REPRODUCTION,


rule report:
    input:
        shown=rules.contents.input,
    output:
        report="<results>/report.html",
    log:
        "<results>/logs/report.log",
    benchmark:
        "<results>/benchmarks/report.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=code_digest("report.py"),
    script:
        "../scripts/report.py"
