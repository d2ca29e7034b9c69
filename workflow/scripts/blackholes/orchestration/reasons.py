"""Why a job runs, in words: which key of the configuration or which module changed, from what to what."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

_DIGEST = re.compile(r"[0-9a-f]{16}")
_LONGEST = 60  # characters of a value
_LINES = 12  # that are told at once
_MISSING, _DERIVED = "it is missing", "jobs before it run"


def reasons(job: Mapping[str, Any], digests: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The reasons of a job, the first of which says most.

    Args:
        job: as `orchestration.planning.described`.
        digests: digest of code → module → digest of its statements.
    """
    old, new = list(map(_value, job["old"])), list(map(_value, job["new"]))
    said = [*_code(old, new, digests), *_keys(old, new)]
    if not said and (old or new):
        said.append("its parameters are others")
    if job["missing"]:
        said.append(f"missing: {_some(job['missing'])}")
    if job["incomplete"]:
        said.append(f"incomplete: {_some(job['incomplete'])}")
    if job["inputs"]:
        said.append(f"changed: {_some(job['inputs'])}")
    if job["derived"] and not said:
        said.append(_DERIVED)
    return said or ["it was asked for"]


def grouped(
    jobs: Sequence[Mapping[str, Any]], digests: Mapping[str, Mapping[str, str]]
) -> dict[tuple[str, tuple[str, ...]], list[int]]:
    """(rule, reasons) → indices of the jobs of that rule that have them."""
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for index, job in enumerate(jobs):
        why = tuple(line for line in reasons(job, digests) if not line.startswith("missing: ")) or (_MISSING,)
        groups.setdefault((job["rule"], why), []).append(index)
    return groups


def again(jobs: Sequence[Mapping[str, Any]], digests: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Why finished jobs run again, a line a rule and reason; not those that only follow others that run.

    Jobs that make no file, as `verify`, run whenever they are asked for, and are not told.
    """
    makers = [job for job in jobs if job["outputs"]]
    return [
        f"{named(rule, [makers[index] for index in members])}: {'; '.join(why)}"
        for (rule, why), members in grouped(makers, digests).items()
        if not {_MISSING, _DERIVED} & set(why)
    ]


def indented(lines: Sequence[str]) -> list[str]:
    """The lines, to stand below another; of many the first, and how many more there are."""
    more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    return [f"  {line}" for line in [*lines[:_LINES], *more]]


def named(rule: str, jobs: Sequence[Mapping[str, Any]]) -> str:
    """`lineage qwen/001, qwen/002, qwen/003, 13 more`"""
    names = ["/".join(job["wildcards"].values()) for job in jobs]
    names = names[:3] + ([f"{len(names) - 3} more"] if len(names) > 3 else [])
    return f"{rule} {', '.join(names)}".rstrip()


def _value(text: str) -> Any:
    """A parameter as it was before Snakemake wrote it down."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value))


def _code(old: Sequence, new: Sequence, digests: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What differs between two versions of the code, where both are known."""
    before, after = ([one for one in values if _is_digest(one)] for values in (old, new))
    for one, other in zip(before, after, strict=False):
        was, now = digests.get(one), digests.get(other)
        if not was or not now:
            yield f"code: {one} → {other} (of which modules, was not recorded)"
            continue
        changed = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
        words = [
            f"{name}{'' if name in was and name in now else ' (new)' if name in now else ' (gone)'}" for name in changed
        ]
        yield f"code: {_some(words)}"


def _keys(old: Sequence, new: Sequence) -> Iterator[str]:
    """Keys whose values differ, old and new."""
    before, after = ([one for one in values if not _is_digest(one)] for values in (old, new))
    for value in after:
        if not isinstance(value, Mapping):
            continue
        alike = [one for one in before if isinstance(one, Mapping) and one.keys() & value.keys()]
        if alike:
            nearest = max(alike, key=lambda one: len(one.items() & value.items()) if _hashable(one, value) else 0)
            yield from _differences(nearest, value)
    plain = [[one for one in values if not isinstance(one, Mapping)] for values in (before, after)]
    if len(plain[0]) == len(plain[1]) == 1:
        (was,), (now,) = plain
        if all(isinstance(value, list) and all(map(_is_digest, value)) for value in (was, now)):  # say, of templates
            changed = sum(one != other for one, other in zip_longest(was, now))
            yield f"files beside the code: {changed} of {len(now)} changed"
        else:
            yield f"{_short(was)} → {_short(now)}"


def _hashable(*values: Mapping) -> bool:
    return not any(isinstance(one, (Mapping, list)) for value in values for one in value.values())


def _differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys(), key=str):
            if old.get(name) != new.get(name):
                yield from _differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    else:
        yield f"{key}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _some(names: Sequence[str]) -> str:
    """Two of several names."""
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
