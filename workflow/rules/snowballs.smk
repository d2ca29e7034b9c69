"""Snowballs (row D): for each σ, trials around a centroid, and permutations of the tokens → one table, figures."""

SNOWBALL_FIGURES = {
    "snowball_sweep": "what becomes of tokens as σ grows",
    "snowball_singletons": "singletons of every trial",
    "snowball_permutation": "the tokens among their permutations",
    "z_scores": "z-scores of the checkpoint",
    "snowball_elements": "elements and normal distribution",
}
LATENT = f"{SNOWBALL}/latent.safetensors"


def snowball_latent(wildcards):
    """Input function: the estimate that the snowballs of a checkpoint are made from; nothing for other centroids."""
    centroid = CONFIG.snowballs[wildcards.snowball].centroid
    return LATENT.format(snowball=wildcards.snowball) if centroid in list(CONFIG.checkpoints) else []


def snowball_permutations(wildcards):
    """Input function: the tables of permutations of a checkpoint's tokens."""
    jobs = CONFIG.snowballs[wildcards.snowball].permutation_jobs() if snowball_latent(wildcards) else 0
    return expand(f"{SNOWBALL}/permutations/{{part}}.csv", snowball=wildcards.snowball, part=range(jobs))


def snowball_checkpoint(file):
    """Input function: a file of the checkpoint a snowball is compared with; nothing for other centroids."""

    def of_centroid(wildcards):
        centroid = CONFIG.snowballs[wildcards.snowball].centroid
        return f"{CHECKPOINT}/{file}".format(checkpoint=centroid) if centroid in list(CONFIG.checkpoints) else []

    return of_centroid


def snowball_settings(wildcards):
    """What enters the trials of a snowball beside σ; of a user's own centroid its digest too, so that an edit counts."""
    entry = CONFIG.snowballs[wildcards.snowball]
    settings, content = entry.settings(), None
    if entry.centroid in list(CONFIG.checkpoints):
        settings["centroid"] = None
    elif isinstance(entry.centroid, str):
        content = users_digest(entry.centroid)
    return {**settings, "content": content}


def snowball_sigmas(wildcards):
    """Label of every job of a sweep → its σ."""
    return CONFIG.snowballs[wildcards.snowball].sigmas()


rule snowballs:
    input:
        expand(
            f"{SNOWBALL}/{{file}}",
            snowball=CONFIG.snowballs,
            file=["trials.csv", "z_scores.csv", "permutation_test.csv"],
        ),
        expand(f"{SNOWBALL}/figures/{{figure}}.png", snowball=CONFIG.snowballs, figure=SNOWBALL_FIGURES),


rule snowball_latent:
    # of a checkpoint: which tokens surround its largest hole, and what point and noise they were rounded from
    input:
        centroid=snowball_checkpoint("black_hole_centroid.safetensors"),
        W=snowball_checkpoint("W.safetensors"),
    output:
        latent=LATENT,
    log:
        "<results>/logs/snowball_latent/{snowball}.log",
    benchmark:
        "<results>/benchmarks/snowball_latent/{snowball}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        code=code_digest("snowball_latent.py"),
    script:
        "../scripts/snowball_latent.py"


rule snowball_trials:
    # one σ: a sweep runs over as many cores as there are, and one more σ leaves the others as they are
    input:
        centroid=snowball_latent,
    output:
        trials=f"{SNOWBALL}/sigmas/{{sigma}}.csv",
    log:
        "<results>/logs/snowballs/{snowball}_{sigma}.log",
    benchmark:
        "<results>/benchmarks/snowballs/{snowball}_{sigma}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        settings=snowball_settings,
        sigma=lambda wildcards: snowball_sigmas(wildcards)[wildcards.sigma],
        n_trials=lambda wildcards: CONFIG.snowballs[wildcards.snowball].n_trials,
        code=code_digest("snowball_trials.py"),
    script:
        "../scripts/snowball_trials.py"


rule snowball_permutations:
    # a part of them: they run over as many cores as there are
    input:
        latent=snowball_latent,
        W=snowball_checkpoint("W.safetensors"),
    output:
        clouds=f"{SNOWBALL}/permutations/{{part}}.csv",
    log:
        "<results>/logs/snowballs/{snowball}_permutations_{part}.log",
    benchmark:
        "<results>/benchmarks/snowballs/{snowball}_permutations_{part}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        gpu=gpus(CONFIG.distances.device),
    params:
        settings=snowball_settings,
        permutations=lambda wildcards: CONFIG.snowballs[wildcards.snowball].permutations,
        part=lambda wildcards: [int(wildcards.part), CONFIG.snowballs[wildcards.snowball].permutation_jobs()],
        code=code_digest("snowball_permutations.py"),
    script:
        "../scripts/snowball_permutations.py"


rule snowball_sweep:
    input:
        centroid=snowball_latent,
        W=snowball_checkpoint("W.safetensors"),
        clouds=snowball_permutations,
        tables=lambda wildcards: expand(
            f"{SNOWBALL}/sigmas/{{sigma}}.csv", snowball=wildcards.snowball, sigma=snowball_sigmas(wildcards)
        ),
    output:
        trials=f"{SNOWBALL}/trials.csv",
        scores=report(
            f"{SNOWBALL}/z_scores.csv",
            caption="../report/z_scores_table.rst",
            category="Snowballs",
            labels={"table": "z-scores of the checkpoint", "snowball": "{snowball}"},
        ),
        elements=f"{SNOWBALL}/elements.safetensors",
        test=report(
            f"{SNOWBALL}/permutation_test.csv",
            caption="../report/permutation_test.rst",
            category="Snowballs",
            labels={"table": "permutation test and its power", "snowball": "{snowball}"},
        ),
    log:
        "<results>/logs/snowballs/{snowball}.log",
    benchmark:
        "<results>/benchmarks/snowballs/{snowball}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    resources:
        gpu=gpus(CONFIG.distances.device),
    params:
        settings=snowball_settings,
        labels=lambda wildcards: list(snowball_sigmas(wildcards)),
        shown=lambda wildcards: CONFIG.snowballs[wildcards.snowball].shown(),
        permutations=lambda wildcards: CONFIG.snowballs[wildcards.snowball].permutations,
        code=code_digest("snowball_sweep.py"),
    script:
        "../scripts/snowball_sweep.py"


rule snowball_figures:
    input:
        trials=f"{SNOWBALL}/trials.csv",
        scores=f"{SNOWBALL}/z_scores.csv",
        elements=f"{SNOWBALL}/elements.safetensors",
        test=f"{SNOWBALL}/permutation_test.csv",
        latent=snowball_latent,
    output:
        **figure_outputs(SNOWBALL, "Snowballs", SNOWBALL_FIGURES, snowball="{snowball}"),
    log:
        "<results>/logs/figures/{snowball}_snowball.log",
    benchmark:
        "<results>/benchmarks/figures/{snowball}_snowball.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params(
            "snowballs",
            SNOWBALL_FIGURES,
            lambda wildcards: {"snowball": wildcards.snowball, "dpi": CONFIG.figures.dpi},
        ),
    script:
        "../scripts/figures.py"
