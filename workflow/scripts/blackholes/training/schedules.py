"""Learning-rate schedules: those of Hugging Face without warm-up."""

import math

from blackholes.training.settings import RunSettings

SCHEDULES = {  # share of the schedule gone by → share of the first step's learning rate
    "linear": lambda gone: 1 - gone,
    "cosine": lambda gone: (1 + math.cos(math.pi * gone)) / 2,
    "constant": lambda gone: 1.0,
}


def learning_rate(settings: RunSettings, step: int) -> float:
    """Learning rate of optimizer step `step`, which counts from 1.

    Raises ValueError where there is no such step or schedule.
    """
    shape = SCHEDULES.get(settings.schedule)
    if shape is None:
        raise ValueError(f"schedule: {settings.schedule!r} is not one of {', '.join(map(repr, SCHEDULES))}")
    if not 1 <= step <= settings.steps:
        raise ValueError(f"step {step} is not one of 1 to {settings.steps}")
    gone = (step - 1) / (settings.schedule_steps or settings.steps)
    return settings.learning_rate * shape(gone)
