"""A vocabulary of 10,000: training, compared with transformers.Trainer, and the analyses of a whole history.

python benchmarks/thimble.py [--part training|holes] [--threads 1|2] [--steps 20] [--rounds 3] [--history FILE]

Token frequencies follow Zipf's law, like words; two fifths of the tokens never occur. Without --history the analyses
run on a synthetic one of this size (S, 10,000, 64) with --steps steps.
"""

import argparse
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import training
from _harness import Rival, compare, machine

V, D = 10_000, 64


def prepare(steps):
    """(token ids, the settings of config/thimble.yaml with other `steps`)."""
    import numpy as np
    from blackholes.config.model import Experiment

    weights = 1 / np.arange(1, 1 + V * 3 // 5)
    ids = np.random.default_rng(0).choice(len(weights), 40_000, p=weights / weights.sum()).astype(np.uint16)
    corpus = {"vocabulary": "bpe", "vocabulary_size": V}
    return ids, Experiment(init="normal", weight_decay=0, steps=steps, corpus=corpus).run_settings(1)


def train(steps, rounds, threads):
    import torch

    def run(method, n):
        method(*prepare(n), threads)
        torch.set_num_threads(threads)  # our engine sets torch to one thread and splits the batch itself

    methods = {name: method for name, method in training.METHODS.items() if name != "ours, fp32"}
    rivals = [Rival(name, partial(run, method)) for name, method in methods.items()]
    medians = compare(f"{steps} steps, vocabulary {V:,}, {threads} threads", rivals, steps, rounds, warm_up=3)
    print("\n| method | ms a step |\n|---|---:|")
    for name, seconds in medians.items():
        print(f"| {name} | {1000 * seconds / steps:.0f} |")


def made_up(path, steps):
    """Write a history in which live tokens walk randomly and half of the dead ones stay put beside each other."""
    import torch
    from blackholes.artifacts.histories import KEY, history_writer

    draw = torch.Generator().manual_seed(0)
    live = torch.randn(V * 3 // 5, D, generator=draw) * 0.02
    dead = (torch.randn(V - len(live), D, generator=draw) * 0.02).bfloat16()
    together = torch.randn(len(dead) // 2, D, generator=draw) * 2**-10
    with history_writer(path, (steps + 1, V, D), {}) as writer:
        for _ in range(steps + 1):
            live += torch.randn(live.shape, generator=draw) * 1e-3
            dead[: len(together)] = (0.5 + together).bfloat16()
            writer.append(KEY, torch.cat([live.bfloat16(), dead])[None])
    return path


def analyse(history, steps):
    """Wall time of the statistics of the whole history, and the memory that it took at most."""
    import torch
    from blackholes.artifacts import histories
    from blackholes.config.model import ADJACENCY
    from blackholes.runs import statistics

    with tempfile.TemporaryDirectory() as folder:
        path = history or str(made_up(Path(folder, "embedding_evolution.safetensors"), steps))
        with histories.open_history(path) as source:
            S, V, D = source.steps, source.tokens, source.dimensions
        outputs = statistics.Outputs(*(str(Path(folder, name)) for name in statistics.Outputs.__annotations__))
        rules = {name: rule.model_dump() for name, rule in ADJACENCY.items()}
        work = {
            "read once": lambda: read(path),
            "black holes, events, geometry, three graphs": lambda: statistics.write(path, rules, outputs),
        }
        print(f"\nHistory ({S:,}, {V:,}, {D})\n\n{machine()}\n\n| work | s | ms a step | peak memory so far, GB |")
        print("|---|---:|---:|---:|")
        for name, run in work.items():
            start = time.perf_counter()
            run()
            taken = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(f"| {name} | {taken:.1f} | {1000 * taken / S:.1f} | {peak:.2f} |", flush=True)
    del torch


def read(path):
    from blackholes.artifacts.histories import open_history

    with open_history(path) as source:
        for _ in source.chunks(50):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("training", "holes"))
    parser.add_argument("--threads", type=int, choices=(1, 2), default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--history", help="a run's history instead of a synthetic one")
    arguments = parser.parse_args()
    if arguments.part != "holes":
        train(arguments.steps, arguments.rounds, arguments.threads)
    if arguments.part != "training":
        analyse(arguments.history, arguments.steps)


if __name__ == "__main__":
    sys.exit(main())
