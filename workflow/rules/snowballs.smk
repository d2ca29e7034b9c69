"""Snowballs (row D): for each σ, trials around a centroid, computed and discarded → one table, figures."""


rule snowballs:
    input:
        expand(
            f"{SNOWBALL}/{{file}}",
            snowball=CONFIG.snowballs,
            file=["trials.csv", "z_scores.csv"],
        ),
        entry_figures("snowball", CONFIG.snowballs),


rule snowball_trials:
    # one σ: a sweep runs over as many cores as there are, and a σ more leaves the others as they are
    input:
        centroid=lambda wildcards: snowball_checkpoint(
            wildcards, "black_hole_centroid.safetensors"
        ),
    output:
        trials=f"{SNOWBALL}/sigmas/{{sigma}}.csv",
    log:
        "results/logs/snowballs/{snowball}_{sigma}.log",
    benchmark:
        "results/benchmarks/snowballs/{snowball}_{sigma}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        **RECIPES.stage(
            "snowball_trials",
            script="snowball_trials.py",
            after=snowball_stages,
            settings=snowball_settings,
            sigma=lambda wildcards: snowball_sigmas(wildcards)[wildcards.sigma],
            n_trials=lambda wildcards: CONFIG.snowballs[wildcards.snowball].n_trials,
        ),
    script:
        "../scripts/snowball_trials.py"


rule snowball_sweep:
    input:
        centroid=lambda wildcards: snowball_checkpoint(
            wildcards, "black_hole_centroid.safetensors"
        ),
        W=lambda wildcards: snowball_checkpoint(wildcards, "W.safetensors"),
        tables=lambda wildcards: [
            f"{SNOWBALL}/sigmas/{sigma}.csv".format(snowball=wildcards.snowball)
            for sigma in snowball_sigmas(wildcards)
        ],
    output:
        trials=f"{SNOWBALL}/trials.csv",
        scores=report(
            f"{SNOWBALL}/z_scores.csv",
            caption="../report/z_scores_table.rst",
            category="Snowballs",
            labels={
                "table": "z-scores of the checkpoint",
                "snowball": "{snowball}",
            },
        ),
        elements=f"{SNOWBALL}/elements.safetensors",
    log:
        "results/logs/snowballs/{snowball}.log",
    benchmark:
        "results/benchmarks/snowballs/{snowball}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        **RECIPES.stage(
            "snowball_sweep",
            script="snowball_sweep.py",
            after=lambda wildcards: [
                ("snowball_trials", dict(snowball=wildcards.snowball, sigma=sigma))
                for sigma in snowball_sigmas(wildcards)
            ],
            settings=snowball_settings,
            labels=lambda wildcards: list(snowball_sigmas(wildcards)),
            shown=lambda wildcards: CONFIG.snowballs[wildcards.snowball].shown(),
        ),
    script:
        "../scripts/snowball_sweep.py"
