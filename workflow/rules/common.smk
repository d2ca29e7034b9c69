"""The checked configuration, paths, and the few helpers that several stages share."""

from blackholes.artifacts.provenance import file_digest
from blackholes.config import bounds, files
from blackholes.config import model as configuration
from blackholes.errors import UserError
from blackholes.orchestration import code, inputs, packing
from snakemake.exceptions import WorkflowError

try:
    for overlay in filter(os.path.isfile, workflow.config_settings.configfiles):
        bounds.check_file(overlay)
    files.refuse_without_base(config)
    CONFIG = configuration.load(config)
    if workflow.is_main_process:
        inputs.refuse(CONFIG)
except UserError as error:
    raise WorkflowError(f"configuration: {error}") from None
config.update(CONFIG.model_dump(mode="json"))  # scripts see the defaults too

SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"


# <results> in the path of a rule is the folder that the configuration names
pathvars:
    results=CONFIG.results,


CORPUS = "<results>/corpus/{corpus}"
RUN = "<results>/{experiment}/run_{run}"
CHECKPOINT = "<results>/checkpoints/{checkpoint}"
SNOWBALL = "<results>/snowballs/{snowball}"
LATTICE = "<results>/lattice/{lattice}"


wildcard_constraints:
    corpus="|".join(CONFIG.corpora()) or "none",
    experiment="|".join(CONFIG.experiments) or "none",
    run=r"\d\d\d+",
    checkpoint="|".join(CONFIG.checkpoints) or "none",
    snowball="|".join(CONFIG.snowballs) or "none",
    lattice="|".join(CONFIG.lattice) or "none",
    sigma=r"within|global|latent|holes_\d+of\d+|[\d.e+-]+",
    part=r"\d+",


def code_digest(script, *modules):
    """Digest of a script and the modules it imports: a parameter of every rule, since Snakemake tracks no imports."""
    return code.digest(SCRIPTS / script, SCRIPTS / "blackholes", *modules)


def run_numbers(experiment):
    return [f"{run:03d}" for run in range(1, CONFIG.experiments[experiment].runs + 1)]


def of_runs(pattern, *experiments):
    """The file `pattern` of every run of these experiments, by default of all."""
    return [
        pattern.format(experiment=name, run=run)
        for name in experiments or CONFIG.experiments
        for run in run_numbers(name)
    ]


def run_files(name):
    """Input function: this file of every run of the wildcard's experiment."""
    return lambda wildcards: of_runs(f"{RUN}/{name}", wildcards.experiment)


def corpus_file(name, experiment):
    """A file of the corpus of an experiment."""
    return f"{CORPUS}/{name}".format(corpus=CONFIG.experiments[experiment].corpus.name)


def own_corpus_file(name):
    """Input function: a file of the corpus of the wildcard's experiment."""
    return lambda wildcards: corpus_file(name, wildcards.experiment)


def users_digest(path, largest=None):
    """Digest of a file that a user names; None if it is missing, no regular file, or larger, which the job reports."""
    path = path and Path(path).expanduser()
    if not path or not path.is_file() or (largest and path.stat().st_size > largest):
        return None
    return file_digest(path)


def history_mb(experiment):
    """Size of a run's history in MB."""
    settings = CONFIG.experiments[experiment]
    return 2e-6 * (settings.steps + 1) * settings.model.vocabulary_size * settings.model.width


def forces_mb(experiment):
    """Size in MB of what is recorded of a run's forces."""
    settings = CONFIG.experiments[experiment]
    V, D = settings.model.vocabulary_size, settings.model.width
    return 4e-6 * settings.steps * (11 * V + D + 1 + (2 * V * D if settings.record.forces == "full" else 0))


def gpus(device):
    """GPUs that a job asks for. `auto` takes what is there and asks for none, but where `--resources gpu` limits them."""
    return int(device in ("cuda", "mps") or (device == "auto" and "gpu" in workflow.global_resources))


def figure_outputs(folder, category, titles, **labels):
    """Outputs of a job that draws figures (name → title in the report): a PNG, which the report shows, and an SVG."""
    pictures = {
        name: report(
            f"{folder}/figures/{name}.png",
            caption=f"../report/{name}.rst",
            category=category,
            labels={"figure": title, **labels},
        )
        for name, title in titles.items()
    }
    return pictures | {f"{name}_svg": f"{folder}/figures/{name}.svg" for name in titles}


def figure_params(row, titles, options):
    """Parameters of a job that draws figures of a row: modules of blackholes.figures.<row>, and their options."""
    modules = [f"blackholes.figures.{row}.{name}" for name in titles]
    return {"modules": modules, "options": options, "code": code_digest("figures.py", *modules)}
