"""Runs with stacked parameters on any device, and the same by transformers and torch.optim: an oracle for them."""

from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from blackholes.config.model import Experiment
from blackholes.training import model
from blackholes.training.settings import Model, RunSettings
from blackholes.training.stacked import StackedRuns

SHAPE = Model(vocabulary_size=20, context=12, width=16, layers=2, heads=2)
CORPUS = np.random.default_rng(0).integers(0, 18, 500).astype(np.uint8)  # tokens 18 and 19 are dead
PRECISIONS = ["fp32", "mixed", "bf16"]
OPTIMIZERS = [
    pytest.param({"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.1}, id="adamw"),
    pytest.param({"optimizer": "sgd", "learning_rate": 0.3, "weight_decay": 0.01}, id="sgd"),
    pytest.param({"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.01, "momentum": 0.9}, id="momentum"),
]


def settings_of(seeds, **changes) -> list[RunSettings]:
    """Settings of the runs with these seeds, as the configuration gives them."""
    changes = {"batch_size": 4, "precision": "fp32", "init": "normal"} | changes
    shape = changes.pop("model", SHAPE)  # put in afterwards: no corpus has a vocabulary this small
    engine = changes.pop("engine", "auto")  # no key of an experiment
    settings = [Experiment(base_seed=seed, **changes).run_settings(0) for seed in seeds]
    return [replace(one, model=shape, engine=engine) for one in settings]


def start(seeds=(1, 2, 3), device="cpu", graph=True, **changes) -> StackedRuns:
    return StackedRuns(CORPUS, settings_of(seeds, **changes), device, graph=graph)


def windows(n, K=3, B=4, seed=0) -> torch.Tensor:
    starts = np.random.default_rng(seed).integers(0, len(CORPUS) - SHAPE.context, (n, K, B))
    return torch.from_numpy(starts)


def rates(n) -> list[float]:
    return [3e-3 * (1 - i / (2 * n)) for i in range(n)]


def copied(runs: StackedRuns) -> dict:
    return {name: value.clone() for name, value in runs.state.items()}


def restore(runs: StackedRuns, state: dict) -> None:
    for name, value in runs.state.items():
        value.copy_(state[name])


def torch_switches() -> tuple:
    """torch's settings of the process that a step on a GPU changes and sets back; whether gradients are on, last."""
    products, memory = torch.backends.cuda.matmul, torch.utils.deterministic
    return (
        torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory, products.allow_tf32,
        products.allow_bf16_reduced_precision_reduction, torch.is_grad_enabled(),
    )  # fmt: skip


def same(some, others) -> bool:
    """Whether two blocks, or two states, are the same to the bit."""
    if isinstance(some, dict):
        assert some.keys() == others.keys()
        some, others = some.values(), others.values()
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def transformers_run(settings, starts, rates, device="cpu"):
    """(losses, norms, snapshots), on the CPU, of one run by GPT2LMHeadModel and torch.optim, a step at a time."""
    shape, precision = settings.model, settings.precision
    initial = model.initialise(shape, settings.init, settings.seed)
    initial = {name: weight.to(device) for name, weight in initial.items()}
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    network = reference.load_model(shape, initial, dtype).to(device)
    used = dict(network.named_parameters())
    kept = {name: torch.nn.Parameter(weight) for name, weight in initial.items()} if precision == "mixed" else used
    groups = [
        {"params": [kept[n] for n in kept if model.decays(n)], "weight_decay": settings.weight_decay},
        {"params": [kept[n] for n in kept if not model.decays(n)], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, 1.0, settings.betas, settings.epsilon, fused=True)
    else:  # the fused kernel for bfloat16 leaves parameters where they are (torch 2.13, issue 191763)
        optimizer = torch.optim.SGD(groups, 1.0, settings.momentum, foreach=False)
    corpus, reach = torch.from_numpy(CORPUS.astype(np.int64)), torch.arange(shape.context + 1)
    losses, norms, snapshots = [], [], []
    for row, rate in zip(starts, rates, strict=True):
        with torch.no_grad():
            for name in used:
                used[name].copy_(kept[name])
        network.zero_grad()
        chunk = corpus[row[:, None] + reach].to(device)
        divisor = {"num_items_in_batch": chunk[:, 1:].numel()} if settings.loss_divisor == "tokens" else {}
        loss = network(**reference.labels(chunk, settings.target_offset), **divisor).loss
        loss.backward()
        for name in kept:
            kept[name].grad = used[name].grad.to(kept[name].dtype)
        norms.append(torch.nn.utils.clip_grad_norm_(kept.values(), settings.clip).float())
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.detach().float())
        snapshots.append(kept[model.EMBEDDING].detach().to(torch.bfloat16, copy=True))
    return tuple(torch.stack(found).cpu() for found in (losses, norms, snapshots))


def apart(found, expected, before) -> float:
    """How far two snapshots are apart, in units of how far the expected one has gone."""
    found, expected, before = found.double(), expected.double(), before.double()
    return ((found - expected).norm() / (expected - before).norm()).item()


# Of losses and norms (relative), of the first snapshot, where Adam steps by signs, and of the last (`apart`). In
# float32 one coordinate that rounds to the other bfloat16 value puts a snapshot 7e-4 apart. Norms were seen 1.01e-2
# apart on an Intel Xeon, whose sums go in another order than those of the AMD EPYC where the limits were first found.
LIMITS = {
    "fp32": (1e-6, 3e-6, 1e-3, 1e-3),
    "mixed": (5e-4, 1.5e-2, 0.2, 0.2 / 3),
    "bf16": (5e-4, 1.5e-2, 0.2, 0.2 / 3),
}


def assert_close(found, expected, before, precision, slack=1):
    """Blocks of one run, against `LIMITS`."""
    (losses, norms, snapshots), (their_losses, their_norms, theirs) = found, expected
    loss, norm, first, last = (slack * limit for limit in LIMITS[precision])
    torch.testing.assert_close(losses.double(), their_losses.double(), rtol=loss, atol=0)
    torch.testing.assert_close(norms.double(), their_norms.double(), rtol=norm, atol=0)
    assert apart(snapshots[0], theirs[0], before) < first
    assert apart(snapshots[-1], theirs[-1], before) < last
