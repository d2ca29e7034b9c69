"""A training step with stochastic rounding, compensated sums or an output matrix of its own, beside the usual one.

python benchmarks/arms.py [--rounds 15] [--engine compiled|torch] [--vocabulary 128]

The default experiment on the built-in corpus, one thread. All are started once and take turns, ten steps each, in one
process. The ratio is the median over the rounds of that to the usual step in the same round, in CPU time.
"""

import argparse
import time
from dataclasses import replace
from statistics import median

from _harness import machine
from training import prepare

BLOCK = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--engine", choices=("compiled", "torch"), default="compiled")
    parser.add_argument("--vocabulary", type=int, default=128)
    arguments = parser.parse_args()

    import torch
    from blackholes.training import engine
    from blackholes.training.settings import Rounding

    token_ids, settings = prepare()
    model = replace(settings.model, vocabulary_size=arguments.vocabulary)
    settings = replace(settings, engine=arguments.engine, model=model)
    arms = {
        "nearest": settings,
        "stochastic, weights": replace(settings, rounding=Rounding(weights="stochastic")),
        "stochastic, weights and state": replace(settings, rounding=Rounding("stochastic", "stochastic")),
        "kahan": replace(settings, compensation="kahan"),
        "untied": replace(settings, model=replace(model, tied=False)),
    }
    started = {name: engine.start(token_ids, [own], torch.device("cpu"), 1, "corpus") for name, own in arms.items()}
    wall, own = ({name: [] for name in arms} for _ in range(2))
    for number in range(arguments.rounds + 1):
        for name in list(arms)[:: 1 if number % 2 else -1]:
            runs, windows = started[name]
            starts = torch.stack([next(windows) for _ in range(min(BLOCK, runs.block_steps))])
            began, ran = time.perf_counter(), time.process_time()
            runs.block(starts, [settings.learning_rate] * len(starts))
            if number:  # the first round is a warm-up
                wall[name].append((time.perf_counter() - began) / len(starts))
                own[name].append((time.process_time() - ran) / len(starts))
    print(
        f"\n{arguments.engine} engine, {arguments.vocabulary:,} tokens: medians of {arguments.rounds} rounds of ",
        end="",
    )
    print(f"{BLOCK} steps\n\n{machine()}\n\n| step | ms | ms of CPU | times nearest |\n|---|---:|---:|---:|")
    for name in arms:
        ratio = median(one / other for one, other in zip(own[name], own["nearest"], strict=True))
        print(f"| {name} | {1000 * median(wall[name]):.1f} | {1000 * median(own[name]):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
