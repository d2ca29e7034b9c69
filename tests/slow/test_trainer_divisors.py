"""Both divisors of the loss, ours and transformers.Trainer's: the black holes of the first steps, run by run.

Ours and the Trainer's run of a seed start from the same parameters and take the same windows, so that what differs is
the arithmetic alone, and the differences of the pairs spread less than the runs do. All tokens start at one point,
whose norm is that of a draw from N(0, I), about √64, or 1.

Criterion, for each case, step and series: |mean difference| ≤ 4 of its standard errors. With 79 degrees of freedom a
correct engine passes 4 by chance once in 7,000 comparisons; the 160 here move together, so less than 3 % of draws fail.
A true difference of 4.84 standard errors is found in 80 % of draws; a test says that this is less than 15 % of the
distinct vectors at step 2. The control: with the other divisor, the same comparison fails.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context

import numpy as np
import pytest
import reference
import torch
from blackholes.training import engine, model
from blackholes.training.windows import window_order
from slow.trainer_runs import SERIES, builtin_corpus, statistics

SEEDS, STEPS, SCHEDULE = 80, 5, 10_000
STARTS = list(product((16, 64), (False, True)))  # batch, whether the point has norm 1
DIVISORS = ("targets", "tokens")
LIMIT, POWER = 4.0, 0.84  # standard errors: that are allowed; and above the limit, for a power of 80 %
UNIQUE = SERIES.index("unique")

pytestmark = pytest.mark.slow


def settings_of(seed, batch, unit_norm, divisor):
    changes = {"steps": STEPS, "schedule_steps": SCHEDULE, "batch_size": batch}
    settings = reference.settings(seed=seed, target_offset=2, loss_divisor=divisor, **changes)
    return replace(settings, init=replace(settings.init, unit_norm=unit_norm))


def ours(token_ids, settings) -> list[list[int]]:
    return [statistics(step.embedding) for step in engine.train(token_ids, settings) if step.step]


def theirs(token_ids, settings) -> list[list[int]]:
    torch.set_num_threads(1)
    context, found = settings.model.context, []
    order = window_order(len(token_ids) - context, settings.batch_size, settings.seed)
    starts = np.concatenate([next(order) for _ in range(STEPS)])
    chunks = torch.from_numpy(token_ids.astype(np.int64)[starts[:, None] + np.arange(context + 1)])
    initial = model.initialise(settings.model, settings.init, settings.seed)
    network = reference.load_model(settings.model, initial, torch.bfloat16)
    embedding = network.get_parameter(model.EMBEDDING)
    reference.train(network, chunks, settings, lambda step, network: found.append(statistics(embedding.detach())))
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(start, divisor) → (ours, theirs), each (seeds, steps, series), by as many processes as there are cores."""
    token_ids = builtin_corpus(tmp_path_factory.mktemp("corpus"))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        jobs = {
            case: [
                [pool.submit(one, token_ids, settings_of(1000 + seed, *case[0], case[1])) for seed in range(SEEDS)]
                for one in (ours, theirs)
            ]
            for case in product(STARTS, DIVISORS)
        }
        return {
            case: tuple(np.array([job.result() for job in jobs], float) for jobs in both) for case, both in jobs.items()
        }


def paired(some: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean differences of the pairs and their standard errors, (steps, series)."""
    apart = some - others
    return apart.mean(0), apart.std(0, ddof=1) / np.sqrt(len(apart))


def test_black_holes_are_the_trainers(runs):
    """Prints ours, the Trainer's, the standard error of the difference, and z; and what a test of this size can see."""
    failed = []
    print(f"\n{SEEDS} seeds. A cell: ours / the Trainer's ± standard error of the paired difference (z)\n")
    print(f"| batch | norm | divisor | step | {' | '.join(SERIES)} | 15 % of unique is seen from |")
    print("|---:|---:|---|---:|" + "---:|" * (len(SERIES) + 1))
    for (batch, unit_norm), divisor in runs:
        mine, their = runs[(batch, unit_norm), divisor]
        apart, error = paired(mine, their)
        z = np.divide(apart, error, out=np.zeros_like(apart), where=apart != 0)
        seen = (LIMIT + POWER) * error[:, UNIQUE] / their.mean(0)[:, UNIQUE]
        for i in range(STEPS):
            cells = [
                f"{mine[:, i, j].mean():.2f} / {their[:, i, j].mean():.2f} ± {error[i, j]:.2f} ({z[i, j]:+.1f})"
                for j in range(len(SERIES))
            ]
            start = f"{batch} | {'1' if unit_norm else '√64'} | {divisor} | {i + 1}"
            print(f"| {start} | {' | '.join(cells)} | {seen[i]:.1%} |")
        failed += [
            f"batch {batch}, unit norm {unit_norm}, {divisor}, step {i + 1}, {SERIES[j]}: z {z[i, j]:.1f}"
            for i, j in np.argwhere(np.abs(z) > LIMIT)
        ]
    assert failed == []


def test_a_difference_of_15_percent_at_step_2_would_be_seen(runs):
    for case, (mine, their) in runs.items():
        error = paired(mine, their)[1][1, UNIQUE]
        assert (LIMIT + POWER) * error < 0.15 * their[:, 1, UNIQUE].mean(), case


@pytest.mark.parametrize("start", STARTS, ids=str)
def test_the_other_divisor_is_told_apart(runs, start):
    for divisor, other in (DIVISORS, DIVISORS[::-1]):
        apart, error = paired(runs[start, divisor][0], runs[start, other][1])
        z = apart[1, UNIQUE] / error[1, UNIQUE]
        print(f"{start}: ours by {divisor}, the Trainer by {other}, unique at step 2: z {z:+.1f}")
        assert abs(apart[1, UNIQUE]) > LIMIT * error[1, UNIQUE]
