"""Runs with stacked parameters, eagerly on the CPU: against transformers with torch.optim, and against each other.

tests/gpu does the same on a CUDA device, where steps are captured in a graph.
"""

from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from blackholes.kernels import gpt2
from blackholes.training import model
from blackholes.training.cpu import CpuRun
from blackholes.training.stacked import StackedRuns
from stacked_runs import (
    CORPUS,
    OPTIMIZERS,
    PRECISIONS,
    SHAPE,
    assert_close,
    copied,
    rates,
    restore,
    same,
    settings_of,
    start,
    torch_switches,
    transformers_run,
    windows,
)

pytestmark = pytest.mark.usefixtures("one_thread")


# Against transformers, and the run of the CPU


@pytest.mark.parametrize(("offset", "divisor"), [(1, "targets"), (2, "targets"), (2, "tokens")])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_run_is_as_transformers_trains_it(precision, optimizer, offset, divisor):
    n, seeds = 8, (1, 2, 3)
    changes = {"precision": precision, "target_offset": offset, "loss_divisor": divisor, "clip": 0.7} | optimizer
    runs, starts = start(seeds, **changes), windows(n)
    at = [optimizer["learning_rate"] * (1 - i / (2 * n)) for i in range(n)]
    before = runs.embeddings()
    losses, norms, snapshots = runs.block(starts, at)
    assert (norms > 0.7).any()
    for k, settings in enumerate(settings_of(seeds, **changes)):
        theirs = transformers_run(settings, starts[:, k], at)
        assert_close((losses[:, k], norms[:, k], snapshots[:, k]), theirs, before[k], precision)


@pytest.mark.parametrize("shape", [SHAPE, replace(SHAPE, width=10, layers=1)], ids=["even", "odd"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_run_is_as_the_cpu_trains_it(precision, optimizer, shape):
    n, seeds = 8, (4, 5, 6)
    changes = {"precision": precision, "model": shape} | optimizer
    runs, starts, at = start(seeds, **changes), windows(n), [optimizer["learning_rate"]] * n
    before = runs.embeddings()
    found = runs.block(starts, at)
    for k, settings in enumerate(settings_of(seeds, **changes)):
        single = CpuRun(CORPUS, [settings])
        assert torch.equal(single.embeddings()[0], before[k])
        expected = single.block(starts[:, k : k + 1], at)
        assert_close([of[:, k] for of in found], [of[:, 0] for of in expected], before[k], precision)
        for name, weight in single.weights().items():
            assert runs.weights(k)[name].dtype == weight.dtype
            assert runs.weights(k)[name].shape == weight.shape
        assert runs.state.keys() == single.state.keys()


@pytest.mark.parametrize("precision", ["fp32", "mixed"])
def test_a_plain_sgd_step_is_the_gradient_of_transformers(precision):
    """With sgd at rate 1 and nothing else, what a float32 parameter loses is its gradient."""
    plain = {"optimizer": "sgd", "learning_rate": 1.0, "weight_decay": 0.0, "clip": 1e9, "precision": precision}
    runs, starts = start(**plain), windows(1)
    before = [{name: weight.clone() for name, weight in runs.weights(k).items()} for k in range(3)]
    runs.block(starts, [1.0])
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    for k in range(3):
        network = reference.load_model(SHAPE, before[k], dtype)
        chunk = torch.from_numpy(CORPUS.astype(np.int64))[starts[0, k][:, None] + torch.arange(13)]
        network(**reference.labels(chunk, 1)).loss.backward()
        for name, weight in network.named_parameters():
            lost, gradient = before[k][name] - runs.weights(k)[name], weight.grad.float()
            rounding = 2**-23 * max(1.0, before[k][name].abs().max().item()) * lost.numel() ** 0.5
            limit = {"fp32": 1e-5, "mixed": 0.03}[precision] * gradient.norm() + 2 * rounding
            assert (lost - gradient).norm() <= limit, name


def test_mixed_keeps_what_bfloat16_would_lose():
    runs = start(precision="mixed", learning_rate=1e-5)
    before, rounded = runs.weights(0)[model.EMBEDDING].clone(), runs.embeddings()[0]
    for _ in range(5):
        runs.block(windows(1), [1e-5])
    after = runs.weights(0)[model.EMBEDDING]
    assert after.dtype == torch.float32
    moved = (after - before).abs() > 3e-5
    assert moved.float().mean() > 0.5  # each step is 1e-5; a cell at 0.02 is 1.2e-4
    stayed = runs.embeddings()[0] == rounded
    assert (moved & stayed).any()
    kept = {name: value.dtype for name, value in runs.state.items()}
    assert set(kept.values()) == {torch.float32}


# Bytes


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_block_is_its_steps_to_the_bit(precision):
    n = 5
    whole, single = start(precision=precision), start(precision=precision)
    at, starts = rates(n), windows(n)
    expected = whole.block(starts, at)
    for i in range(n):
        step = single.block(starts[i : i + 1], at[i : i + 1])
        assert same([of[0] for of in step], [of[i] for of in expected])
    assert same(single.state, whole.state)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_another_run_of_the_job_changes_no_byte(precision):
    runs, others = start((1, 2, 3), precision=precision), start((1, 7, 3), precision=precision)
    starts, changed = windows(6), windows(6)
    changed[:, 1] = windows(6, seed=1)[:, 1]
    for found, again in zip(runs.block(starts, rates(6)), others.block(changed, rates(6)), strict=True):
        assert torch.equal(found[:, [0, 2]], again[:, [0, 2]])
        assert not torch.equal(found[:, 1], again[:, 1])
    assert same(runs.weights(0), others.weights(0))
    assert same(runs.weights(2), others.weights(2))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_that_diverges_changes_no_byte_of_the_others(precision):
    expected = start(precision=precision).block(windows(4), rates(4))
    runs = start(precision=precision)
    runs.weights(1)[model.EMBEDDING][0, 0] = torch.nan
    losses, norms, snapshots = runs.block(windows(4), rates(4))
    assert losses[:, 1].isnan().any()
    assert norms[:, 1].isnan().any()
    for found, fine in zip((losses, norms, snapshots), expected, strict=True):
        assert torch.equal(found[:, [0, 2]], fine[:, [0, 2]])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_restored_state_gives_the_same_bytes(precision, optimizer):
    runs = start(precision=precision, **optimizer)
    runs.block(windows(3), rates(3))
    saved = copied(runs)
    expected = [of.clone() for of in runs.block(windows(4, seed=1), rates(4))]
    after = copied(runs)
    assert not same(after, saved)
    fresh = start((8, 9, 10), precision=precision, **optimizer)
    for again in (fresh, runs):
        restore(again, saved)
        assert torch.equal(again.embeddings()[1], again.weights(1)[model.EMBEDDING].bfloat16())
        assert same(again.block(windows(4, seed=1), rates(4)), expected)
        assert same(again.state, after)


def test_a_blocks_results_survive_the_next_block():
    runs = start()
    first = runs.block(windows(3), rates(3))
    fetch = runs.to_host(first)
    kept = [of.clone() for of in first]
    second = runs.block(windows(2, seed=1), rates(2))
    assert same(first, kept)
    runs.block(windows(3, seed=2), rates(3))  # in the first one's place
    assert not same(first, kept)
    assert same(fetch(), kept)
    assert same(runs.to_host(second)(), second)


def test_snapshots_are_the_embeddings():
    runs = start()
    before = runs.embeddings()
    for settings, embedding in zip(settings_of((1, 2, 3)), before, strict=True):
        initial = model.initialise(SHAPE, settings.init, settings.seed)[model.EMBEDDING]
        assert torch.equal(embedding, initial.bfloat16())
    *_, snapshots = runs.block(windows(3), rates(3))
    assert torch.equal(runs.embeddings(), snapshots[-1])
    assert not torch.equal(snapshots[-1], snapshots[0])
    assert torch.equal(before[2], initial.bfloat16())  # a copy
    assert torch.equal(runs.weights(1)[model.EMBEDDING].bfloat16(), snapshots[-1, 1])


def test_the_state_of_run_k_is_row_k():
    runs = start((1, 2, 3))
    runs.block(windows(2), rates(2))
    alone = start((2, 2, 2))
    alone.block(windows(2)[:, [1, 1, 1]], rates(2))
    for name, value in runs.state.items():
        own, other = (value, alone.state[name]) if value.ndim == 0 else (value[1], alone.state[name][1])
        assert torch.equal(own, other), name


# Flat buffers, torch's settings, refusals


def test_gaps_between_parameters_stay_empty():
    runs = start(model=replace(SHAPE, width=10))
    runs.block(windows(10), rates(10))
    for k in range(3):
        for weight in runs.weights(k).values():
            weight.zero_()
    assert not any(runs.state[f"parameters.{i}"].any() for i in range(2))
    assert sum(runs.state[f"parameters.{i}"][0].numel() for i in range(2)) > sum(
        weight.numel() for weight in runs.weights(0).values()
    )


def test_torchs_switches_are_not_touched_on_a_cpu(monkeypatch):
    """They are the process's, and several runs may be trained in threads of it."""
    before, during, losses = torch_switches(), [], gpt2.losses
    monkeypatch.setattr(gpt2, "losses", lambda *them: during.append(torch_switches()) or losses(*them))
    start().block(windows(1), rates(1))
    grad = len(before) - 1
    assert [switches[:grad] for switches in during] == [before[:grad]]
    assert torch_switches() == before


@pytest.mark.parametrize(
    ("starts", "at", "message"),
    [
        (windows(2), rates(3), r"windows \(2, 3, 4\) for 3 learning rates; expected \(n, 3, 4\), n from 1 to 256"),
        (windows(2, K=2), rates(2), r"expected \(n, 3, 4\)"),
        (windows(2, B=5), rates(2), r"expected \(n, 3, 4\)"),
        (windows(0), [], r"n from 1 to 256"),
        (windows(257), rates(257), r"n from 1 to 256"),
        (windows(1) * 0 - 1, rates(1), "a window starts outside 0 to 487"),
        (windows(1) * 0 + 488, rates(1), "a window starts outside 0 to 487"),
    ],
)
def test_refusals_of_a_block(starts, at, message):
    with pytest.raises(ValueError, match=message):
        start().block(starts, at)


def test_the_last_window_of_the_corpus_counts():
    start().block(windows(1) * 0 + 487, rates(1))


def test_runs_of_other_settings_are_refused():
    settings = settings_of((1,)) + settings_of((2,), learning_rate=2e-3)
    with pytest.raises(ValueError, match="only in their seed"):
        StackedRuns(CORPUS, settings, "cpu")


def test_a_block_of_large_snapshots_is_short():
    """Those of a block take no more than 64 MB."""
    runs = start((1, 2), model=replace(SHAPE, vocabulary_size=2000, width=256, layers=1), batch_size=1)
    assert runs.block_steps == 64_000_000 // (2 * 2 * 2000 * 256)
    *_, snapshots = runs.block(windows(1, K=2, B=1), rates(1))
    assert snapshots.nbytes * runs.block_steps <= 64e6
