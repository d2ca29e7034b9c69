"""The checked configuration, paths, and what rules share."""

from blackholes.artifacts import checkpoint_files
from blackholes.config import model as configuration
from blackholes.artifacts.provenance import file_digest
from blackholes.errors import UserError
from blackholes.limits import LARGE
from blackholes.orchestration import packing
from blackholes.orchestration.recipes import Recipes
from blackholes.reproduction import published
from snakemake.exceptions import WorkflowError

try:
    CONFIG = configuration.load(config)
except UserError as error:
    raise WorkflowError(f"configuration: {error}") from None
config.update(CONFIG.model_dump(mode="json"))  # scripts see the defaults too

RECIPES = Recipes(Path(workflow.basedir) / "workflow" / "scripts")
CORPUS = "results/corpus/{corpus}"
RUN = "results/{experiment}/run_{run}"
HISTORY = f"{RUN}/{{history}}"  # whose name depends on the experiment
CHECKPOINT = "results/checkpoints/{checkpoint}"
SNOWBALL = "results/snowballs/{snowball}"
LATTICE = "results/lattice/{lattice}"


wildcard_constraints:
    corpus="|".join(CONFIG.corpora()),
    experiment="|".join(CONFIG.experiments),
    run=r"\d\d\d+",
    checkpoint="|".join(CONFIG.checkpoints) or "none",
    snowball="|".join(CONFIG.snowballs) or "none",
    lattice="|".join(CONFIG.lattice) or "none",
    sigma=r"within|global|[\d.e+-]+",


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
        "train": (
            ["train_run", "train_run_hdf5", *PACKS]
            if settings is not SET_THREADS
            else []
        ),
        "distances": ["run_distances"],
        "black_holes": ["run_black_holes"],
        "checkpoints": [
            *("read_checkpoint", "census", "overdensity", "overdensity_distances"),
            "token_table",
        ],
        "snowballs": ["snowball_trials", "snowball_sweep"],
        "lattice": ["lattice_displacements"],
    }.items():
        for job in jobs if target in settings else []:
            settings.setdefault(job, settings[target])


def of_runs(pattern, *experiments):
    """The file `pattern` of every run of these experiments, by default of all."""
    return [
        pattern.format(
            experiment=name, run=run, history=CONFIG.experiments[name].history_file
        )
        for name in experiments or CONFIG.experiments
        for run in run_numbers(name)
    ]


TRAINED = {  # what a run's training writes
    "history": HISTORY,
    "log": f"{RUN}/training_log.csv",
    "config": f"{RUN}/model/config.json",
    "model": f"{RUN}/model/model.safetensors",
}


def trained(history):
    """What a run's training writes, a history of this name among it."""
    return TRAINED | {"history": HISTORY.replace("{history}", history)}


def written_in(ending):
    """Pattern of the experiments whose histories have this ending."""
    names = [
        name
        for name, it in CONFIG.experiments.items()
        if it.history_file.endswith(ending)
    ]
    return "|".join(names) or "none"


def history_of(experiment, run):
    """The history of a run."""
    name = CONFIG.experiments[experiment].history_file
    return HISTORY.format(experiment=experiment, run=run, history=name)


def run_history(wildcards):
    """Input function: the history of the wildcards' run."""
    return history_of(wildcards.experiment, wildcards.run)


def corpus_file(name, experiment):
    """A file of the corpus of an experiment."""
    return f"{CORPUS}/{name}".format(corpus=CONFIG.experiments[experiment].corpus.name)


def corpus_stage(experiment):
    """The stage that makes the corpus of an experiment."""
    return ("corpus", dict(corpus=CONFIG.experiments[experiment].corpus.name))


def own_corpus_file(name):
    """Input function: a file of the corpus of the wildcard's experiment."""
    return lambda wildcards: corpus_file(name, wildcards.experiment)


def own_corpus_stage(wildcards):
    """The stage before one: the corpus of its experiment."""
    return [corpus_stage(wildcards.experiment)]


def run_of(source):
    """(experiment, run) of `<experiment>/run_<NNN>`."""
    experiment, _, folder = source.partition("/")
    return experiment, folder.removeprefix("run_")


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


# experiments whose vocabularies are small enough for distance matrices to be stored
WITH_MATRICES = [name for name, it in CONFIG.experiments.items() if not it.is_large]


def history_for_matrices(wildcards):
    """The history of a run, unless its matrices cannot exist (no WorkflowError, as in published_corpus)."""
    settings = CONFIG.experiments[wildcards.experiment]
    if settings.is_large:
        sys.exit(
            f"{RUN}/pairwise_distances.safetensors: ".format(
                experiment=wildcards.experiment, run=wildcards.run
            )
            + f"{settings.steps + 1:,} matrices of {settings.model.vocabulary_size:,} × "
            f"{settings.model.vocabulary_size:,} would take {matrices_mb(wildcards) / 1000:,.0f} GB, expected a "
            f"vocabulary of at most {LARGE:,} tokens; black_holes needs no matrices"
        )
    return run_history(wildcards)


def stored_matrices(wildcards):
    """The distance matrices of a run, where they are stored."""
    stored = CONFIG.distances.store and wildcards.experiment in WITH_MATRICES
    path = f"{RUN}/pairwise_distances.safetensors"
    return (
        path.format(experiment=wildcards.experiment, run=wildcards.run)
        if stored
        else []
    )


def graphs_after(wildcards):
    """The stages before the graphs of a run."""
    large = wildcards.experiment not in WITH_MATRICES
    return same_run("train", *([] if large else ["distances"]))(wildcards)


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


def corpus_digests(wildcards):
    """Digests of a corpus' files, so that an edit counts; None where a text is elsewhere, or missing."""
    corpus = CONFIG.corpora()[wildcards.corpus]
    paths = [
        path and Path(path).expanduser()
        for path in (corpus.path, corpus.tokenizer_text)
    ]
    return [file_digest(path) if path and path.is_file() else None for path in paths]


def gpus(device):
    """GPUs that a job asks its cluster for. `auto` takes what is there and asks for none."""
    return int(device in ("cuda", "mps"))
