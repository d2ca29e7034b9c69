"""The checked configuration, paths, and what rules share."""

from blackholes import config as configuration
from blackholes import packing
from blackholes.analysis import checkpoint_files, published
from blackholes.artifacts.provenance import digest, file_digest
from blackholes.errors import UserError
from blackholes.recipes import Recipes
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
OF_LATTICE = {  # figures of a history's motion → what the report calls them
    "lattice_percentiles": "displacement, percentiles",
    "lattice_phases": "phases of the lifecycle",
    "lattice_motion": "first and last motion",
    "lattice_raster": "raster of one token",
    "lattice_crossings": "exponent crossings",
}
OF_SNOWBALL = {  # figures of a sweep over σ → what the report calls them
    "snowball_sweep": "what becomes of tokens as σ grows",
    "z_scores": "z-scores of the checkpoint",
    "snowball_elements": "elements and normal distribution",
}
# what a figure reads → (the file of each run, the stage that makes it)
RUN_FILES = {
    "logs": ("training_log.csv", "train"),
    "counts": ("black_hole_counts.safetensors", "black_holes"),
    "graphs": ("graph_statistics.safetensors", "graphs"),
    "geometry": ("geometric_time_series.safetensors", "black_holes"),
}


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


def run_history(wildcards):
    """The history of a run."""
    experiment, run = wildcards.experiment, wildcards.run
    name = CONFIG.experiments[experiment].history_file
    return HISTORY.format(experiment=experiment, run=run, history=name)


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
            f"vocabulary of at most {configuration.LARGE:,} tokens; black_holes needs no matrices"
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


def figure_files(reads, experiments=None):
    """Input function: the named files of every run of these experiments, by default the wildcard's."""
    return {
        kind: (
            (
                corpus_file("tokens.csv", experiments[0])
                if experiments
                else own_corpus_file("tokens.csv")
            )
            if kind == "tokens"
            else lambda wildcards, file=RUN_FILES[kind][0]: of_runs(
                f"{RUN}/{file}", *(experiments or [wildcards.experiment])
            )
        )
        for kind in reads
    }


def figure_stages(reads, experiments=None):
    """The stages before a figure that reads these."""
    return lambda wildcards: [
        corpus_stage((experiments or [wildcards.experiment])[0])
        for kind in reads
        if kind == "tokens"
    ] + [
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
    there = [name for name in published.CONDITIONS if name in CONFIG.experiments]
    if not there and published.CHECKPOINT in CONFIG.checkpoints:
        return []
    if not there:
        sys.exit(
            f"reproduction: none of the published experiments ({', '.join(published.CONDITIONS)}) is configured; "
            "add --configfile config/published.yaml"
        )
    corpora = {CONFIG.experiments[name].corpus.name for name in there}
    if len(corpora) > 1:
        sys.exit(
            f"reproduction: the published experiments have several corpora ({', '.join(sorted(corpora))}), expected one"
        )
    return corpus_file("tokens.safetensors", there[0])


def run_of(source):
    """(experiment, run) of `<experiment>/run_<NNN>`."""
    experiment, _, folder = source.partition("/")
    return experiment, folder.removeprefix("run_")


def run_model(wildcards):
    """What a run writes, where a checkpoint is one of this workflow's; else nothing."""
    run = CONFIG.checkpoints[wildcards.checkpoint].run
    return f"results/{run}/model/model.safetensors" if run else []


def run_stages(wildcards, stage):
    """A stage of the run that a checkpoint comes from, if it comes from one."""
    source = CONFIG.checkpoints[wildcards.checkpoint].run
    if not source:
        return []
    experiment, run = run_of(source)
    return [(stage, dict(experiment=experiment, run=run))]


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
        path = path / checkpoint_files.TOKENIZER if path.is_dir() else path
        if not path.exists() and path.parts[0] != "results":
            sys.exit(
                f"checkpoints.{wildcards.checkpoint}.tokenizer: {path}: no such file"
            )
        return str(path)
    if entry.run:
        return corpus_file("tokenizer.json", entry.run.partition("/")[0])
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
        [corpus_stage(entry.run.partition("/")[0])]
        if entry.run
        else same_checkpoint("fetch_tokenizer")(wildcards)
    )


def checkpoint_mb(wildcards, attempt):
    """Memory of a job on a checkpoint, in MB."""
    budget = CONFIG.checkpoints[wildcards.checkpoint].memory_budget_gb
    return int(1000 * (budget + 1) * attempt)


def snowball_checkpoint(wildcards, file):
    """A file of the checkpoint that a snowball is to explain; nothing where its centroid is of a file or random."""
    centroid = CONFIG.snowballs[wildcards.snowball].centroid
    if centroid not in list(CONFIG.checkpoints):
        return []
    return f"{CHECKPOINT}/{file}".format(checkpoint=centroid)


def snowball_settings(wildcards):
    """What enters the trials of a snowball beside σ; of a user's own centroid its digest too, so that an edit counts."""
    entry = CONFIG.snowballs[wildcards.snowball]
    settings, content = entry.settings(), None
    if entry.centroid in list(CONFIG.checkpoints):
        settings["centroid"] = None
    elif isinstance(entry.centroid, str):
        path = Path(entry.centroid).expanduser()
        content = digest(path.read_bytes().hex()) if path.is_file() else None
    return {**settings, "content": content}


def snowball_stages(wildcards):
    """The stages before the trials of a snowball."""
    centroid = CONFIG.snowballs[wildcards.snowball].centroid
    known = centroid in list(CONFIG.checkpoints)
    return [("overdensity", dict(checkpoint=centroid))] if known else []


def snowball_sigmas(wildcards):
    """Label of every job of a sweep → its σ."""
    return CONFIG.snowballs[wildcards.snowball].sigmas()


def lattice_run(wildcards):
    """(experiment, run) of an entry of `lattice`, or None where the history is the user's own."""
    source = CONFIG.lattice[wildcards.lattice].run
    return run_of(source) if source else None


def lattice_history(wildcards):
    """The history that an entry of `lattice` is about; nothing where it is missing, which the job will say."""
    if lattice_run(wildcards):
        experiment, run = lattice_run(wildcards)
        name = CONFIG.experiments[experiment].history_file
        return HISTORY.format(experiment=experiment, run=run, history=name)
    path = Path(CONFIG.lattice[wildcards.lattice].path).expanduser()
    return str(path) if path.exists() else []


def lattice_dead_mask(wildcards):
    """The file that says which tokens of a history are dead: of a run, its corpus."""
    if lattice_run(wildcards):
        return corpus_file("tokens.safetensors", lattice_run(wildcards)[0])
    return CONFIG.lattice[wildcards.lattice].dead_mask or []


def lattice_stages(wildcards):
    """The stages before the displacements of a run."""
    if not lattice_run(wildcards):
        return []
    experiment, run = lattice_run(wildcards)
    return [
        corpus_stage(experiment),
        ("train", dict(experiment=experiment, run=run)),
    ]


def lattice_mb(wildcards):
    """Size of what is written of a history's motion in MB, where displacements fit int32, as they mostly do."""
    entry = CONFIG.lattice[wildcards.lattice]
    if entry.run:
        history = history_mb(lattice_run(wildcards)[0])
    else:
        path = Path(entry.path).expanduser()
        history = path.stat().st_size / 1e6 if path.exists() else 0
    sizes = {"delta_W_prime": 2, "U": 1, "exponent_crossings": 0.5}
    return 50 + int(history * (0.15 + sum(sizes[name] for name in entry.keep)))
