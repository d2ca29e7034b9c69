"""On a GPU: many runs at once compared with one transformers.Trainer run, and our kernels with torch.cdist.

python benchmarks/training_gpu.py [--runs 16] [--steps 10000] [--trainer-steps 500] [--history 10001] [--rounds 3]

Prints the tables of benchmarks/README.md. Needs a CUDA device, torch 2.11 or newer, transformers, accelerate, pydantic,
numba and scipy, and the source tree; not snakemake. Status 1 where there is no CUDA device.
"""

import argparse
import datetime
import resource
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from _harness import Rival, compare, walking_tokens
from training import prepare

WARM_UP = 50  # steps of the Trainer that are not timed
ADJACENCIES = {"identical": (0.0, True), "touching": (2 * 2**-7, False), "cells": (1, True)}


def trainer(token_ids, settings, steps, device):
    """(seconds, mean loss) of `steps` steps by the notebooks' method: bfloat16, and a callback that keeps the embedding
    on the device."""
    import reference
    from blackholes.training import model
    from transformers import TrainerCallback

    shape, history, times, losses = settings.model, [], [], []

    class Windows(torch.utils.data.Dataset):
        ids = torch.from_numpy(token_ids).long()

        def __len__(self):
            return len(self.ids) - shape.context

        def __getitem__(self, i):
            return reference.labels(self.ids[i : i + shape.context + 1], settings.target_offset)

    class Keep(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            history.append(network.get_parameter(model.EMBEDDING).detach().clone())
            if state.global_step in (WARM_UP, WARM_UP + steps):
                wait(device)
                times.append(time.perf_counter())

        def on_log(self, args, state, control, logs, **kwargs):
            losses.append(logs.get("loss"))

    initial = model.initialise(shape, settings.init, settings.seed)
    network = reference.load_model(shape, initial, torch.bfloat16)
    more = {"train_sampling_strategy": "random", "logging_strategy": "steps", "logging_steps": WARM_UP + steps}
    with tempfile.TemporaryDirectory() as folder:
        asked = replace(settings, steps=WARM_UP + steps)
        reference.make_trainer(network, Windows(), asked, folder, [Keep()], use_cpu=device == "cpu", **more).train()
    return times[1] - times[0], losses[0]


def stacked(token_ids, settings, steps, device):
    """(seconds of start-up, seconds of the steps, mean loss of the last step). Histories are copied and dropped."""
    from blackholes.training.schedules import learning_rate
    from blackholes.training.stacked import StackedRuns
    from blackholes.training.windows import window_order

    began = time.perf_counter()
    runs = StackedRuns(token_ids, settings, device)
    count, batch = len(token_ids) - settings[0].model.context, settings[0].batch_size
    order = zip(*(window_order(count, batch, one.seed) for one in settings), strict=True)

    def block(first, n):
        starts = torch.from_numpy(np.stack([np.stack(step) for step in islice(order, n)]))
        return runs.to_host(runs.block(starts, [learning_rate(settings[0], first + i) for i in range(n)]))

    fetch = block(1, 1)  # captures the graph
    fetch()
    wait(device)
    ready, done = time.perf_counter(), 1
    while done < steps:
        n = min(runs.block_steps, steps - done)
        following = block(done + 1, n)
        fetch()  # copies the previous block while this one runs
        fetch, done = following, done + n
    losses, _, snapshots = fetch()
    if not snapshots.isfinite().all():
        raise SystemExit("training diverged, so the times are meaningless")
    return ready - began, time.perf_counter() - ready, losses[-1].mean().item()


def job(token_ids, settings, device):
    """Seconds of the whole job, from the corpus file to all files of every run."""
    from blackholes.artifacts.tensors import write_tensors
    from blackholes.training import engine

    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "tokens.safetensors"
        counts = np.bincount(token_ids, minlength=settings[0].model.vocabulary_size).astype(np.int64)
        write_tensors(corpus, {"token_ids": token_ids, "token_counts": counts, "dead_mask": counts == 0})
        folders = [Path(folder) / f"run_{k + 1:03d}" for k in range(len(settings))]
        names = ("embedding_evolution.safetensors", "training_log.csv", "model/config.json", "model/model.safetensors")
        runs = [engine.RunFiles(*(path / name for name in names)) for path in folders]
        start = time.perf_counter()
        engine.write_runs(str(corpus), runs, settings, device)
        return time.perf_counter() - start


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def training_table(arguments, device):
    token_ids, one = prepare()

    def settings(K, **changes):
        return [replace(one, **{"steps": arguments.steps, "seed": one.seed + k} | changes) for k in range(K)]

    shape = one.model
    print(f"\nTraining, batch {one.batch_size} × {shape.context} tokens, width {shape.width}\n")
    print("| method | runs | steps | seconds | ms a step | µs a run and step | ratio | GPU memory, MB | mean loss |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    seconds, loss = trainer(token_ids, settings(1)[0], arguments.trainer_steps, device)
    theirs = seconds / arguments.trainer_steps

    def row(name, K, steps, seconds, loss):
        each, peak = seconds / steps / K, torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else 0
        shown = f"{K} | {steps:,} | {seconds:.1f} | {1e3 * seconds / steps:.2f} | {1e6 * each:.0f}"
        print(f"| {name} | {shown} | {theirs / each:.1f} | {peak:,.0f} | {loss} |", flush=True)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()

    row("transformers.Trainer, bf16", 1, arguments.trainer_steps, seconds, f"{loss:.3f}, of all steps")
    packs = [(K, "bf16", min(1000, arguments.steps)) for K in (1, 2, 4) if arguments.runs > K]
    packs += [(arguments.runs, precision, min(1000, arguments.steps)) for precision in ("fp32", "mixed")]
    for K, precision, steps in [*packs, (arguments.runs, "bf16", arguments.steps)]:
        start, seconds, loss = stacked(token_ids, settings(K, precision=precision, steps=steps), steps, device)
        row(f"ours, {precision} (and {start:.1f} s to start)", K, steps, seconds, f"{loss:.3f}")
    seconds = job(token_ids, settings(arguments.runs), device)
    row("ours, bf16: the whole job, with its files", arguments.runs, arguments.steps, seconds, "")
    print(f"\nRatio: the Trainer's time per run and step to ours. Peak host memory: {host_memory():,.0f} MB")


def host_memory() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def kernel_table(arguments, device):
    from blackholes.kernels import components, distances, duplicates

    history = walking_tokens(arguments.history).to(device)
    chebyshev = distances.chebyshev_matrices(history)
    matrices = {"identical": chebyshev, "touching": chebyshev, "cells": distances.cell_matrices(history)}
    few = history[:50].cpu()
    assert torch.equal(chebyshev[:50].cpu(), distances.chebyshev_matrices(few))
    assert torch.equal(matrices["cells"][:50].cpu(), distances.cell_matrices(few))
    assert torch.equal(duplicates.labels(history[:50]).cpu(), duplicates.labels(few))

    def timed(name, kernel):
        def run(n):
            kernel(n)
            wait(device)

        return Rival(name, run)

    def statistics(name):
        return lambda n: components.graph_statistics(matrices[name][:n], *ADJACENCIES[name])

    wide = history.float()
    rivals = [
        timed("torch.cdist(p=inf), float32", lambda n: torch.cdist(wide[:n], wide[:n], p=float("inf"))),
        timed("cells, ours", lambda n: distances.cell_matrices(history[:n])),
        *(timed(f"graph statistics, {name}, ours", statistics(name)) for name in ADJACENCIES),
        timed("black holes from the vectors, ours", lambda n: duplicates.labels(history[:n])),
        timed("Chebyshev, ours", lambda n: distances.chebyshev_matrices(history[:n])),
    ]
    compare(f"Kernels on the GPU, {' × '.join(map(str, history.shape))}", rivals, len(history), arguments.rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--trainer-steps", type=int, default=500)
    parser.add_argument("--history", type=int, default=10_001, help="number of snapshots for the kernels")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: not measured")
        return 1
    libraries = f"torch {torch.__version__}, CUDA {torch.version.cuda}, transformers {version('transformers')}"
    print(f"{torch.cuda.get_device_name()}, {libraries}, {datetime.date.today()}")
    training_table(arguments, "cuda")
    kernel_table(arguments, "cuda")
    return 0


if __name__ == "__main__":
    sys.exit(main())
