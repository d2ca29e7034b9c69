"""Where the divisor of the loss changes the number of distinct vectors: rounding is switched off place by place.

All tokens start at one point. Then all logits of a position are equal, the gradients of its V logits sum to 0, and so
the exact gradient of every parameter but the embedding is 0. With 2,048 as divisor, a power of two, each of them is a
bfloat16 number and the sum is 0 in the machine too. With 2,032 it is not, and what is left over, though it is 1e-8 of
what the embedding gets, moves all parameters by a whole step, since Adam divides a gradient by its own size.

The rows are printed; docs/loss_divisor.md explains them. Seeds are paired: equal parameters and windows in every row.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import reference
import torch
from blackholes.training import engine
from rounded_steps import PLACES, Outcome, first_steps
from slow.trainer_runs import builtin_corpus, statistics

SEEDS, STEPS, TOKENS = 16, 5, 16 * 128
LOGITS = "logits' gradient"


def only(*places):
    """Arguments for rounding at these places. In float32, 1/2,032 is rounded too: float64 where the logits' is not."""
    return {"places": places, "dtype": torch.float32 if LOGITS in places else torch.float64}


BOTH = {  # name → arguments of first_steps, for both divisors
    "as the engine rounds": {},
    "nowhere, in float32": {"places": []},
    "nowhere, in float64": only(),
    **{f"all but {place}": only(*(p for p in PLACES if p != place)) for place in PLACES},
    **{f"only {place}": only(place) for place in PLACES},
    "all; only the embedding moves in step 1": {"still": True},
    "all; Adam's epsilon is 1e-5": {"epsilon": 1e-5},
}
OTHERS = (512, 1024, 4096, 1000, 2000, 2047, 2049, 4000)  # divisors, rounded as the engine rounds

pytestmark = pytest.mark.slow


def settings_of(seed, **changes):
    return reference.settings(seed=2000 + seed, steps=STEPS, schedule_steps=10_000, target_offset=2, **changes)


def by_reference(token_ids, seed, divisor, epsilon=1e-8, **arguments):
    torch.set_num_threads(1)
    return first_steps(token_ids, settings_of(seed, epsilon=epsilon), divisor, **arguments)


def by_engine(token_ids, seed, divisor):
    settings = replace(settings_of(seed), loss_divisor="tokens" if divisor == TOKENS else "targets")
    return Outcome([statistics(step.embedding)[-1] for step in engine.train(token_ids, settings) if step.step])


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """(name, divisor) → {"distinct": (seeds, steps), "moved" and "cosine": (seeds,)}; see Outcome."""
    token_ids = builtin_corpus(tmp_path_factory.mktemp("corpus"))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        jobs = {}
        for divisor in (None, TOKENS):
            jobs["the engine", divisor] = [pool.submit(by_engine, token_ids, seed, divisor) for seed in range(SEEDS)]
            for name, arguments in BOTH.items():
                jobs[name, divisor] = [
                    pool.submit(by_reference, token_ids, seed, divisor, **arguments) for seed in range(SEEDS)
                ]
        for divisor in OTHERS:
            jobs[f"divisor {divisor:,}", divisor] = [
                pool.submit(by_reference, token_ids, seed, divisor) for seed in range(SEEDS)
            ]
        made = {case: [job.result() for job in submitted] for case, submitted in jobs.items()}
    return {
        case: {name: np.array([getattr(result, name) for result in results], float) for name in vars(results[0])}
        for case, results in made.items()
    }


def test_print_the_rows(rows):
    """Means over the seeds; distinct vectors with the standard error at step 2."""
    steps = " | ".join(f"step {i + 1}" for i in range(STEPS))
    print(f"\n{SEEDS} seeds\n\n| rounded to bfloat16 | divisor | {steps} | others moved | cosine |")
    print(f"|---|{'---:|' * (STEPS + 3)}")
    for (name, divisor), row in rows.items():
        cells = [f"{mean:.1f}" for mean in row["distinct"].mean(0)]
        cells[1] += f" ± {row['distinct'][:, 1].std(ddof=1) / np.sqrt(SEEDS):.1f}"
        more = [f"{row['moved'].mean():.0%}", f"{row['cosine'].mean():.3f}"]
        cells += ["", ""] if np.isnan(row["moved"]).all() else more
        print(f"| {name} | {divisor or TOKENS - 16:,} | {' | '.join(cells)} |")


def ratio(rows, name) -> float:
    """Distinct vectors at step 2, by targets over by tokens."""
    return rows[name, None]["distinct"][:, 1].mean() / rows[name, TOKENS]["distinct"][:, 1].mean()


def test_the_reference_is_the_engine(rows):
    for divisor in (None, TOKENS):
        apart = rows["as the engine rounds", divisor]["distinct"] - rows["the engine", divisor]["distinct"]
        error = apart.std(0, ddof=1) / np.sqrt(SEEDS)
        assert (np.abs(apart.mean(0)) <= 4 * error + 0.05).all(), divisor


def test_the_divisors_differ_whatever_else_is_not_rounded(rows):
    for place in ("activations", "other gradients", "moments", "weights"):
        assert ratio(rows, f"all but {place}") > 1.3
    assert ratio(rows, "only logits' gradient") > 1.3


def test_the_divisors_do_not_differ_where_the_logits_gradient_is_not_rounded(rows):
    for name in ("all but logits' gradient", "nowhere, in float64"):
        assert ratio(rows, name) == pytest.approx(1, abs=0.1)
        assert rows[name, None]["moved"].max() < 0.01
    for place in ("activations", "other gradients", "moments", "weights"):
        assert ratio(rows, f"only {place}") == pytest.approx(1, abs=0.1)


def test_it_is_the_first_step_of_the_other_parameters(rows):
    assert rows["as the engine rounds", None]["moved"].min() > 0.3
    assert rows["as the engine rounds", TOKENS]["moved"].max() == 0
    for name in ("all; only the embedding moves in step 1", "all; Adam's epsilon is 1e-5"):
        assert ratio(rows, name) == pytest.approx(1, abs=0.15)


def test_it_is_a_power_of_two_in_bfloat16_and_not_the_size(rows):
    """1/2,047 and 1/2,049 are 1/2,048 in bfloat16, and the gradients of the logits are those of 2,048."""
    by_tokens, by_targets = (
        rows["as the engine rounds", divisor]["distinct"][:, 1].mean() for divisor in (TOKENS, None)
    )
    for divisor in OTHERS:
        row = rows[f"divisor {divisor:,}", divisor]
        exact = np.log2(torch.tensor(1 / divisor).bfloat16().item()).is_integer()
        assert row["distinct"][:, 1].mean() == pytest.approx(by_tokens if exact else by_targets, rel=0.15), divisor
        assert (row["moved"] == 0).all() if exact else (row["moved"] > 0.3).all(), divisor
