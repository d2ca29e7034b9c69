"""Checks every file of the results: `snakemake verify`. Makes nothing anew, and is part of no other target."""

config["verify_arguments"] = SAME_CONFIGURATION


rule verify:
    # without an output or a benchmark, which counts as one, so it runs whenever it is asked for
    log:
        "<results>/logs/verify.log",
    conda:
        "../../envs/report.yaml"
    script:
        "../scripts/verify.py"
