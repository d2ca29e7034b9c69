"""Sentences with numbers: what happened to the holes of each experiment, as the first screen says it."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from blackholes.page.facts import Facts


def of_experiment(facts: Facts) -> list[str]:
    """What happened, from the end backwards: what is left, when the last live token escaped, how it started."""
    if not facts.has_holes:
        return [f"{in_runs(len(facts.runs), len(facts.runs))} no two {facts.tokens.words} share a vector at any step."]
    return [*_left(facts), *_escapes(facts), *_start(facts)]


def in_runs(some: int, of: int) -> str:
    """`In 4 of 4 runs`"""
    return "In the only run" if of == 1 else f"In {some} of {of} runs"


def span(values: Iterable[int]) -> str:
    """`34`, or `2 to 5`"""
    values = list(values)
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def plural(number: int, word: str) -> str:
    """`1 hole`, `2 holes`, `2 losses`"""
    return f"{number:,} {word}{'' if number == 1 else 'es' if word.endswith('s') else 's'}"


def _left(facts: Facts) -> list[str]:
    """What is left at the last step, a sentence for each way in which runs ended, the most frequent first."""
    ways: dict[str, list[int]] = {}
    for run, labels in enumerate(facts.at_end):
        ways.setdefault(_way(labels, facts.tokens.dead), []).append(run)
    said = []
    for way, runs in sorted(ways.items(), key=lambda item: -len(item[1])):
        said.append(f"{in_runs(len(runs), len(facts.runs))} {_describe(way, runs, facts)}")
    return said


def _way(labels: np.ndarray, dead: np.ndarray) -> str:
    holes = np.flatnonzero(np.bincount(labels) > 1)
    if len(holes) != 1:
        return "several" if len(holes) else "none"
    inside = labels == holes[0]
    if (inside == dead).all():
        return "the dead"
    if not (inside & ~dead).any():
        return "some dead"
    return "the dead and others" if (inside | ~dead).all() else "mixed"


def _describe(way: str, runs: list[int], facts: Facts) -> str:
    tokens = facts.tokens
    dead = int(tokens.dead.sum())
    never = f"{plural(dead, tokens.word)} that the text never contains"
    inside = [_inside(facts.at_end[run]) for run in runs]
    others = [int((mask & ~tokens.dead).sum()) for mask in inside]
    unused = [int((mask & tokens.dead).sum()) for mask in inside]
    if way == "none":
        series = [facts.series["counts"][run] for run in runs]
        ends = [int(np.flatnonzero(counts)[-1]) + 1 for counts in series if counts.any()]
        return f"no hole is left{f'; the last one ends at step {span(ends)}' if ends else ''}."
    if way == "the dead":
        return f"one hole is left; it holds the {never}, and nothing else."
    if way == "some dead":
        return f"one hole is left; it holds {span(unused)} of the {never}, and nothing else."
    if way == "the dead and others":
        return f"one hole is left; it holds the {never}, and {span(others)} that it does contain."
    if way == "mixed":
        return f"one hole is left; it holds {span(unused)} of the {never}, and {span(others)} that it does contain."
    holes = [int(facts.series["counts"][run][-1]) for run in runs]
    held = span([int(mask.sum()) for mask in inside])
    return f"{span(holes)} holes are left; together they hold {held} {tokens.words}, {span(unused)} of the {never}."


def _inside(labels: np.ndarray) -> np.ndarray:
    """bool (V,): tokens that are in a hole."""
    return np.bincount(labels, minlength=len(labels))[labels] > 1


def _escapes(facts: Facts) -> list[str]:
    rows = [row for row in facts.lineages if row.get("last_escape")]
    if not rows:
        return []
    steps = [int(row["last_escape"]) for row in rows]
    which = Counter(text for row in rows for text in set(row["last_texts"].split()))
    text, times = max(which.items(), key=lambda item: (item[1], item[0])) if which else ("", 0)
    named = f"; in {times} of {len(facts.runs)} runs it is {text}" if times > 1 else ""
    named = f"; it is {text}" if len(facts.runs) == 1 and text else named
    all_runs = "" if len(rows) == len(facts.runs) else f"{in_runs(len(rows), len(facts.runs))}, "
    word = facts.tokens.word
    start = f"the last {word} of the text to leave the others goes at step {span(steps)} of {facts.last:,}{named}."
    return [all_runs + start if all_runs else start[0].upper() + start[1:]]


def _start(facts: Facts) -> list[str]:
    V = len(facts.tokens.dead)
    counts, populations = facts.series["counts"], facts.series["populations"]
    most = int(counts.max())
    run, step = np.unravel_index(int(counts.argmax()), counts.shape)
    peak = f"there {'is' if most == 1 else 'are'} at most {plural(most, 'hole')} at once (run {run + 1}, step {step:,})"
    if (counts[:, 0] == 1).all() and (populations[:, 0] == V).all():
        return [f"All {V:,} {facts.tokens.words} start as one vector, and {peak}."]
    if not counts[:, 0].any():
        return [f"All {V:,} {facts.tokens.words} start apart, and {peak}."]
    return [f"At the start {span(populations[:, 0].tolist())} of {V:,} {facts.tokens.words} are in holes, and {peak}."]
