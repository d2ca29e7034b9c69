"""From one number of each run to an answer. The rules are here and in docs/questions.md, and know no results."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from blackholes.runs.questions.data import Run
from blackholes.runs.survival import over_runs

LEAST = 3  # runs or pairs: with fewer the answer is `undecided`


class Value(NamedTuple):
    """A number that one run says, or one pair, or all runs of one seed."""

    seed: int
    experiment: str
    run: str
    value: float


@dataclass
class Found:
    """What the runs say of a question."""

    values: Sequence[Value]
    detail: str = ""
    exact: str = ""  # the answer, where it is a count of what happened and no estimate
    experiments: Sequence[str] = ()  # that say it, where a value is not of one run
    counted: str = ""  # what is counted, where a value is not of one run or pair


@dataclass(frozen=True)
class Question:
    """A question, and the rule of its answer, which was set before any run was looked at."""

    key: str
    question: str
    measure: str  # what the effect is
    unit: str
    yes: float  # the answer is yes if the whole interval is above this
    no: float  # and no if it is below this
    rule: str  # both in words
    method: str  # in a sentence
    needs: str  # what to run where the configuration has no runs that say anything
    # inside the results; {experiment} and {run} are of the first run that says something, {shown} is the run that
    # figures of one run show
    figure: str
    files: tuple[str, ...]  # {experiment} is each that says something
    ask: Callable[[Sequence[Run]], Found | None]  # None: no runs that say anything
    counted: str = "runs"
    limits: tuple[float, float] = (-np.inf, np.inf)  # of what is possible
    either_way: bool = False  # yes if the interval is above `yes` or below −`yes`; no if within ± `no`


@dataclass
class Answer:
    """A row of questions.csv."""

    question: Question
    answer: str
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    counted: str = ""
    detail: str = ""
    values: Sequence[Value] = field(default_factory=list)
    experiments: Sequence[str] = field(default_factory=list)


def answer(question: Question, runs: Sequence[Run]) -> Answer:
    """The answer that these runs give.

    The number of each seed is the mean over its runs, or pairs: runs with one seed have the same initial draw and the
    same order of windows, so they count once. Effect and interval (95 %) are the mean over the seeds and its interval
    by Student's t. Where the runs of one experiment alone say yes, and those of another no, the answer is `undecided`.
    """
    found = question.ask(runs)
    if found is None or not found.values:
        return Answer(question, f"needs: {question.needs}")
    known = [value for value in found.values if np.isfinite(value.value)]
    of_seeds = _of_seeds(known)
    effect, low, high = np.clip(over_runs(list(of_seeds.values())), *question.limits).tolist()
    n = len(of_seeds)
    verdict = found.exact or (decide(question, low, high) if n >= LEAST else "undecided")
    details = [found.detail] if found.detail else []
    if not found.exact and _disagree(question, known):
        verdict = "undecided"
        details.append("the experiments differ: one alone says yes, another no")
    if n < LEAST and not found.exact:
        details.append(f"an answer takes {LEAST} {question.counted} with different seeds")
    counted = question.counted[: -1 if n == 1 else None]
    if n < len(known):
        counted = f"seed{'s' * (n != 1)} of {len(known)} {question.counted}"
    names = found.experiments or list(dict.fromkeys(value.experiment for value in known))
    return Answer(question, verdict, effect, low, high, n, found.counted or counted, "; ".join(details), known, names)


def _disagree(question: Question, values: Sequence[Value]) -> bool:
    """Whether one experiment alone says yes, and another no."""
    of: dict[str, list[Value]] = {}
    for value in values:
        of.setdefault(value.experiment, []).append(value)
    seeds = [_of_seeds(some) for some in of.values()]
    said = {decide(question, *over_runs(list(own.values()))[1:]) for own in seeds if len(own) >= LEAST}
    return {"yes", "no"} <= said


def _of_seeds(values: Sequence[Value]) -> dict[int, float]:
    """Seed → the mean of its values."""
    seeds = sorted({value.seed for value in values})
    return {seed: float(np.mean([value.value for value in values if value.seed == seed])) for seed in seeds}


def decide(question: Question, low: float, high: float) -> str:
    """The answer for an interval: `yes`, `no`, or `undecided`."""
    if question.either_way:
        yes, no = low > question.yes or high < -question.yes, -question.no < low and high < question.no
    else:
        yes, no = low > question.yes, high < question.no
    return "yes" if yes else "no" if no else "undecided"


def of_runs(runs: Iterable[Run], number: Callable[[Run], float]) -> list[Value]:
    """The number of each run."""
    return [Value(run.seed, run.experiment, run.name, float(number(run))) for run in runs]


def means(values: Iterable[Value], label: Callable[[Value], str] = lambda value: value.experiment) -> str:
    """The mean of each experiment, or other label, in words."""
    of: dict[str, list[float]] = {}
    for value in values:
        if np.isfinite(value.value):
            of.setdefault(label(value), []).append(value.value)
    return ", ".join(f"{name} {float(np.mean(some)):.3g}" for name, some in of.items())
