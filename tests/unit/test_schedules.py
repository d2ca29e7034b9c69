"""Learning rates: Hugging Face's schedules without warm-up."""

from dataclasses import replace

import pytest
import torch
import transformers
from blackholes.config.experiments import Experiment
from blackholes.training.schedules import learning_rate

THEIRS = {
    "linear": transformers.get_linear_schedule_with_warmup,
    "cosine": transformers.get_cosine_schedule_with_warmup,
    "constant": lambda optimizer, warmup, steps: transformers.get_constant_schedule(optimizer),
}


def settings(schedule, steps, schedule_steps=None, rate=3e-3):
    default = Experiment().run_settings(1)
    return replace(default, schedule=schedule, steps=steps, schedule_steps=schedule_steps, learning_rate=rate)


@pytest.mark.parametrize("schedule", THEIRS)
@pytest.mark.parametrize(("steps", "schedule_steps"), [(1, None), (2, None), (300, None), (300, 300), (300, 1000)])
def test_every_step_has_the_rate_of_transformers(schedule, steps, schedule_steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-3)
    theirs = THEIRS[schedule](optimizer, 0, schedule_steps or steps)
    for step in range(1, steps + 1):
        ours = learning_rate(settings(schedule, steps, schedule_steps), step)
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=3e-3 * 1e-14)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("schedule", THEIRS)
def test_the_first_step_has_the_whole_rate_and_the_last_some(schedule):
    assert learning_rate(settings(schedule, 10), 1) == 3e-3
    assert learning_rate(settings(schedule, 10), 10) > 0


@pytest.mark.parametrize("schedule", THEIRS)
def test_a_short_run_of_a_long_schedule_is_its_beginning(schedule):
    rates = [learning_rate(settings(schedule, 20, 50), step) for step in range(1, 21)]
    assert rates == [learning_rate(settings(schedule, 50), step) for step in range(1, 21)]


def test_unknown_schedules_and_steps_are_refused():
    with pytest.raises(ValueError, match="'step' is not one of 'linear', 'cosine', 'constant'"):
        learning_rate(settings("step", 10), 1)
    for step in (0, 11):
        with pytest.raises(ValueError, match=f"step {step} is not one of 1 to 10"):
            learning_rate(settings("linear", 10), step)
