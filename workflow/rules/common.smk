"""The checked configuration, paths, and what rules share."""

from blackholes import config as configuration
from blackholes.artifacts.provenance import file_digest
from blackholes.errors import UserError
from blackholes.recipes import Recipes
from snakemake.exceptions import WorkflowError

try:
    CONFIG = configuration.load(config)
except UserError as error:
    raise WorkflowError(f"configuration: {error}") from None
config.update(CONFIG.model_dump(mode="json"))  # scripts see the defaults too

RECIPES = Recipes(Path(workflow.basedir) / "workflow" / "scripts")
CORPUS = f"results/corpus/{CONFIG.corpus.name}"
RUN = "results/{experiment}/run_{run}"
TOKENS = f"{CORPUS}/tokens.csv"
# what a figure reads → (the file of each run, the stage that makes it)
RUN_FILES = {
    "logs": ("training_log.csv", "train"),
    "counts": ("black_hole_counts.safetensors", "black_holes"),
    "graphs": ("graph_statistics.safetensors", "graphs"),
    "geometry": ("geometric_time_series.safetensors", "black_holes"),
}


wildcard_constraints:
    experiment="|".join(CONFIG.experiments),
    run=r"\d\d\d+",


# `--set-threads` and `--set-resources` of a named target mean the jobs that it asks for. Here, since Snakemake reads them
# once, at the first rule.
for settings in (
    workflow.resource_settings.overwrite_threads,
    workflow.resource_settings.overwrite_resources,
):
    for target, job in {
        "corpus": "prepare_corpus",
        "train": "train_run",
        "distances": "run_distances",
        "black_holes": "run_black_holes",
    }.items():
        if target in settings:
            settings.setdefault(job, settings[target])


def of_runs(pattern, experiment=None):
    """The file `pattern` of every run of an experiment, or of all."""
    return [
        pattern.format(experiment=name, run=run)
        for name in ([experiment] if experiment else CONFIG.experiments)
        for run in run_numbers(name)
    ]


def run_numbers(experiment):
    return [f"{run:03d}" for run in range(1, CONFIG.experiments[experiment].runs + 1)]


def history_mb(wildcards):
    """Size of a run's history in MB."""
    settings = CONFIG.experiments[wildcards.experiment]
    return (
        2e-6
        * (settings.steps + 1)
        * settings.model.vocabulary_size
        * settings.model.width
    )


def matrices_mb(wildcards):
    """Size of a run's distance matrices in MB."""
    settings = CONFIG.experiments[wildcards.experiment]
    return 4e-6 * (settings.steps + 1) * settings.model.vocabulary_size**2


def same_run(*stages):
    """The stages before one, of the same run."""
    return lambda wildcards: [
        (s, dict(experiment=wildcards.experiment, run=wildcards.run)) for s in stages
    ]


def every_run(*stages):
    """The stages before one, of every run of its experiment."""
    return lambda wildcards: [
        (stage, dict(experiment=wildcards.experiment, run=run))
        for stage in stages
        for run in run_numbers(wildcards.experiment)
    ]


def corpus_digest():
    """Digest of a corpus file, so that an edit of it counts; None where the text is elsewhere, or missing."""
    path = CONFIG.corpus.path and Path(CONFIG.corpus.path).expanduser()
    return file_digest(path) if path and path.is_file() else None


def gpus(device):
    """GPUs that a job asks its cluster for. `auto` takes what is there and asks for none."""
    return int(device in ("cuda", "mps"))


def figure_files(reads, experiments=None):
    """Input function: the named files of every run of these experiments, by default the wildcard's."""
    return {
        kind: (
            TOKENS
            if kind == "tokens"
            else lambda wildcards, file=RUN_FILES[kind][0]: [
                path
                for experiment in experiments or [wildcards.experiment]
                for path in of_runs(f"{RUN}/{file}", experiment)
            ]
        )
        for kind in reads
    }


def figure_stages(reads, experiments=None):
    """The stages before a figure that reads these."""
    return lambda wildcards: [("corpus", {})] * ("tokens" in reads) + [
        (RUN_FILES[kind][1], dict(experiment=experiment, run=run))
        for kind in reads
        if kind in RUN_FILES
        for experiment in experiments or [wildcards.experiment]
        for run in run_numbers(experiment)
    ]


def figure_options(wildcards):
    """What a figure of one experiment, or of one run of it, is to show."""
    steps = CONFIG.experiments[wildcards.experiment].steps
    run = {"run": f"run_{wildcards.run}"} if hasattr(wildcards, "run") else {}
    return {
        "experiment": wildcards.experiment,
        "key_steps": configuration.steps_at(CONFIG.figures.key_steps, steps),
        "dpi": CONFIG.figures.dpi,
        **run,
    }
