"""config/README.md, generated from the models: `python -m blackholes.config > config/README.md`."""

import json

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from blackholes.config import model as config
from blackholes.config.fields import allowed_words, section_type, type_words

INTRO = """\
# Configuration

Generated from `workflow/scripts/blackholes/config/`; a test fails if the two differ. To regenerate it:

    PYTHONPATH=workflow/scripts python -m blackholes.config > config/README.md

[config.yaml](config.yaml) is always read: it has every key, with the values of the published scale.
Put what you want to change into a file of your own, an *overlay*, that has only the keys that differ:

    snakemake --cores all --configfile config/quick.yaml

Overlays merge deeply into `config.yaml`: a mapping is merged key by key, anything else (a list too) is replaced.
Several overlays are merged in the order given, and `--config` last:

    snakemake --cores all --configfile config/gatsby.yaml config/quick.yaml --config results=results/gatsby_quick

- [quick.yaml](quick.yaml): the same science in minutes on two cores.
- [my_text.yaml](my_text.yaml): a text of your own; `make text FILE=my_text.txt`.
- [gatsby.yaml](gatsby.yaml): the published corpus, from Project Gutenberg.
- [my_checkpoint.yaml](my_checkpoint.yaml): a finished model and nothing else; `make checkpoint MODEL=…`.
- [qwen3.yaml](qwen3.yaml): black holes of a finished model, Qwen3-4B-Instruct-2507; trains nothing.
- [precision.yaml](precision.yaml): five ways to store numbers, eight runs of each, compared by pairs of runs.
- [freeze.yaml](freeze.yaml): learning rate, weight decay and schedule, every combination of them, with recorded forces.
- [start.yaml](start.yaml): one point, noise around it, and apart; what makes a cloud of dead tokens contract.
- [published.yaml](published.yaml): the published experiments; [published_short.yaml](published_short.yaml), merged over
  it, takes about an hour on two cores.

The configuration is validated before anything runs. An unknown key, a wrong type, or a value that is out of range or
contradicts another stops with a line that names the key, the value and what is allowed.
In YAML, write 1.0e-3 or 0.001; YAML reads 1e-3 as text, which is accepted too.

[schema.json](schema.json) is a JSON schema of `config.yaml` and of overlays. Editors with a YAML language server use it
for completion, descriptions and checks in files that start with `# yaml-language-server: $schema=schema.json` (the path
is relative to the file). It checks types and ranges of single keys; what keys demand of each other is checked on load.
"""

HEAD = "| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n"

EXPERIMENTS = """\
Each entry is one experiment; its name is a folder: `results/<name>/`. A name starts with a lower-case letter, contains
only a-z, 0-9, _ and -, and is none of {reserved}.
An entry has the keys that differ from `experiment_defaults`; `{{}}` inherits them all. `init`, `rounding`, `model` and
`corpus` (which starts from the top-level `corpus`) are inherited key by key. `init` as a single word always means that
mode, with the other keys at their defaults.
(Overlays replace a word as a whole: a mapping that is merged over a word must give `mode` again.)
An entry that sets `init.mode`, `optimizer`, `schedule` or `precision` does not inherit the keys that its choice does
not use: with `optimizer: sgd`, the `betas` and `epsilon` of AdamW are not inherited.
Overlays cannot delete keys, so `<name>: false` removes an experiment.

Default:

{default}
"""

ADJACENCY = """\
Each entry is one graph; its name is the first part of its keys in `graph_statistics.safetensors`. `identical` (the
definition of a black hole, which cannot be changed), `touching` and `cells` are required; others may be added.

Default:

{default}
"""

CHECKPOINTS = """\
Each entry is one checkpoint; its name is a folder: `results/checkpoints/<name>/`. The default, `trained: {}`, is the
model that run 1 of the first experiment writes. `<name>: false` removes a checkpoint.
"""


SNOWBALLS = """\
Each entry is one sweep over σ; its name is a folder: `results/snowballs/<name>/`. The default, `trained`, is a sweep
around the holes of the checkpoint `trained`. `<name>: false` removes a sweep; a sweep must be removed together with its
checkpoint. Adding or removing a σ does not change the trials of the others.
"""

LATTICE = """\
Each entry is one history; its name is a folder: `results/lattice/<name>/`. The default is run 1 of `qwen`.
`<name>: false` removes an entry; an entry without `run` and `path` is removed together with its experiment.
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
        elif section := section_type(field):
            parts.append(f"## {name}\n\n{_section(section, name)}")
        else:  # a single key
            parts.append(f"## {name}\n\n{HEAD}{_row(name, field)}")
    return "\n".join(parts)


def _section(model: type[BaseModel], name: str) -> str:
    meaning = " ".join((model.__doc__ or "").split())
    rows, inner = "", ""
    for key, field in model.model_fields.items():
        section = section_type(field)
        if section and section is not config.Corpus:  # whose keys are in a section of their own
            inner += f"\n### {name}.{key}\n\n{_section(section, f'{name}.{key}')}"
            continue
        rows += _row(key, field)
    return f"{meaning}\n\n{HEAD}{rows}{inner}"


def _row(key: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else "`{}`" if section_type(field) else f"`{_value(field.default)}`"
    cells = [f"`{key}`", type_words(field.annotation), default, allowed_words(field), field.description or ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


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
