"""The checked configuration, paths, and what rules share."""

from blackholes import config as configuration
from blackholes import packing
from blackholes.analysis import checkpoint_files, published
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
CHECKPOINT = "results/checkpoints/{checkpoint}"
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
    checkpoint="|".join(CONFIG.checkpoints) or "none",


def run_numbers(experiment):
    return [f"{run:03d}" for run in range(1, CONFIG.experiments[experiment].runs + 1)]


PACKS = packing.packs(
    CONFIG
)  # training jobs of several runs: rule → (experiment, runs)

# `--set-threads` and `--set-resources` of a named target mean the jobs that it asks for. Here, since Snakemake reads them
# once, at the first rule.
SET_THREADS = workflow.resource_settings.overwrite_threads
if "train" in SET_THREADS:  # of a run, however many share its job
    CONFIG.training.threads = int(SET_THREADS["train"].value)
    config["training"]["threads"] = CONFIG.training.threads
for settings in (SET_THREADS, workflow.resource_settings.overwrite_resources):
    for target, jobs in {
        "corpus": ["prepare_corpus"],
        "train": ["train_run", *PACKS] if settings is not SET_THREADS else [],
        "distances": ["run_distances"],
        "black_holes": ["run_black_holes"],
        "checkpoints": [
            *("read_checkpoint", "census", "overdensity", "overdensity_distances"),
            "token_table",
        ],
    }.items():
        for job in jobs if target in settings else []:
            settings.setdefault(job, settings[target])


def of_runs(pattern, experiment=None):
    """The file `pattern` of every run of an experiment, or of all."""
    return [
        pattern.format(experiment=name, run=run)
        for name in ([experiment] if experiment else CONFIG.experiments)
        for run in run_numbers(name)
    ]


def history_mb(experiment):
    """Size of a run's history in MB."""
    settings = CONFIG.experiments[experiment]
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


def reproduction_files(experiment):
    """What the reproduction reads of an experiment's runs → (its file, the stage that makes it)."""
    kinds = ["logs", "counts"]
    if experiment == published.ONE:
        kinds += ["graphs", "geometry"]
    return {"models": ("model/model.safetensors", "train")} | {
        kind: RUN_FILES[kind] for kind in kinds
    }


def published_corpus(wildcards):
    """The tokens, if there is anything to compare. No WorkflowError: Snakemake would print a traceback around it."""
    if not any(name in CONFIG.experiments for name in published.CONDITIONS):
        sys.exit(
            f"reproduction: none of the published experiments ({', '.join(published.CONDITIONS)}) is configured; "
            "add --configfile config/published.yaml"
        )
    return f"{CORPUS}/tokens.safetensors"


def run_model(wildcards):
    """What a run writes, where a checkpoint is one of this workflow's; else nothing."""
    run = CONFIG.checkpoints[wildcards.checkpoint].run
    return f"results/{run}/model/model.safetensors" if run else []


def run_stages(wildcards, stage):
    """A stage of the run that a checkpoint comes from, if it comes from one."""
    experiment, _, run = (CONFIG.checkpoints[wildcards.checkpoint].run or "").partition(
        "/run_"
    )
    return [(stage, dict(experiment=experiment, run=run))] if run else []


def same_checkpoint(*stages):
    """The stages before one, of the same checkpoint."""
    return lambda wildcards: [
        (stage, dict(checkpoint=wildcards.checkpoint)) for stage in stages
    ]


def checkpoint_content(wildcards):
    """Digest of an embedding on the disk, so that an edit of it counts; None for others, and where it is missing."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    try:
        place = entry.path and checkpoint_files.locate(entry.path, entry.tensor)
    except UserError:  # the job that reads it will say
        return None
    return place and checkpoint_files.content(place, known=".snakemake/embeddings.json")


def tokenizer_file(wildcards):
    """The tokenizer of a checkpoint, if it has one: a file, or one to be made."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    if entry.tokenizer is None:
        return []
    if entry.tokenizer != "auto":
        path = Path(entry.tokenizer).expanduser()
        return str(path / checkpoint_files.TOKENIZER if path.is_dir() else path)
    if entry.run:
        made = hasattr(rules.prepare_corpus.output, "tokenizer")
        return f"{CORPUS}/tokenizer.json" if made else []
    if entry.hub:
        return f"{CHECKPOINT}/tokenizer.json".format(checkpoint=wildcards.checkpoint)
    return str(checkpoint_files.tokenizer_beside(entry.path) or "") or []


def tokenizer_content(wildcards):
    """Digest of a tokenizer that is not made here, so that an edit of it counts."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    given = entry.path or entry.tokenizer not in (None, "auto")
    path = tokenizer_file(wildcards) if given else []
    return file_digest(path) if path and Path(path).is_file() else None


def tokenizer_stages(wildcards):
    """The stage that makes a checkpoint's tokenizer, if one does."""
    entry = CONFIG.checkpoints[wildcards.checkpoint]
    if entry.tokenizer != "auto" or entry.path:
        return []
    return (
        [("corpus", {})] if entry.run else same_checkpoint("fetch_tokenizer")(wildcards)
    )


def checkpoint_mb(wildcards, attempt):
    """Memory of a job on a checkpoint, in MB."""
    budget = CONFIG.checkpoints[wildcards.checkpoint].memory_budget_gb
    return int(1000 * (budget + 1) * attempt)
