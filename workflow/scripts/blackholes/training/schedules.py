"""Learning-rate schedules: those of Hugging Face without warm-up."""

import math

from blackholes.training.settings import RunSettings

SCHEDULES = {  # fraction of the schedule done → fraction of the first step's learning rate
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "constant": lambda done: 1.0,
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
    done = (step - 1) / (settings.schedule_steps or settings.steps)
    return settings.learning_rate * shape(done)
