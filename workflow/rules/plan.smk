"""What the target `all` would run, why, and what it will cost: `snakemake plan`. Makes nothing, as `verify`."""

config["plan_cores"] = workflow.resource_settings.cores or 1


rule plan:
    # a second Snakemake, in a dry run, says what would run; this job only reads
    log:
        "<results>/logs/plan.log",
    conda:
        "../../envs/report.yaml"
    script:
        "../scripts/plan.py"
