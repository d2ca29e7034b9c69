"""Digests of short trainings, so that any change of the engine's arithmetic is noticed, however consistent.

The bytes depend on the processor's instructions, which decide the order of sums in torch's matrix products and in the
compiled loops, and on the versions of both libraries. golden_histories.json holds one set of digests for each of
those. After a change of the arithmetic that is meant, or to add a machine:

    RECORD_GOLDEN=1 python -m pytest tests/unit/test_golden_histories.py
"""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
import pytest
import torch
from blackholes.training import engine
from blackholes.training.settings import Init, Model, Rounding, RunSettings

FILE = Path(__file__).with_name("golden_histories.json")
# 49 of 128 tokens are live; 118 windows, so 50 steps of 4 go into the second pass
CORPUS = (np.arange(150, dtype=np.int64) ** 2 % 97).astype(np.uint8)
SETTINGS = {
    "seed": 43,
    "steps": 50,
    "batch_size": 4,
    "batch_split": 1,
    "target_offset": 1,
    "loss_divisor": "targets",
    "precision": "bf16",
    "init": Init(mode="normal", unit_norm=False, sigma=None, drawn_in=None),
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 0.01,
    "momentum": 0.0,
    "betas": (0.9, 0.999),
    "epsilon": 1e-8,
    "clip": 1.0,
    "schedule": "linear",
    "schedule_steps": None,
    "engine": "auto",
    "model": Model(vocabulary_size=128, context=32, width=32, layers=2, heads=2),
}
SGD = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1}
NOISE = Init(mode="noise", unit_norm=True, sigma=1e-2, drawn_in="float32")
CASES = {
    f"{precision} {name}": {"precision": precision} | optimizer
    for precision in ("bf16", "mixed", "fp32")
    for name, optimizer in {"adamw": {}, "sgd": SGD}.items()
} | {
    "target_offset 2": {"target_offset": 2},
    "loss_divisor tokens": {"target_offset": 2, "loss_divisor": "tokens"},
    "noise": {"init": NOISE},
    "stochastic": {"rounding": Rounding("stochastic", "stochastic")},
    "kahan": {"compensation": "kahan"},
    "untied": {"model": replace(SETTINGS["model"], tied=False)},
    "two threads": {"batch_split": 2},
    "three threads": {"batch_split": 3},  # a sum of two has but one order
}


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def machine() -> str:
    """What the bytes of a training depend on beside the code."""
    features = llvmlite.binding.get_host_cpu_features().items()
    sets = sorted(name for name, there in features if there and name.startswith(("avx", "fma", "amx")))
    torchs = f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()}"
    return f"{torchs}, numba {numba.__version__}, {llvmlite.binding.get_host_cpu_name()}: {' '.join(sets)}"


def train(**changes) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """History (S, V, D), losses and gradient norms (steps,)."""
    snapshots, log = [], []
    for step in engine.train(CORPUS, RunSettings(**SETTINGS | changes)):
        snapshots.append(step.embedding)
        log.append((step.loss, step.grad_norm))
    losses, norms = np.array(log[1:]).T
    return torch.stack(snapshots), losses, norms


def digests(history, losses, norms) -> dict[str, str]:
    arrays = {"history": history.view(torch.uint16).numpy(), "losses": losses, "gradient norms": norms}
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}


def record(name, found) -> None:
    known = json.loads(FILE.read_text())
    known[machine()] = {case: known.get(machine(), {}).get(case) for case in CASES} | {name: found}
    FILE.write_text(json.dumps(known, indent=2) + "\n")


@pytest.mark.parametrize("name", CASES)
def test_training_has_the_recorded_bytes(name):
    if os.environ.get("RECORD_GOLDEN"):
        return record(name, digests(*train(**CASES[name])))
    known = json.loads(FILE.read_text())
    if machine() not in known:
        how = "RECORD_GOLDEN=1 python -m pytest tests/unit/test_golden_histories.py adds them"
        pytest.skip(f"no digests of this processor and these versions, {how}: {machine()}")
    assert digests(*train(**CASES[name])) == known[machine()][name]


def test_recorded_trainings_clip_learn_and_leave_dead_tokens():
    """They clip some gradients and not others, learn, and leave most tokens dead."""
    history, losses, norms = train(precision="fp32")
    assert 5 < (norms > SETTINGS["clip"]).sum() < 45
    assert losses[-5:].mean() < 0.8 * losses[:5].mean()
    assert len(set(CORPUS.tolist())) == 49
    assert history.shape == (51, 128, 32)
