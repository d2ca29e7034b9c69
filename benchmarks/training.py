"""One optimizer step: transformers.Trainer as in the notebooks, a plain PyTorch loop, and ours (row A).

python benchmarks/training.py [--steps 300] [--rounds 5] [--threads 1|2] [--side-by-side]

Times are of whole runs, including the set-up (up to 0.2 s for the Trainer).
--side-by-side runs two processes at once with one thread each, as the workflow runs two jobs on two cores.
"""

import argparse
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from _harness import Rival, compare, machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))


def trainer(token_ids, settings, threads):
    """The notebooks' method: bfloat16 model, Dataset of windows, Trainer, a callback that keeps the embedding."""
    import reference
    import torch
    from blackholes.training import model
    from transformers import TrainerCallback

    class Windows(torch.utils.data.Dataset):
        def __init__(self):
            self.ids = torch.from_numpy(token_ids).long()

        def __len__(self):
            return len(self.ids) - settings.model.context

        def __getitem__(self, i):
            return reference.labels(self.ids[i : i + settings.model.context + 1], settings.target_offset)

    class Keep(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            history.append(network.get_parameter(model.EMBEDDING).detach().clone())

    torch.set_num_threads(threads)
    history = []
    network = reference.load_model(settings.model, model.initialise(settings.model, settings.init, 1), torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        more = {"train_sampling_strategy": "random", "logging_strategy": "no"}
        reference.make_trainer(network, Windows(), settings, folder, [Keep()], **more).train()
    return history


def plain_loop(token_ids, settings, threads, dtype="float32"):
    """A straightforward loop: GPT2LMHeadModel, fused AdamW, windows gathered one batch at a time."""
    import numpy as np
    import reference
    import torch
    from blackholes.training import model

    torch.set_num_threads(threads)
    start = model.initialise(settings.model, settings.init, 1)
    network = reference.load_model(settings.model, start, getattr(torch, dtype))
    decayed = [weight for name, weight in network.named_parameters() if model.decays(name)]
    rest = [weight for name, weight in network.named_parameters() if not model.decays(name)]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / settings.steps)
    windows = np.lib.stride_tricks.sliding_window_view(token_ids, settings.model.context + 1)
    order = np.random.default_rng(1).permutation(len(windows))
    history = []
    for step in range(settings.steps):
        batch = order[step * settings.batch_size :][: settings.batch_size]
        chunk = torch.from_numpy(windows[batch].astype(np.int64))
        optimizer.zero_grad()
        network(**reference.labels(chunk, settings.target_offset)).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        history.append(network.get_parameter(model.EMBEDDING).detach().bfloat16())
    return history


def ours(token_ids, settings, threads, precision="bf16"):
    from blackholes.training import engine

    return [
        step.embedding
        for step in engine.train(
            token_ids, replace(settings, precision=precision, batch_split=threads), threads=threads
        )
    ]


METHODS = {
    "transformers.Trainer, bf16": trainer,
    "plain PyTorch loop, float32": plain_loop,
    "plain PyTorch loop, bfloat16": partial(plain_loop, dtype="bfloat16"),
    "ours, fp32": partial(ours, precision="fp32"),
    "ours, bf16": ours,
}


def prepare():
    """(the builtin corpus, the settings of the default experiment); callers set `steps`."""
    from blackholes.config.model import Experiment
    from blackholes.training import corpus

    text = corpus.clean(corpus.read({"source": "builtin"}).text, 128).text
    return corpus.encode(text, 128), Experiment().run_settings(1)


def alone(steps, rounds, threads):
    import torch

    token_ids, settings = prepare()

    def run(method, n):
        method(token_ids, replace(settings, steps=n), threads)
        torch.set_num_threads(threads)  # our engine sets torch to one thread and splits the batch itself

    rivals = [Rival(name, partial(run, method)) for name, method in METHODS.items()]
    medians = compare(f"{steps} training steps, {threads} threads", rivals, steps, rounds, warm_up=10)
    print("\n| method | ms a step |\n|---|---:|")
    for name, seconds in medians.items():
        print(f"| {name} | {1000 * seconds / steps:.1f} |")


def meet(barrier):
    global together
    together = barrier


def timed(name, steps):
    """Seconds of `steps` steps in this process, started at the same time as in the other one."""
    import time

    token_ids, settings = prepare()
    METHODS[name](token_ids, replace(settings, steps=10), 1)
    together.wait()
    start = time.perf_counter()
    METHODS[name](token_ids, replace(settings, steps=steps), 1)
    return time.perf_counter() - start


def side_by_side(steps, rounds):
    times = {name: [] for name in METHODS}
    context = get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=meet, initargs=(context.Barrier(2),)) as pool:
        for _ in range(rounds):
            for name in METHODS:
                jobs = [pool.submit(timed, name, steps) for _ in range(2)]
                times[name].append(max(job.result() for job in jobs) / steps)
    last = median(times["ours, bf16"])
    print(f"\n{steps} training steps, two processes with a thread each: medians of {rounds}\n\n{machine()}\n")
    print("| method | ms a step of each | ratio | spread |\n|---|---:|---:|---|")
    for name, values in times.items():
        middle, spread = median(values), f"{1000 * min(values):.1f} to {1000 * max(values):.1f}"
        print(f"| {name} | {1000 * middle:.1f} | {middle / last:.1f} | {spread} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, choices=(1, 2), default=2)
    parser.add_argument("--side-by-side", action="store_true")
    arguments = parser.parse_args()
    if arguments.side_by_side:
        os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the two processes
        side_by_side(arguments.steps, arguments.rounds)
    else:
        alone(arguments.steps, arguments.rounds, arguments.threads)


if __name__ == "__main__":
    main()
