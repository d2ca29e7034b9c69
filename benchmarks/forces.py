"""What recording forces costs: a training step with `forces: summary` against one without, in turn, in one process.

    python benchmarks/forces.py [--steps 40] [--rounds 9]

The median of the ratios within a round is what counts: whatever else the machine does meets both alike. Times are those
of the processor, of one thread: on a machine that is shared with others they are less at their mercy than the clock.
"""

import argparse
import time
from dataclasses import replace
from statistics import median

from _harness import machine

TOKENS = (128, 10_000)


def prepare(vocabulary: int):
    """(random tokens of a corpus, settings of the default experiment with this vocabulary)."""
    import numpy as np
    from blackholes.config.model import Experiment

    settings = Experiment().run_settings(1)
    token_ids = np.random.default_rng(0).integers(0, vocabulary // 2, 100_000).astype(np.uint16)
    return token_ids, replace(settings, model=replace(settings.model, vocabulary_size=vocabulary))


def seconds(runs, windows, rates) -> float:
    start = time.process_time()
    for i, rate in enumerate(rates):
        runs.block(windows[i : i + 1], [rate])
    return (time.process_time() - start) / len(rates)


def compare(vocabulary: int, engine: str, kinds: tuple[str, ...], steps: int, rounds: int) -> dict[str, tuple]:
    """Kind → (median CPU seconds of a step, median of the ratios to the same round without forces)."""
    import torch
    from blackholes.training import engine as training

    token_ids, settings = prepare(vocabulary)
    runs, windows = {}, None
    for kind in kinds:
        one = replace(settings, engine=engine, forces=kind)
        runs[kind], windows = training.start(token_ids, [one], torch.device("cpu"), 1, "corpus")
    batches = torch.stack([next(windows) for _ in range(steps)])
    rates = [1e-3] * steps
    for of_kind in runs.values():
        seconds(of_kind, batches[:3], rates[:3])
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds):
        for kind in kinds if turn % 2 == 0 else reversed(kinds):
            times[kind].append(seconds(runs[kind], batches, rates))
    plain = times["none"]
    return {
        kind: (median(values), median(a / b for a, b in zip(values, plain, strict=True)))
        for kind, values in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--engine", choices=("compiled", "torch"), default="compiled")
    arguments = parser.parse_args()
    print(f"\nRecording forces, {arguments.engine} engine, one thread, CPU time: medians of {arguments.rounds}\n")
    print(f"{machine()}\n")
    print("| tokens | forces | ms a step | ratio within a round |\n|---:|---|---:|---:|")
    for vocabulary in TOKENS:
        steps = max(2, arguments.steps * 128 // max(128, vocabulary // 8))
        found = compare(vocabulary, arguments.engine, ("none", "summary", "full"), steps, arguments.rounds)
        for kind, (middle, ratio) in found.items():
            print(f"| {vocabulary:,} | {kind} | {1000 * middle:.1f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
