"""How large a configuration may be: checked before anything else looks at it, so that a refusal costs little.

Snakemake reads the files given with `--configfile` itself, before this workflow starts. `python -m blackholes.config
--check FILE` looks at one without building what is in it.
"""

import os
from collections.abc import Mapping
from typing import Any

from blackholes.artifacts.inputs import open_regular
from blackholes.errors import UserError

LARGEST_FILE = 2**20  # bytes
DEEPEST = 32  # levels
MOST = 100_000  # values in all; what an alias of YAML stands for counts as often as it is used
LONGEST_TEXT = 4000  # characters, or digits, of a value
LONGEST_KEY = 100  # characters; names of experiments and the like become parts of file names, which have 255 at most
MOST_KEYS = 1000  # of a mapping
LONGEST_LIST = 10_000  # values
_CODE = "__use_yte__"  # with this key, Snakemake runs Python that a file holds


def refuse_unbounded(config: Any) -> None:
    """Raise UserError, naming the key, for a configuration beyond the bounds or one that contains itself."""
    left: list[tuple[Any, str, int]] = [(config, "", 1)]
    seen = 0
    while left:
        value, key, depth = left.pop()
        name, seen = key or "configuration", seen + 1
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise UserError(f"{name}: text of {len(value):,} characters; expected at most {LONGEST_TEXT:,}")
        if isinstance(value, int) and value.bit_length() > 64:
            raise UserError(f"{name}: a whole number of {value.bit_length():,} bits; expected at most 64")
        if not isinstance(value, (Mapping, list, tuple)):
            continue
        if depth > DEEPEST:
            raise UserError(f"{key[:80]}…: nested deeper than {DEEPEST} levels, or contains itself")
        if isinstance(value, Mapping) and len(value) > MOST_KEYS:
            raise UserError(f"{name}: {len(value):,} keys; expected at most {MOST_KEYS:,}")
        if len(value) > LONGEST_LIST:
            raise UserError(f"{name}: a list of {len(value):,} values; expected at most {LONGEST_LIST:,}")
        seen_soon = seen + len(left) + len(value)
        if seen_soon > MOST:
            raise UserError(f"{name}: with it the configuration has more than {MOST:,} values; expected at most that")
        if isinstance(value, Mapping):
            for inner, entry in value.items():
                if isinstance(inner, str) and len(inner) > LONGEST_KEY:
                    what = f"a name of {len(inner):,} characters, {inner[:20]}…"
                    raise UserError(f"{name}: {what}; expected at most {LONGEST_KEY}")
                left.append((entry, f"{key}.{inner}" if key else str(inner), depth + 1))
        else:
            left += [(entry, f"{key}[{index}]", depth + 1) for index, entry in enumerate(value)]


def check_file(path: str | os.PathLike) -> None:
    """Raise UserError for a file that Snakemake should not be given: too large when built, damaged, or with code in it.

    Only YAML's events are read: nothing is built, so an alias costs nothing however much it stands for.
    """
    import yaml  # comes with snakemake

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times faster
    try:
        with open_regular(path, LARGEST_FILE) as file:
            events = yaml.parse(file.read().decode("utf-8"), Loader=loader)
            _check_events(events, yaml)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UserError as error:
        said = str(error)
        raise UserError(said if said.startswith(f"{path}: ") else f"{path}: {said}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: no YAML: {' '.join(str(error).split())}") from error


def _check_events(events: Any, yaml: Any) -> None:
    sizes: dict[str, int | None] = {}  # anchor → values that it stands for; None while it is open
    opened: list[tuple[str | None, int]] = []  # (anchor, values before it) of the collections around an event
    seen = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor, 1)
            if size is None:
                raise UserError(f"line {line}: *{event.anchor} contains itself")
            seen += size
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > LONGEST_TEXT:
                raise UserError(
                    f"line {line}: text of {len(event.value):,} characters; expected at most {LONGEST_TEXT:,}"
                )
            if event.value == _CODE:
                raise UserError(f"line {line}: {_CODE}: the file holds Python code, which Snakemake would run")
            seen += 1
            sizes |= {event.anchor: 1} if event.anchor else {}
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, seen))
            seen += 1
            sizes |= {event.anchor: None} if event.anchor else {}
            if len(opened) > DEEPEST:
                raise UserError(f"line {line}: nested deeper than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes |= {anchor: seen - before} if anchor else {}
        if seen > 2 * MOST:  # keys count here too
            raise UserError(f"line {line}: more than {MOST:,} values, aliases counted as often as they are used")
