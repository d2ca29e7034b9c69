"""Published values beside ours: one table, with a verdict for each value and one for each experiment.

`verdicts` says how a verdict is reached. Here: which of our runs a value is compared with, and why it may not be:

- `by construction`: it could not have come out otherwise, or follows from other rows; never judged, never counted.
- `not comparable`: ours were made from other data or with other settings.
- `not run`: we have no such runs, they end before that step, or there is nothing to measure; `reason` says which.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from blackholes.artifacts.files import write_table
from blackholes.reproduction import published, verdicts
from blackholes.reproduction.checkpoint import rows as checkpoint_rows
from blackholes.reproduction.measured import Corpus, Runs
from blackholes.reproduction.measures import MEASURES
from blackholes.reproduction.published import CONDITIONS, CORPUS, QUANTITIES, WHOLE, Condition, Value

COLUMNS = [
    *("experiment", "quantity", "unit", "step", "published", "published_std", "published_runs", "ours", "ours_std"),
    *("runs", "difference", "low", "high", "margin", "at_step", "verdict", "reason"),
    *("published_conditions", "our_conditions", "source"),
]
NORMAL = 1.645  # standard errors of an interval as verdicts.ALPHA has it, without the doubt about the spread
JOINT = "all judged rows"  # the quantity of an experiment's last row, its joint verdict
WORDS = ("agrees", "differs", "undecided", "by construction", "not comparable", "not run")


@dataclass
class _Compared:
    """A row of the table, and what `verdicts` judges of it, if anything."""

    row: dict
    judged: verdicts.Row | None = None


def write(
    corpus: str | None,
    experiments: Mapping[str, Mapping[str, Sequence[str]]],
    out: str,
    checkpoint: Mapping[str, str] | None = None,
) -> str:
    """Write reproduction.csv, one row per published value and one per experiment. Returns a one-line summary.

    Args:
        corpus: tokens.safetensors; None if there are no experiments.
        experiments: name, with or without WHOLE → kind of file → that file of every run.
        checkpoint: kind of file → that file of the published checkpoint; None if it was not run.

    Raises:
        UserError: naming a file that cannot be read or lacks a value.
    """
    text = None if corpus is None else Corpus.read(corpus)
    ran = {} if text is None else {name: Runs(files, text) for name, files in experiments.items()}
    table = rows(text, ran) + checkpoint_rows(checkpoint)
    write_table(out, COLUMNS, ([_written(row.get(column)) for column in COLUMNS] for row in table))
    found = [row["verdict"] for row in table if row["quantity"] != JOINT]
    return f"{len(found)} published values: {', '.join(f'{found.count(word)} {word}' for word in WORDS)}"


def rows(corpus: Corpus | None, ran: Mapping[str, Runs]) -> list[dict]:
    """One row of COLUMNS per published value, also where we ran nothing, and after each experiment's its joint one."""
    table = []
    for experiment in dict.fromkeys(value.experiment for value in published.VALUES):
        own = [_compared(value, corpus, ran) for value in published.VALUES if value.experiment == experiment]
        with_rows = [each for each in own if each.judged is not None]
        judged = verdicts.judge([each.judged for each in with_rows if each.judged])
        for each, verdict in zip(with_rows, judged, strict=True):
            each.row |= _judged(each.row, verdict)
        table += [each.row for each in own] + ([_joint(experiment, own, judged)] if judged else [])
    return table


def other_settings(condition: Condition, settings: Mapping, step: int | None = None) -> list[str]:
    """Our settings that differ from the published ones; only `init` and `model` matter at step 0, before training."""
    if step == 0:
        return _differences({key: condition.settings[key] for key in ("init", "model")}, settings)
    length = settings.get("schedule_steps") or settings["steps"]
    schedule = [f"schedule over {length:,} steps, published {condition.steps:,}"] * (length != condition.steps)
    return schedule + _differences(condition.settings, settings)


def _compared(value: Value, corpus: Corpus | None, ran: Mapping[str, Runs]) -> _Compared:
    quantity, condition = QUANTITIES[value.quantity], CONDITIONS.get(value.experiment)
    runs = _serving(value, ran)
    row = {
        **{"experiment": value.experiment, "quantity": value.quantity, "unit": quantity.unit, "step": value.step},
        **{"published": _mean(value), "published_std": _spread(value), "published_runs": value.runs},
        "published_conditions": _published(condition) if condition else "",
        "our_conditions": _ours(runs) if runs else "",
        "source": value.source,
    }
    if value.missing:
        return _Compared(row | {"verdict": "not run", "reason": value.missing})
    if value.experiment == CORPUS:
        return _Compared(row | _of_text(value, corpus))
    if runs is None:
        return _Compared(row | {"verdict": "not run", "reason": f"{value.experiment} was not run"})
    assert corpus is not None  # for mypy: experiments ran, so there is a corpus
    assert condition is not None
    kept = [step for step in value.points if step <= runs.steps]
    if not kept or (value.form != "curve" and value.last > runs.steps):
        reason = f"step {value.last:,} was not run, the last is {runs.steps:,}"
        return _Compared(row | {"verdict": "not run", "reason": reason})
    if value.form == "curve":
        shown = (
            {} if len(kept) == len(value.points) else {"reason": f"{len(kept)} of {len(value.points)} steps were run"}
        )
        value = _shortened(value, kept)
        row |= shown
    differences = _other_conditions(value, condition, runs, corpus)
    if value.quantity in MEASURES:
        return _with_ours(row, value, MEASURES[value.quantity](runs, value), differences)
    return _Compared(row | {"verdict": "by construction", "reason": value.by_construction})


def _with_ours(row: dict, value: Value, ours: np.ndarray, differences: list[str]) -> _Compared:
    """The row with our numbers (R,) or (R, K), and what there is to judge."""
    runs = len(ours)
    ours = ours.reshape(runs, -1)
    ours = ours[~np.isnan(ours).any(1)]  # a run that never had it
    few = [f"{runs - len(ours)} of {runs} runs never had it"] if len(ours) < runs else []
    row = row | {"runs": len(ours)}
    if len(ours):
        row |= {"ours": tuple(ours.mean(0)), "ours_std": tuple(ours.std(0, ddof=1)) if len(ours) > 1 else None}
    said = [row.get("reason"), *few]
    if value.by_construction:
        return _Compared(row | {"verdict": "by construction", "reason": value.by_construction})
    if differences:
        return _Compared(row | {"verdict": "not comparable", "reason": _sentence(*differences)})
    if not len(ours):
        return _Compared(row | {"verdict": "undecided", "reason": _sentence(*said)})
    theirs = _reference(value)
    margins = np.array([QUANTITIES[value.quantity].margin_of(each) for each in theirs.values])
    how = "published from one run" if theirs.runs == 1 else ""
    alone = "one run of ours has no spread" if len(ours) == 1 and theirs.variance is None else ""
    judged = verdicts.compare(ours, theirs, margins)
    steps = value.points if value.form == "curve" else [value.step]
    return _Compared(row | {"reason": _sentence(*said, how, alone, value.note), "at_step": steps[judged.at]}, judged)


def _judged(row: dict, judged: verdicts.Row) -> dict:
    """What `verdicts` adds to a row."""
    found = {"verdict": judged.verdict, "difference": judged.difference, "margin": judged.margin}
    if math.isnan(judged.low):
        return found
    why = ""
    if judged.verdict == verdicts.UNDECIDED:
        half, least = (judged.high - judged.low) / 2, NORMAL * judged.floor
        why = f"interval ±{half:.2g}, ±{least:.2g} with any number of our runs; margin {judged.margin:.2g}"
    return found | {"low": judged.low, "high": judged.high, "reason": _sentence(why, row["reason"])}


def _joint(experiment: str, own: Sequence[_Compared], judged: Sequence[verdicts.Row]) -> dict:
    found = [each.row["verdict"] for each in own]
    counted = ", ".join(f"{found.count(word)} {word}" for word in WORDS if word in found)
    conditions = next(each.row for each in own if each.judged is not None)
    return {
        **{"experiment": experiment, "quantity": JOINT, "verdict": verdicts.joint(judged), "reason": counted},
        **{key: conditions[key] for key in ("published_conditions", "our_conditions")},
    }


def _serving(value: Value, ran: Mapping[str, Runs]) -> Runs | None:
    """Our runs that a value is compared with: those of its experiment, or if they end before, those that go on."""
    named = [ran[name] for name in (value.experiment, value.experiment + WHOLE) if name in ran]
    return next((runs for runs in named if runs.steps >= value.last), named[0] if named else None)


def _shortened(value: Value, kept: list[int]) -> Value:
    steps = " ".join(map(str, kept))
    words = ("by_construction", "missing", "note", "source")
    return Value(
        value.experiment, value.quantity, steps, value.values[: len(kept)], value.form, value.runs, value.spread,
        *(getattr(value, word) for word in words),
    )  # fmt: skip


def _reference(value: Value) -> verdicts.Reference:
    numbers = np.array(value.values)
    if value.form == "runs":
        return verdicts.Reference(numbers.mean(keepdims=True), len(numbers), float(numbers.var(ddof=1)))
    spread = None if value.spread is None else value.spread**2 * value.runs / (value.runs - 1)
    return verdicts.Reference(numbers, value.runs, spread)


def _mean(value: Value) -> tuple[float, ...]:
    return (float(np.mean(value.values)),) if value.form == "runs" else value.values


def _spread(value: Value) -> float | None:
    """Sample standard deviation over the published runs."""
    variance = _reference(value).variance
    return None if variance is None else math.sqrt(variance)


def _of_text(value: Value, corpus: Corpus | None) -> dict:
    if corpus is None:
        return {"verdict": "not run", "reason": "no experiment was run"}
    ours: dict[str, float] = {"tokens of the text": corpus.tokens, "dead tokens": int(corpus.dead.sum())}
    ours["training windows"] = corpus.tokens - published.SHARED["model"]["context"]
    number = {"ours": (float(ours[value.quantity]),)} if value.quantity in ours else {}
    return number | {"verdict": "by construction", "reason": value.by_construction}


def _other_conditions(value: Value, condition: Condition, runs: Runs, corpus: Corpus) -> list[str]:
    """How our runs' data and settings differ from the published ones, but for seeds and device."""
    differences = []
    far = abs(corpus.tokens - published.TOKENS) > published.TOLERANCE * published.TOKENS
    if far or corpus.dead.sum() != published.DEAD:
        mine = f"{corpus.tokens:,} tokens, {corpus.dead.sum()} of {len(corpus.dead)} dead"
        differences.append(f"other data: {mine}, published {published.TOKENS:,} and {published.DEAD}")
    differences += other_settings(condition, runs.settings, value.last)
    if value.quantity in published.OF_TOUCHING:
        differences += _differences(published.TOUCHING, runs.touching, "touching.")
    return list(dict.fromkeys(differences))


def _differences(wanted: Mapping, settings: Mapping, prefix: str = "") -> list[str]:
    differences = []
    for key, theirs in wanted.items():
        mine = settings.get(key)
        if isinstance(theirs, Mapping) and isinstance(mine, Mapping):
            differences += _differences(theirs, mine, f"{prefix}{key}.")
        elif mine != theirs:
            differences.append(f"{prefix}{key} {mine}, published {theirs}")
    return differences


def _published(condition: Condition) -> str:
    steps, batch = f"{_number(condition.runs)} of {condition.steps:,} steps", condition.settings["batch_size"]
    told = f"batch {batch}, seeds {condition.seeds}" if batch else "batch and seed not published"
    return f"{steps}, {told}, {condition.device.upper()}"


def _ours(runs: Runs) -> str:
    of = f" (of a schedule of {runs.schedule_steps:,})" if runs.schedule_steps != runs.steps else ""
    steps = f"{_number(len(runs))} of {runs.steps:,} steps{of}, batch {runs.settings['batch_size']}"
    return f"{steps}, seeds {runs.seeds}, {', '.join(runs.devices)}"


def _number(runs: int) -> str:
    return f"{runs} run{'s' * (runs != 1)}"


def _sentence(*parts: str | None) -> str:
    return "; ".join(filter(None, parts))


def _written(value):
    """As in the table: floats to 12 significant digits, numbers of a curve separated by spaces."""
    if isinstance(value, tuple):
        return " ".join(_written(each) for each in value)
    return f"{value + 0.0:.12g}" if isinstance(value, float) else value  # + 0.0 turns −0 into 0
