"""The page: index.html, one file with what happened, every figure and table, and where it all comes from; the film."""

from blackholes.page import sources

PAGE_TITLES = {  # name of a figure → its title; in this order
    **EXPERIMENT_FIGURES,
    "hole_members": "hole members, run {run}",
    "lineage": "lineage, run {run}",
    "escape_filmstrip": "escape from the holes, run {run}",
    **FORCES_FIGURES,
    **COMPARISONS,
    "comparison": "differences by pairs of runs",
    "questions": "the answers and their intervals",
    "reproduction": "published values beside ours",
    **CHECKPOINT_FIGURES,
    **SNOWBALL_FIGURES,
    **LATTICE_FIGURES,
}
PAGE_TABLES = {  # wildcard → tables of each; those of the report's contents are there already
    "experiment": ["increases.csv", "lineages.csv", "escape_statistics.csv"],
    "checkpoint": ["black_holes.csv", "overdensity.csv", "ranking.csv", "tokens.csv", "census.json"],
    "snowball": ["z_scores.csv", "permutation_test.csv"],
    "lattice": ["lifecycle_medians.csv", "lifecycle.csv", "displacement_overall.csv", "validation.csv"],
}
# experiments whose tokens start together, so that there is something to film
FILMED = [name for name, it in CONFIG.experiments.items() if it.init.mode != "normal"]
FILM = f"<results>/{{experiment}}/run_{CONFIG.figures.run:03d}/figures/escape_film"
EXPLORER = f"{RUN}/explorer.safetensors"
# for the script; no parameter of the rule, since a folder that was moved is no reason to run it again
config["captions"] = str(Path(workflow.basedir) / "workflow" / "report")


rule explorer:
    input:
        history=f"{RUN}/embedding_evolution.safetensors",
        counts=f"{RUN}/black_hole_counts.safetensors",
    output:
        explorer=EXPLORER,
    log:
        "<results>/logs/explorer/{experiment}_{run}.log",
    benchmark:
        "<results>/benchmarks/explorer/{experiment}_{run}.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        code=code_digest("explorer.py"),
    script:
        "../scripts/explorer.py"


def film_options(wildcards):
    """What the film and the strip of a run are to show."""
    settings = {"experiment": wildcards.experiment, "run": f"run_{wildcards.run}", "dpi": CONFIG.figures.dpi}
    return settings | compared_rounded(wildcards.experiment)


rule escape_filmstrip:
    input:
        explorer=EXPLORER,
        tokens=own_corpus_file("tokens.csv"),
    output:
        **figure_outputs(
            RUN, "Black holes", {"escape_filmstrip": "escape from the holes, run {run}"}, experiment="{experiment}"
        ),
    log:
        "<results>/logs/figures/{experiment}_{run}_escape_filmstrip.log",
    benchmark:
        "<results>/benchmarks/figures/{experiment}_{run}_escape_filmstrip.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        **figure_params("runs", ["escape_filmstrip"], film_options),
    script:
        "../scripts/figures.py"


rule film:
    # a GIF; or, if it is asked for by name, an MP4, which needs ffmpeg
    input:
        explorer=EXPLORER,
        tokens=own_corpus_file("tokens.csv"),
    output:
        film=f"{RUN}/figures/escape_film.{{kind}}",
    log:
        "<results>/logs/figures/{experiment}_{run}_film_{kind}.log",
    benchmark:
        "<results>/benchmarks/figures/{experiment}_{run}_film_{kind}.tsv"
    wildcard_constraints:
        kind="gif|mp4",
    conda:
        "../../envs/blackholes.yaml"
    params:
        options=film_options,
        code=code_digest("film.py"),
    script:
        "../scripts/film.py"


rule page:
    input:
        shown=rules.contents.input,
        counts=of_runs(f"{RUN}/black_hole_counts.safetensors"),
        logs=of_runs(f"{RUN}/training_log.csv"),
        explorer=of_runs(EXPLORER),
        films=expand(f"{FILM}.gif", experiment=FILMED),
        strips=expand(f"{FILM}strip.png", experiment=FILMED),
        lineage=of_runs(f"{RUN}/lineage.csv"),
        graphs=of_runs(f"{RUN}/lineage.graphml"),
        events=of_runs(f"{RUN}/lineage_events.csv"),
        escapes=of_runs(f"{RUN}/escapes.csv"),
        laws=of_recorded(f"{RUN}/law.csv"),
        experiments=expand(
            "<results>/{experiment}/{table}", experiment=CONFIG.experiments, table=PAGE_TABLES["experiment"]
        ),
        checkpoints=expand(f"{CHECKPOINT}/{{table}}", checkpoint=CONFIG.checkpoints, table=PAGE_TABLES["checkpoint"]),
        snowballs=expand(f"{SNOWBALL}/{{table}}", snowball=CONFIG.snowballs, table=PAGE_TABLES["snowball"]),
        lattice=expand(f"{LATTICE}/{{table}}", lattice=CONFIG.lattice, table=PAGE_TABLES["lattice"]),
    output:
        page="<results>/index.html",
    log:
        "<results>/logs/page.log",
    benchmark:
        "<results>/benchmarks/page.tsv"
    conda:
        "../../envs/blackholes.yaml"
    params:
        titles=PAGE_TITLES,
        sources=[file_digest(path) for path in (*sources.FILES, *sorted(Path(config["captions"]).glob("*.rst")))],
        code=code_digest("page.py"),
    script:
        "../scripts/page.py"
