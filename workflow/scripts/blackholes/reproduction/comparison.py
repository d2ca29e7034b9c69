"""Published values beside ours: the difference in standard errors, and whether they can be compared at all.

For a published mean p of m runs with standard deviation s, and our mean q of n runs with t (sample deviations):

    standard errors = (q − p) / √(s²/m + t²/n)        `agrees` up to ±3, `differs` beyond

If s was not published it is taken to be t, or the smallest spread that the published numbers allow, if that is larger:
a mean of 1.06 holes over 16 runs is impossible without spread. A value published from one run (m = 1) is judged by the
spread of our runs; with eight runs of ours and no real difference, it is beyond 3 by chance once in 50 (Student's t).
If neither side has any spread, equal values agree and others differ by infinitely many standard errors.

`not comparable`: made from other data, with other settings or steps, or (except at step 0) on another kind of device.
Another device rounds sums in another order, so tokens whose vectors are equal here may differ there. If only the device
differs, the difference is still given, with the verdict it would have. `not run`: we have no such runs.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from blackholes.artifacts.files import write_table
from blackholes.reproduction import published
from blackholes.reproduction.checkpoint import rows as checkpoint_rows
from blackholes.reproduction.measured import DISTINCT, MEASURES, Corpus, Runs
from blackholes.reproduction.published import CONDITIONS, Condition, Value

LIMIT = 3.0  # combined standard errors
COLUMNS = [
    *("quantity", "unit", "experiment", "step", "published", "published_std", "ours", "ours_std", "runs"),
    *("standard_errors", "verdict", "reason", "published_conditions", "our_conditions"),
]


def write(
    corpus: str | None,
    experiments: Mapping[str, Mapping[str, Sequence[str]]],
    out: str,
    checkpoint: Mapping[str, str] | None = None,
) -> str:
    """Write reproduction.csv, one row per published value. Returns a one-line summary, the counts of the verdicts.

    Args:
        corpus: tokens.safetensors; None if there are no experiments.
        experiments: name → kind of file → that file of every run.
        checkpoint: kind of file → that file of the published checkpoint; None if it was not run.

    Raises:
        UserError: naming a file that cannot be read or lacks a value.
    """
    text = None if corpus is None else Corpus.read(corpus)
    table = rows(text, {name: Runs(files) for name, files in experiments.items()})
    table += checkpoint_rows(checkpoint)
    write_table(out, COLUMNS, ([_short(row[column]) for column in COLUMNS] for row in table))
    verdicts = [row["verdict"] for row in table]
    counted = ", ".join(f"{verdicts.count(word)} {word}" for word in ("agrees", "differs", "not comparable", "not run"))
    return f"{len(table)} published values: {counted}"


def rows(corpus: Corpus | None, experiments: Mapping[str, Runs]) -> list[dict]:
    """One row of COLUMNS per published value, also for experiments that we did not run."""
    return [_row(value, corpus, experiments) for value in published.VALUES]


def standard_errors(value: Value, ours: Float[np.ndarray, "R"]) -> tuple[float | None, str]:
    """(standard errors between our runs' mean and a published value, what was assumed), by the rule above.

    The first is None if we have one run and no spread was published.
    """
    runs = CONDITIONS[value.experiment].runs
    difference = float(ours.mean()) - value.value
    mine = float(ours.std(ddof=1)) if len(ours) > 1 else value.std
    if mine is None:
        return (None, "one run of ours has no spread") if difference else (0.0, "")
    theirs, assumed = value.std, ""
    if theirs is None:
        floor = least_spread(value.value, runs) if value.quantity in published.WHOLE else 0.0
        theirs = max(mine, floor, value.least_std)
        assumed = "spread of the published runs taken to be " + ("ours" if theirs == mine else f"{theirs:.2g}")
        if runs == 1:
            assumed = "published from one run: judged by the spread of ours"
    elif len(ours) == 1:
        assumed = "spread of ours taken to be the published one"
    return _ratio(difference, math.hypot(theirs / math.sqrt(runs), mine / math.sqrt(len(ours)))), assumed


def least_spread(mean: float, runs: int) -> float:
    """The smallest sample standard deviation that whole numbers, one per run, can have with this mean."""
    above = round(mean * runs) % runs  # this many runs are one larger than the others
    return math.sqrt(above * (runs - above) / (runs * (runs - 1))) if runs > 1 else 0.0


def cohens_d(one: Float[np.ndarray, "m"], other: Float[np.ndarray, "n"]) -> float | None:
    """Difference of the means in pooled sample standard deviations; None if there is no spread to divide by."""
    m, n = len(one), len(other)
    if min(m, n) < 2:
        return None
    pooled = math.sqrt(((m - 1) * one.var(ddof=1) + (n - 1) * other.var(ddof=1)) / (m + n - 2))
    return float(one.mean() - other.mean()) / pooled if pooled else None


def error_of_d(d: float, m: int, n: int) -> float:
    """Standard error of Cohen's d between groups of m and n (Hedges and Olkin, 1985)."""
    return math.sqrt((m + n) / (m * n) + d**2 / (2 * (m + n)))


def _row(value: Value, corpus: Corpus | None, experiments: Mapping[str, Runs]) -> dict:
    names = value.experiments
    ran = {name: experiments[name] for name in names if name in experiments}
    row = dict.fromkeys(COLUMNS) | {
        **{"quantity": value.quantity, "unit": published.UNITS[value.quantity], "experiment": value.experiment},
        **{"step": value.step, "published": value.value, "published_std": value.std},
        "published_conditions": "; ".join(_published(CONDITIONS[name]) for name in names),
        "our_conditions": "; ".join(_ours(runs) for runs in ran.values()),
    }
    if len(ran) < len(names):
        missing = ", ".join(name for name in names if name not in ran)
        return row | {"verdict": "not run", "reason": f"{missing} was not run"}
    assert corpus is not None  # for mypy: experiments ran, so there is a corpus
    differences = _other_conditions(value, ran, corpus)
    last = min(runs.settings["steps"] for runs in ran.values())
    if (value.step or 0) > last:
        differences.append(f"step {value.step:,} was not run, the last is {last:,}")
    else:
        row |= _numbers(value, list(ran.values()), corpus)
    row |= _verdict(row, differences, _other_device(value, ran))
    return row | {"reason": "; ".join(filter(None, [row["reason"], value.note]))}


def _numbers(value: Value, runs: list[Runs], corpus: Corpus) -> dict:
    """`ours`, its difference in standard errors, and what was assumed for it as `reason`."""
    if value.step is None:
        dead = float(corpus.dead.sum())
        return {"ours": dead, "standard_errors": _ratio(dead - value.value, 0.0), "reason": "a fact of the text"}
    if len(runs) == 2:
        return _numbers_of_d(value, *(MEASURES[DISTINCT](each, value.step, corpus) for each in runs))
    ours = MEASURES[value.quantity](runs[0], value.step, corpus)
    if not len(ours):
        return {"runs": 0, "reason": "no run of ours has a hole"}
    distance, assumed = standard_errors(value, ours)
    spread = float(ours.std(ddof=1)) if len(ours) > 1 else None
    return {"ours": float(ours.mean()), "ours_std": spread, "runs": len(ours)} | {
        "standard_errors": distance,
        "reason": assumed,
    }


def _numbers_of_d(value: Value, one: np.ndarray, other: np.ndarray) -> dict:
    d, sizes = cohens_d(one, other), (len(one), len(other))
    if d is None:
        return {"runs": min(sizes), "reason": "no spread within our groups to divide by"}
    theirs = error_of_d(value.value, *(CONDITIONS[name].runs for name in value.experiments))
    distance = (d - value.value) / math.hypot(theirs, error_of_d(d, *sizes))
    reason = "standard error of d after Hedges and Olkin (1985)"
    return {"ours": d, "runs": min(sizes), "standard_errors": distance, "reason": reason}


def _verdict(row: dict, differences: list[str], device: str) -> dict:
    distance = row["standard_errors"]
    verdict = None if distance is None else "agrees" if abs(distance) <= LIMIT else "differs"
    if verdict and not differences and not device:
        return {"verdict": verdict}
    if differences or not verdict:
        distance, reasons = None, [*(differences or [row["reason"]]), device]
    else:
        reasons = [device, f"by the numbers alone it {verdict}"]
    return {"verdict": "not comparable", "standard_errors": distance, "reason": "; ".join(filter(None, reasons))}


def other_settings(condition: Condition, settings: Mapping, step: int | None = None) -> list[str]:
    """Our settings that differ from the published ones; only `init` and `model` matter at step 0, before training."""
    if step == 0:
        return _differences({key: condition.settings[key] for key in ("init", "model")}, settings)
    length = settings.get("schedule_steps") or settings["steps"]
    schedule = [f"schedule over {length:,} steps, published {condition.steps:,}"] * (length != condition.steps)
    return schedule + _differences(condition.settings, settings)


def _other_conditions(value: Value, ran: Mapping[str, Runs], corpus: Corpus) -> list[str]:
    """How our runs' data and settings differ from the published ones; steps and device are compared elsewhere."""
    differences = []
    far = abs(corpus.tokens - published.TOKENS) > published.TOLERANCE * published.TOKENS
    if far or corpus.dead.sum() != published.DEAD:
        mine = f"{corpus.tokens:,} tokens, {corpus.dead.sum()} of {len(corpus.dead)} dead"
        differences.append(f"other data: {mine}, published {published.TOKENS:,} and {published.DEAD}")
    for name, runs in ran.items() if value.step is not None else ():
        differences += other_settings(CONDITIONS[name], runs.settings, value.step)
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


def _other_device(value: Value, ran: Mapping[str, Runs]) -> str:
    for name, runs in ran.items():
        theirs = CONDITIONS[name].device
        if value.step and theirs and any(not device.startswith(theirs) for device in runs.devices):
            return f"published from a {theirs.upper()} device, ours from {', '.join(runs.devices)}"
    return ""


def _published(condition: Condition) -> str:
    device = f", {condition.device.upper()}" if condition.device else ""
    return f"{_number(condition.runs)} of {condition.steps:,} steps, batch {condition.batch_size}{device}"


def _ours(runs: Runs) -> str:
    steps, schedule = runs.settings["steps"], runs.settings.get("schedule_steps") or runs.settings["steps"]
    of = f" (of a schedule of {schedule:,})" if schedule != steps else ""
    return (
        f"{_number(len(runs))} of {steps:,} steps{of}, batch {runs.settings['batch_size']}, {', '.join(runs.devices)}"
    )


def _number(runs: int) -> str:
    return f"{runs} run{'s' * (runs != 1)}"


def _ratio(difference: float, error: float) -> float:
    return difference / error if error else math.copysign(math.inf, difference) if difference else 0.0


def _short(value):
    """Floats rounded to 10 decimals, more than any of these values has."""
    return round(value, 10) + 0.0 if isinstance(value, float) else value  # + 0.0 turns −0 into 0
