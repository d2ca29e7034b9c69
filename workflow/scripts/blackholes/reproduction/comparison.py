"""Published values beside ours: how far apart they are, in standard errors, and whether they can be compared at all.

For a published mean p of m runs with standard deviation s, and ours q of n runs with t (both over n − 1):

    standard errors = (q − p) / √(s²/m + t²/n)        `agrees` up to 3 on either side, beyond them `differs`

Where s was not printed it is taken to be t, but no smaller than what was printed allows: a mean of 1.06 holes in 16
runs is not possible without spread. What was published from one run (m = 1) is one draw, judged by the spread of our
runs; of eight, where nothing differs, such a distance is above 3 once in 50 by chance (Student's t). Where neither side
has any spread, equal numbers agree and others differ by infinitely many standard errors.

`not comparable` is what was made in another way: from other data, with other settings or steps, or, but for step 0, on
another kind of device, where sums are rounded in another order and tokens that are equal here may be so there or not.
If the device alone differs, the distance is given all the same, and what it says. `not run` is what is not there.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from blackholes.artifacts.files import write_table
from blackholes.reproduction import checkpoint as reproduction_checkpoint
from blackholes.reproduction import published
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
    """Write reproduction.csv: a row each published value. Returns one line that counts the verdicts.

    Args:
        corpus: tokens.safetensors; None where there are no experiments.
        experiments: name → kind of file → that file of every run.
        checkpoint: kind of file → that file of the published checkpoint, if it was run.

    Raises:
        UserError: a file that is not what it should be, by name.
    """
    text = None if corpus is None else Corpus.read(corpus)
    table = rows(text, {name: Runs(files) for name, files in experiments.items()})
    table += reproduction_checkpoint.rows(checkpoint)
    write_table(out, COLUMNS, ([_short(row[column]) for column in COLUMNS] for row in table))
    verdicts = [row["verdict"] for row in table]
    counted = ", ".join(f"{verdicts.count(word)} {word}" for word in ("agrees", "differs", "not comparable", "not run"))
    return f"{len(table)} published values: {counted}"


def rows(corpus: Corpus | None, experiments: Mapping[str, Runs]) -> list[dict]:
    """One row a published value, by COLUMNS; of an experiment that is not among ours too."""
    return [_row(value, corpus, experiments) for value in published.VALUES]


def standard_errors(value: Value, ours: Float[np.ndarray, "R"]) -> tuple[float | None, str]:
    """(distance of our runs' mean from a published value, what was assumed), by the rule above.

    The distance is None where one run of ours is to be compared and nothing tells its spread.
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
    """The smallest sample standard deviation that whole numbers, one a run, with this mean can have."""
    above = round(mean * runs) % runs  # so many runs are one larger than the others
    return math.sqrt(above * (runs - above) / (runs * (runs - 1))) if runs > 1 else 0.0


def cohens_d(one: Float[np.ndarray, "m"], other: Float[np.ndarray, "n"]) -> float | None:
    """Difference of the means in pooled sample standard deviations; None where there is no spread to divide by."""
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
    other = _other_conditions(value, ran, corpus)
    last = min(runs.settings["steps"] for runs in ran.values())
    if (value.step or 0) > last:
        other.append(f"step {value.step:,} was not run, the last is {last:,}")
    else:
        row |= _numbers(value, list(ran.values()), corpus)
    row |= _verdict(row, other, _other_device(value, ran))
    return row | {"reason": "; ".join(filter(None, [row["reason"], value.note]))}


def _numbers(value: Value, runs: list[Runs], corpus: Corpus) -> dict:
    """`ours`, how far off it is, and as `reason` what that rests on."""
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


def _verdict(row: dict, other: list[str], device: str) -> dict:
    distance = row["standard_errors"]
    verdict = None if distance is None else "agrees" if abs(distance) <= LIMIT else "differs"
    if verdict and not other and not device:
        return {"verdict": verdict}
    if other or not verdict:  # of something else a distance says nothing
        distance, reasons = None, [*(other or [row["reason"]]), device]
    else:
        reasons = [device, f"by the numbers alone it {verdict}"]
    return {"verdict": "not comparable", "standard_errors": distance, "reason": "; ".join(filter(None, reasons))}


def other_settings(condition: Condition, settings: Mapping, step: int | None = None) -> list[str]:
    """Which of our settings are not those published; at step 0 nothing is trained yet, and few of them matter."""
    if step == 0:
        return _differences({key: condition.settings[key] for key in ("init", "model")}, settings)
    length = settings.get("schedule_steps") or settings["steps"]
    other = [f"schedule over {length:,} steps, published {condition.steps:,}"] * (length != condition.steps)
    return other + _differences(condition.settings, settings)


def _other_conditions(value: Value, ran: Mapping[str, Runs], corpus: Corpus) -> list[str]:
    """In what our runs were made in another way than the published ones, but for steps and device."""
    found = []
    far = abs(corpus.tokens - published.TOKENS) > published.TOLERANCE * published.TOKENS
    if far or corpus.dead.sum() != published.DEAD:
        mine = f"{corpus.tokens:,} tokens, {corpus.dead.sum()} of {len(corpus.dead)} dead"
        found.append(f"other data: {mine}, published {published.TOKENS:,} and {published.DEAD}")
    for name, runs in ran.items() if value.step is not None else ():
        found += other_settings(CONDITIONS[name], runs.settings, value.step)
        if value.quantity in published.OF_TOUCHING:
            found += _differences(published.TOUCHING, runs.touching, "touching.")
    return list(dict.fromkeys(found))


def _differences(wanted: Mapping, settings: Mapping, prefix: str = "") -> list[str]:
    found = []
    for key, theirs in wanted.items():
        mine = settings.get(key)
        if isinstance(theirs, Mapping) and isinstance(mine, Mapping):
            found += _differences(theirs, mine, f"{prefix}{key}.")
        elif mine != theirs:
            found.append(f"{prefix}{key} {mine}, published {theirs}")
    return found


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
    """More digits than any of these numbers has."""
    return round(value, 10) + 0.0 if isinstance(value, float) else value  # + 0.0: no −0
