"""Whether a run learnt anything at all, by its losses. Imports no torch, since the table in the terminal asks."""

import csv
import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LEAST_STEPS = 100  # of a run, for it to be judged: fewer may not be enough for any rate
SHARE = 0.01  # of log V, by which a loss has to be lower for something to be learnt


def at_chance(losses: Sequence[float], V: int) -> bool:
    """Whether the mean loss of the last tenth of the steps is still that of guessing: log V, in nats, less 1 % at most.

    Args:
        losses: of every step. V: tokens of the vocabulary.
    """
    last = losses[-max(1, len(losses) // 10) :]
    return len(losses) >= LEAST_STEPS and sum(last) / len(last) > (1 - SHARE) * math.log(V)


def warning(log: str | os.PathLike, config: str | os.PathLike) -> str:
    """A line about a finished run that learnt nothing; empty for one that did, and where the files cannot be read.

    Args:
        log: training_log.csv, with a column `loss`. config: config.json of the model, with `vocab_size`.
    """
    with suppress(OSError, ValueError, LookupError, TypeError):
        with open(log, newline="", encoding="utf-8") as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        V = int(json.loads(Path(config).read_text(encoding="utf-8"))["vocab_size"])
        return line(V) if at_chance(losses, V) else ""
    return ""


def line(V: int) -> str:
    """What is said of a run that learnt nothing."""
    return (
        f"warning: the loss stayed at {math.log(V):.2f}, log V, that of guessing: the model learnt nothing; "
        "try a higher learning_rate, or more steps"
    )
