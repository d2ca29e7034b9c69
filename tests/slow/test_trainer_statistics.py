"""Sixteen short runs of ours and of transformers.Trainer: do the black holes have the same statistics?

Both train the default model in bfloat16 on the builtin corpus from `init: qwen`, with seeds of their own: initial
parameters as each library draws them, windows in an order of their own. Compared are the means over the runs.

Criterion, for each series and step: |difference of the means| ≤ 4 combined standard errors + 0.5 (of a hole or a
token, for where all runs agree). With some 30 degrees of freedom 4 standard errors are passed by chance once in
2,700 comparisons, and of the 32 here many move together: a correct engine fails by chance in less than 1 % of draws.
The control shows that the comparison can fail: a wrong engine does.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import reference
import torch
from blackholes.training import engine, model
from slow.trainer_runs import SERIES, builtin_corpus, statistics

RUNS, STEPS = 16, 200
AT = (1, 2, 5, 10, 20, 50, 100, 200)

pytestmark = pytest.mark.slow


def ours(token_ids: np.ndarray, seed: int, **changes) -> np.ndarray:
    """(steps of AT, series)."""
    settings = reference.settings(seed=seed, steps=STEPS, **changes)
    steps = engine.train(token_ids, settings)
    return np.array([statistics(step.embedding) for step in steps if step.step in AT])


def theirs(token_ids: np.ndarray, seed: int) -> np.ndarray:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    settings = reference.settings(steps=STEPS)
    network = reference.empty_model(settings.model)
    embedding = network.get_parameter(model.EMBEDDING)
    with torch.no_grad():
        embedding[:] = torch.randn(embedding.shape[1])
    network.to(torch.bfloat16)
    windows = reference.draw_windows(token_ids, 128, STEPS * settings.batch_size, seed)
    found = []

    def after(step, network):
        if step in AT:
            found.append(statistics(network.get_parameter(model.EMBEDDING).detach()))

    reference.train(network, windows, settings, after)
    return np.array(found)


def compare(title: str, ours: np.ndarray, theirs: np.ndarray) -> list[str]:
    """Print a table of the means and standard errors of (runs, steps, series); return what is too far apart."""
    (a, b), (ea, eb) = (
        [fold(runs, axis=0) for runs in (ours, theirs)]
        for fold in (np.mean, lambda runs, axis: runs.std(axis, ddof=1) / np.sqrt(len(runs)))
    )
    error = np.hypot(ea, eb)
    print(f"\n{title}: {len(ours)} runs of ours, {len(theirs)} of the Trainer's\n\n| step | {' | '.join(SERIES)} |")
    print("|---:|" + "---|" * len(SERIES))
    for i, step in enumerate(AT):
        cells = [f"{a[i, j]:.2f} ± {ea[i, j]:.2f} / {b[i, j]:.2f} ± {eb[i, j]:.2f}" for j in range(len(SERIES))]
        print(f"| {step} | {' | '.join(cells)} |")
    apart = np.abs(a - b) > 4 * error + 0.5
    return [f"{SERIES[j]} at step {AT[i]}: {a[i, j]:.2f} and {b[i, j]:.2f}" for i, j in np.argwhere(apart)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Series of all runs, made by as many processes as there are cores."""
    token_ids = builtin_corpus(tmp_path_factory.mktemp("corpus"))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        jobs = {
            "theirs": [pool.submit(theirs, token_ids, 1000 + run) for run in range(RUNS)],
            "ours": [pool.submit(ours, token_ids, 43 + run) for run in range(RUNS)],
            "fp32": [pool.submit(ours, token_ids, 43 + run, precision="fp32") for run in range(RUNS)],
        }
        return {name: np.stack([job.result() for job in submitted]) for name, submitted in jobs.items()}


def test_black_holes_have_the_trainers_statistics(runs):
    assert compare("bf16", runs["ours"], runs["theirs"]) == []


def test_a_wrong_engine_is_told_apart(runs):
    """Parameters and moments in float32, and only the snapshots in bfloat16."""
    assert compare("control: fp32", runs["fp32"], runs["theirs"]) != []


def test_halves_of_the_trainers_runs_agree(runs):
    assert compare("the Trainer with itself", runs["theirs"][::2], runs["theirs"][1::2]) == []
