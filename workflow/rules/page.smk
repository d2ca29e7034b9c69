"""The page: index.html, one file with what happened, every figure and table, and where it all comes from."""

from blackholes.page import sources

PAGE_TITLES = {  # name of a figure → its title; in this order
    **EXPERIMENT_FIGURES,
    "hole_members": "hole members, run {run}",
    "lineage": "lineage, run {run}",
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


rule page:
    input:
        shown=rules.contents.input,
        counts=of_runs(f"{RUN}/black_hole_counts.safetensors"),
        logs=of_runs(f"{RUN}/training_log.csv"),
        explorer=of_runs(EXPLORER),
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
