"""How large a configuration may be: checked before anything else looks at it, so that a refusal costs little.

Snakemake reads the files given with `--configfile` itself, before this workflow starts. `python -m blackholes.config
--check FILE` looks at one without building what is in it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
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


def text(path: str | os.PathLike) -> str:
    """What is in a file of the configuration. In JSON, tabs count as spaces, as they do there.

    Raises:
        UserError: it is no regular file, or too large.
        OSError, ValueError: it cannot be read, or is no UTF-8.
    """
    with open_regular(path, LARGEST_FILE) as file:
        found = file.read().decode("utf-8")
    return found.replace("\t", " ") if found.lstrip()[:1] == "{" else found


def check_file(path: str | os.PathLike) -> None:
    """Raise UserError for a file that Snakemake should not be given, naming the line.

    It is too large when built, damaged, empty, has code in it, or has a key twice, of which the last would count.

    Only YAML's events are read: nothing is built, so an alias costs nothing however much it stands for.
    """
    import yaml  # comes with snakemake

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times faster
    try:
        found = text(path)
        _check_events(_keys_once(yaml.parse(found, Loader=loader), yaml), yaml)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UserError as error:
        said = str(error)
        raise UserError(said if said.startswith(f"{path}: ") else f"{path}: {said}") from error
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{path}: {_where(error, found)}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: no YAML: {' '.join(str(error).split())}") from error


def _where(error: Any, found: str) -> str:
    """What is wrong in a YAML file, in the words of its reader, and in which line."""
    lines = found.splitlines() or [""]
    number = min((error.problem_mark or error.context_mark).line, len(lines) - 1)
    line = lines[number]
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return f"line {number + 1}: a tab at the start of the line; expected spaces, since YAML takes no tabs there"
    return f"line {number + 1}: no YAML: {' '.join(str(error.problem or error.context).split())}"


def _keys_once(events: Iterable, yaml: Any) -> Iterator[Any]:
    """The events again. UserError at a key that its mapping has already: of the two the last would count."""
    opened: list[dict[str, int] | None] = []  # of the mappings around an event: key → its line; of lists: None
    is_key: list[bool] = []  # whether what comes next there is a key
    for event in events:
        if isinstance(event, yaml.NodeEvent) and opened and (keys := opened[-1]) is not None:
            if is_key[-1] and isinstance(event, yaml.ScalarEvent):
                line = event.start_mark.line + 1
                if event.value in keys:
                    raise UserError(f"line {line}: {event.value}: given twice, first in line {keys[event.value]}")
                keys[event.value] = line
            is_key[-1] = not is_key[-1]
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append({} if isinstance(event, yaml.MappingStartEvent) else None)
            is_key.append(True)
        elif isinstance(event, yaml.CollectionEndEvent):
            opened.pop()
            is_key.pop()
        yield event


def _check_events(events: Iterable, yaml: Any) -> None:
    sizes: dict[str, int | None] = {}  # anchor → values that it stands for; None while it is open
    opened: list[tuple[str | None, int]] = []  # (anchor, values before it) of the collections around an event
    seen = 0
    for event in events:
        line = event.start_mark.line + 1
        if not seen and isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.MappingStartEvent):
            raise UserError(f"line {line}: no key with a value; expected keys of the configuration")
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
    if not seen:
        raise UserError("line 1: is empty; expected keys of the configuration")
