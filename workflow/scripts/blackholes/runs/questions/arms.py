"""Which runs are compared: by their settings, never by an experiment's name; by pairs of runs with the same seed."""

from collections.abc import Callable, Iterator, Sequence

from blackholes.runs.questions.data import Run

ROUNDING = {"precision", "rounding.weights", "rounding.state", "compensation"}  # settings of how numbers are stored
_SEED = "base_seed"  # the runs' own seeds are compared


def is_nearest(run: Run) -> bool:
    """Whether it is of the regime studied: all in bfloat16, rounded to nearest, and nothing kept of what that takes."""
    return run.settings["precision"] == "bf16" and not is_stochastic(run) and run.settings["compensation"] == "none"


def is_stochastic(run: Run) -> bool:
    return "stochastic" in (run.settings["rounding.weights"], run.settings["rounding.state"])


def keeps_all(run: Run) -> bool:
    """Whether updates are added up without loss, and without chance: compensated sums, or float32 weights."""
    return run.settings["precision"] != "bf16" or run.settings["compensation"] == "kahan"


def has_holes(run: Run) -> bool:
    """Whether equal vectors of its history are equal weights, and stay so unless something tells the tokens apart.

    Stochastic rounding parts all tokens at the first step, and float32 weights may be equal in the history alone.
    """
    return run.settings["precision"] == "bf16" and not is_stochastic(run)


def starts_apart(run: Run) -> bool:
    """Whether every token starts with its own draw around the origin, and not at or near one point."""
    return run.settings["init.mode"] == "normal"


def groups(runs: Sequence[Run], without: set[str]) -> dict[tuple, list[Run]]:
    """Runs by all their settings but these, and by their corpus."""
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        same = (item for item in sorted(run.settings.items()) if item[0] not in {*without, _SEED})
        found.setdefault((run.corpus, *same), []).append(run)
    return found


def pairs(
    runs: Sequence[Run], differ: set[str], is_one: Callable[[Run], bool], is_reference: Callable[[Run], bool]
) -> Iterator[tuple[Run, Run]]:
    """(run, reference) of every two runs with the same seed and corpus that differ in these settings at most."""
    for some in groups(runs, differ).values():
        for one in filter(is_one, some):
            for reference in filter(is_reference, some):
                if one.seed == reference.seed:
                    yield one, reference


def by_arm(run: Run) -> str:
    """How a run stores its numbers, in a word or two."""
    if run.settings["precision"] != "bf16":
        return str(run.settings["precision"])
    if run.settings["compensation"] != "none":
        return str(run.settings["compensation"])
    return "stochastic" if is_stochastic(run) else "nearest"
