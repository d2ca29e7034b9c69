"""config/README.md, written from the models: `python -m blackholes.config > config/README.md`."""

import json

from pydantic import BaseModel

from blackholes.config import model as config
from blackholes.config.fields import allowed_words, type_words

INTRO = """\
# Configuration

Generated from `workflow/scripts/blackholes/config.py`; a test fails when the two differ. To write it anew:

    PYTHONPATH=workflow/scripts python -m blackholes.config > config/README.md

[config.yaml](config.yaml) is read always: the published scale, with every key in place.
What you want otherwise goes into a file of its own, an *overlay*, with those keys alone that differ:

    snakemake --cores all --configfile config/quick.yaml

Overlays merge deeply into `config.yaml`: a mapping is merged key by key, anything else (a list too) is replaced.
Several are laid on top of each other in the order given, and `--config` comes last:

    snakemake --cores all --configfile config/quick.yaml config/gatsby.yaml --config 'distances={store: false}'

- [quick.yaml](quick.yaml): the same science in minutes on two cores.
- [gatsby.yaml](gatsby.yaml): the published corpus, from Project Gutenberg.
- [qwen3.yaml](qwen3.yaml): black holes of a finished model, Qwen3-4B-Instruct-2507; trains nothing.
- [published.yaml](published.yaml): the published experiments; [published_short.yaml](published_short.yaml), laid over
  it: what two cores do in about an hour.

Everything is checked before anything runs. A key that is not in the tables below, a wrong type, a value that is out
of range or impossible stops with a line that names the key, the value and what is allowed.
In YAML, write 1.0e-3 or 0.001; the text 1e-3 is understood as well.
"""

EXPERIMENTS = """\
Each entry is one experiment, and its name a folder: `results/<name>/`. A name starts with a lower-case letter, goes on
with a-z, 0-9, _ or -, and is none of {reserved}.
An entry has any keys of `experiment_defaults` in which it differs; `{{}}` inherits them all. `init`, `model` and
`corpus` (which begins with the top-level `corpus`) are inherited key by key too, but `init` as a word means the same
everywhere: that mode, and the rest at its defaults.
(Between overlays, a word is replaced as a whole: a mapping laid over it has to say its `mode` again.)
An entry that says its own `init.mode`, `optimizer` or `schedule` does not inherit what that choice has no use for:
`optimizer: sgd` leaves the `betas` and `epsilon` of AdamW behind.
Since overlays can only add, `<name>: false` leaves an experiment out.

Default:

{default}
"""

ADJACENCY = """\
Each entry is one graph, and its name the first part of the keys in `graph_statistics.safetensors`. `identical` (the
definition of a black hole, not to be changed), `touching` and `cells` are always there; others may be added.

Default:

{default}
"""

CHECKPOINTS = """\
Each entry is one checkpoint, and its name a folder: `results/checkpoints/<name>/`. The default, `trained: {}`, is what
run 1 of the first experiment writes. `<name>: false` leaves a checkpoint out.
"""


SNOWBALLS = """\
Each entry is one sweep over σ, and its name a folder: `results/snowballs/<name>/`. The default, `trained`, is a sweep
around the holes of the checkpoint `trained`. `<name>: false` leaves a sweep out; where the checkpoint that it is about
is left out, it has to be too. A σ more, or less, leaves the trials of the others as they are.
"""

LATTICE = """\
Each entry is one history, and its name a folder: `results/lattice/<name>/`. By default there is one for run 1 of
`qwen` and of `thimble`. `<name>: false` leaves one out; one without `run` and `path` is left out together with the
experiment.
"""


def markdown() -> str:
    """The reference of every key: type, default, what is allowed, meaning."""
    parts = [INTRO]
    for name, field in config.Config.model_fields.items():
        if name == "experiments":
            default = config.EXPERIMENTS
            text = EXPERIMENTS.format(reserved=", ".join(config.RESERVED), default=_yaml(default))
            parts.append(f"## experiments\n\n{text}")
        elif name == "adjacency":
            default = {key: value.model_dump() for key, value in config.ADJACENCY.items()}
            parts.append(
                f"## adjacency\n\n{_section(config.Adjacency, '')}\n{ADJACENCY.format(default=_yaml(default))}"
            )
        elif name == "checkpoints":
            parts.append(f"## checkpoints\n\n{_section(config.Checkpoint, 'checkpoints.<name>')}\n{CHECKPOINTS}")
        elif name == "snowballs":
            parts.append(f"## snowballs\n\n{_section(config.Snowball, 'snowballs.<name>')}\n{SNOWBALLS}")
        elif name == "lattice":
            parts.append(f"## lattice\n\n{_section(config.Lattice, 'lattice.<name>')}\n{LATTICE}")
        else:
            parts.append(f"## {name}\n\n{_section(field.annotation, name)}")
    return "\n".join(parts)


def _section(model: type[BaseModel], name: str) -> str:
    head = f"{' '.join(model.__doc__.split())}\n\n| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n"
    rows, inner = "", ""
    for key, field in model.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        if is_section and field.annotation is not config.Corpus:  # whose keys have a section of their own
            inner += f"\n### {name}.{key}\n\n{_section(field.annotation, f'{name}.{key}')}"
            continue
        default = "required" if field.is_required() else "`{}`" if is_section else f"`{_value(field.default)}`"
        cells = [
            f"`{key}`",
            type_words(field.annotation),
            default,
            allowed_words(field),
            field.description,
        ]
        rows += "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
    return head + rows + inner


def _value(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _yaml(entries: dict) -> str:
    flow = (
        f"    {name}: {{{', '.join(f'{key}: {_quoted(value)}' for key, value in keys.items())}}}"
        for name, keys in entries.items()
    )
    return "\n".join(flow)


def _quoted(value) -> str:
    return f'"{value}"' if str(value)[:1] in "<>" else _value(value)
