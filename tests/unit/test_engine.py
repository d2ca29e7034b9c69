"""The training engine against transformers.Trainer, and what it promises about windows, bytes and failures."""

import csv
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import reference
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.kernels import bf16, gpt2
from blackholes.training import cpu, engine, learnt, model, optimizer, resume, stacked, windows
from blackholes.training.interface import Runs
from blackholes.training.settings import Model
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import GPT2LMHeadModel

SMALL = Model(vocabulary_size=20, context=12, width=16, layers=2, heads=2)
NOISE = np.random.default_rng(0).integers(0, 20, 500).astype(np.uint8)


pytestmark = pytest.mark.usefixtures("one_thread")


def small(**changes) -> dict:
    return reference.settings(**{"steps": 5, "batch_size": 3, "model": SMALL} | changes)


def states(token_ids, settings, **arguments) -> list[tuple[engine.Step, dict]]:
    """Every step with a copy of its weights."""
    return [
        (step, {name: weight.detach().clone() for name, weight in step.weights.items()})
        for step in engine.train(token_ids, settings, **arguments)
    ]


def drawn(count, seed, n) -> list[int]:
    """The first n indices of windows: pass after pass, each a permutation of its own."""
    passes = range(-(-n // count))
    return [int(i) for number in passes for i in np.random.default_rng([seed, number]).permutation(count)][:n]


def same_windows(token_ids, settings):
    """The windows (steps · B, T + 1) that the engine is to train on, in order."""
    context = settings.model.context
    starts = drawn(len(token_ids) - context, settings.seed, settings.steps * settings.batch_size)
    return torch.tensor([token_ids[start : start + context + 1].tolist() for start in starts])


def both(settings, token_ids=NOISE):
    """Weights after every step of ours and of the Trainer's, from one initial state and on the same windows."""
    ours = states(token_ids, settings)
    network = reference.load_model(settings.model, ours[0][1], cpu.DTYPES[settings.precision])
    theirs = []

    def after(step, network):
        theirs.append({name: weight.detach().clone() for name, weight in network.named_parameters()})

    log = reference.train(network, same_windows(token_ids, settings), settings, after)
    return ours, theirs, log


# One step of transformers.Trainer, and more


@pytest.mark.parametrize("clip", [1e-3, 1e3])
@pytest.mark.parametrize(("offset", "divisor"), [(1, "targets"), (2, "targets"), (2, "tokens")])
@pytest.mark.parametrize("init", ["qwen", "normal"])
def test_a_step_in_float32_equals_the_trainers(init, offset, divisor, clip):
    """Adam's first step is rate · g / (|g| + ε), g clipped: where |g| is all rounding error, so is the step's sign.

    Compared are the elements whose exact gradient is above 1e-3 of its tensor's RMS and above 1e-6 of the whole
    norm, together to 1e-5 of their norm and one by one to 1e-4 of a step. They are nearly all, with two exceptions:
    attention ignores the bias of its keys, and while all embeddings are equal (qwen) no gradient gets past them.
    """
    changes = {"precision": "fp32", "init": init, "clip": clip, "steps": 1, "weight_decay": 0.1}
    settings = small(target_offset=offset, loss_divisor=divisor, **changes)
    (_, before), (step, after) = states(NOISE, settings)
    chunks = same_windows(NOISE, settings)
    network = reference.load_model(SMALL, before)
    (log,) = reference.train(network, chunks, settings)
    assert step.loss == pytest.approx(log["loss"], rel=1e-5)
    assert step.grad_norm == pytest.approx(log["grad_norm"], rel=1e-5)
    assert (step.grad_norm > clip) == (clip < 1)

    exact = {name: weight.double().requires_grad_() for name, weight in before.items()}
    gpt2.loss(exact, *windows.split_targets(chunks, offset), SMALL.heads).backward()
    checked = 0
    for name, theirs in network.named_parameters():
        size = exact[name].grad.abs()
        clear = size > max(1e-3 * size.square().mean().sqrt(), 1e-6 * step.grad_norm)
        checked += clear.sum().item()
        apart, spacing = (after[name] - theirs.detach())[clear], 2**-22 * before[name][clear].abs()
        assert (apart.abs() <= 1e-4 * settings.learning_rate + spacing).all(), name
        assert apart.norm() <= 1e-5 * theirs[clear].norm(), name
        assert not clear.any() or not after[name].equal(before[name]), name
    whole = SMALL.vocabulary_size * SMALL.width if init == "qwen" else sum(w.numel() for w in before.values())
    assert checked > 0.95 * whole


def test_forty_steps_in_float32_equal_the_trainers():
    """On 188 windows, so that the second pass begins in the middle of step 24's batch."""
    settings = small(precision="fp32", init="normal", steps=40, batch_size=8, learning_rate=3e-3)
    ours, theirs, log = both(settings, NOISE[:200])
    steps = [step for step, _ in ours[1:]]
    assert [step.step for step in steps] == list(range(1, 41))
    np.testing.assert_allclose([s.learning_rate for s in steps], [row["learning_rate"] for row in log], rtol=1e-12)
    np.testing.assert_allclose([s.loss for s in steps], [row["loss"] for row in log], rtol=1e-4)
    np.testing.assert_allclose([s.grad_norm for s in steps], [row["grad_norm"] for row in log], rtol=1e-3)
    for (_, weights), expected in zip(ours[1:], theirs, strict=True):
        apart = (weights[model.EMBEDDING] - expected[model.EMBEDDING]).norm() / expected[model.EMBEDDING].norm()
        assert apart < 1e-3


@pytest.mark.parametrize(
    ("init", "offset", "divisor", "equal", "near"),
    [
        ("qwen", 1, "targets", 0.999, 0.995),
        ("qwen", 2, "tokens", 0.999, 0.995),
        ("qwen", 2, "targets", 0.9, 0.95),  # 1/2032 is rounded, and gradients behind the embedding are its error, not 0
        ("normal", 1, "targets", 0.99, 0.995),
        ("normal", 2, "targets", 0.99, 0.995),
        ("normal", 2, "tokens", 0.99, 0.995),
    ],
)
def test_a_step_in_bfloat16_equals_the_trainers(init, offset, divisor, equal, near):
    """At the real shape, most elements are the Trainer's to the bit, and nearly all within one ULP.

    The keys' biases are left out: their true gradient is 0, and its rounding error picks the direction of the step.
    """
    settings = reference.settings(init=init, steps=1, target_offset=offset, loss_divisor=divisor)
    corpus = np.random.default_rng(1).integers(0, 77, 20_000).astype(np.uint8)
    ((_, _), (step, ours)), (theirs,), (log,) = both(settings, corpus)
    assert step.loss == pytest.approx(log["loss"], rel=1e-4)
    assert step.grad_norm == pytest.approx(log["grad_norm"], rel=2**-7)
    steps = [
        (bf16.ordinal(ours[name]) - bf16.ordinal(theirs[name])).abs().flatten()
        for name in ours
        if not name.endswith("c_attn.bias")
    ]
    steps = torch.cat(steps)
    assert (steps == 0).double().mean() > equal
    assert (steps <= 1).double().mean() > near


def test_bfloat16_is_the_dtype_of_all_that_is_kept():
    for precision, dtype in cpu.DTYPES.items():
        step, _ = states(NOISE, small(precision=precision, steps=1))[-1]
        assert {weight.dtype for weight in step.weights.values()} == {dtype}
        assert step.embedding.dtype == torch.bfloat16


# The divisor of the loss


@pytest.mark.parametrize("optimizer", [{"optimizer": "adamw"}, {"optimizer": "sgd", "momentum": 0.9}], ids=str)
@pytest.mark.parametrize("precision", ["bf16", "mixed", "fp32"])
@pytest.mark.parametrize("name", ["compiled", "torch"])
def test_both_divisors_give_the_same_bytes_where_every_token_has_a_target(name, precision, optimizer):
    def trained(offset, divisor):
        changes = {"precision": precision, "init": "normal", "engine": name, "batch_split": 2} | optimizer
        return states(NOISE, small(target_offset=offset, loss_divisor=divisor, **changes))

    next_tokens = zip(trained(1, "targets"), trained(1, "tokens"), strict=True)
    for (step, weights), (other, others) in next_tokens:
        assert (step.loss, step.grad_norm) == (other.loss, other.grad_norm) or step.step == 0
        assert all(weight.equal(others[parameter]) for parameter, weight in weights.items())
    targets, tokens = trained(2, "targets"), trained(2, "tokens")
    assert tokens[1][0].loss == pytest.approx(11 / 12 * targets[1][0].loss, rel=1e-6)
    assert not targets[-1][1][model.EMBEDDING].equal(tokens[-1][1][model.EMBEDDING])


@pytest.mark.parametrize("name", ["compiled", "torch"])
def test_only_a_power_of_two_divides_exactly(name):
    """From one point (qwen) the exact gradient of all parameters but the embedding is 0: see docs/loss_divisor.md.

    The gradients of a position's 128 equal logits are 127 times 1/128 and once −127/128, over the divisor.
    """
    shape = {"vocabulary_size": 128, "context": 16, "width": 16}
    for divisor, moves in {"tokens": False, "targets": True}.items():  # 64 and 60
        changes = {"steps": 1, "batch_size": 4, "target_offset": 2, "weight_decay": 0.0, "model": shape}
        (_, before), (_, after) = states(NOISE, small(engine=name, loss_divisor=divisor, **changes))
        assert not after[model.EMBEDDING].equal(before[model.EMBEDDING])
        others = [parameter for parameter in before if parameter != model.EMBEDDING]
        assert any(not after[parameter].equal(before[parameter]) for parameter in others) is moves


# Windows


def test_the_order_of_windows():
    order = windows.window_order(10, 4, 43)
    assert np.concatenate([next(order) for _ in range(8)]).tolist() == drawn(10, 43, 32)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**31), st.integers(1, 5))
@hypothesis_settings(max_examples=60)
def test_windows_are_drawn_without_replacement(count, batch, seed, passes):
    batch = min(batch, count)
    order, again = windows.window_order(count, batch, seed), windows.window_order(count, batch, seed)
    batches = [next(order) for _ in range(-(-passes * count // batch))]
    assert all(len(indices) == batch for indices in batches)
    assert all((indices == next(again)).all() for indices in batches)
    drawn = np.concatenate(batches)
    for start in range(0, passes * count, count):  # a pass goes on in the middle of a batch
        assert sorted(drawn[start : start + count]) == list(range(count))


def test_passes_and_seeds_differ():
    """All of them: the second pass of one seed is not the first of the next either."""
    orders = [windows.window_order(100, 100, seed) for seed in (1, 2, 3)]
    assert len({tuple(next(order)) for order in orders for _ in range(3)}) == 9


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(1, [[1, 2, 3], [5, 6, 7]]), (2, [[2, 3, -1], [6, 7, -1]])],
)
def test_targets_are_tokens_at_the_offset(offset, expected):
    tokens, targets = windows.split_targets(torch.arange(8).view(2, 4), offset)
    assert tokens.tolist() == [[0, 1, 2], [4, 5, 6]]
    assert targets.tolist() == expected
    assert tokens.is_contiguous()
    assert targets.is_contiguous()


def test_training_uses_these_windows():
    settings = small(precision="fp32", steps=1)
    (_, before), (step, _) = states(NOISE, settings)
    tokens, targets = windows.split_targets(same_windows(NOISE, settings), 1)
    assert step.loss == pytest.approx(gpt2.loss(before, tokens, targets, 2).item(), rel=1e-6)


# Clipping and buffers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [0.0, 0.5, 3.0, 1e4])
def test_clip(dtype, size):
    gradients = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    gradients = (gradients * (size / gradients.norm())).to(dtype)
    before = gradients.clone()
    exact = before.double().norm().item()
    assert optimizer.clip(gradients, 1.0) == pytest.approx(exact, rel=1e-6)
    if size < 1:
        assert gradients.equal(before)
    else:
        rounding = {4: 1e-6, 2: 2**-8}[dtype.itemsize]
        torch.testing.assert_close(gradients.double(), before.double() / exact, rtol=rounding + 2e-6, atol=0)


@pytest.mark.parametrize("limit", [1e-3, 1.0, 3.0])
def test_clip_in_float32_is_torchs_to_the_bit(limit):
    """Which adds 1e-6 to the norm before it divides."""
    gradients = torch.randn(20, 1000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 0, 20)[:, None]
    for ours in gradients:
        theirs = torch.zeros(1000)
        theirs.grad = ours.clone()
        norm = torch.nn.utils.clip_grad_norm_(theirs, limit, foreach=False)
        assert optimizer.clip(ours, limit) == norm.item()
        assert ours.equal(theirs.grad)


def test_clip_passes_non_finite_values():
    for value in (torch.nan, torch.inf):
        assert not np.isfinite(optimizer.clip(torch.tensor([1.0, value]), 1.0))


def test_named_parameters_are_views_of_flat_buffers():
    shape = reference.settings().model
    parameters = cpu.Parameters(model.initialise(shape, reference.settings(init="normal").init, 1), torch.float32)
    assert sum(weight.numel() for weight in parameters.weights.values()) == 116_480
    for i, flat in enumerate(parameters.flat):
        flat.fill_(i + 1)
        flat.grad.fill_(i + 3)
    for name, weight in parameters.weights.items():
        assert (weight == (1 if model.decays(name) else 2)).all(), name
        assert (parameters.gradients[name] == (3 if model.decays(name) else 4)).all(), name
        assert weight.data_ptr() % 64 == parameters.flat[0].data_ptr() % 64
    places = [weight.data_ptr() for weight in parameters.weights.values()]
    ends = [weight.data_ptr() + weight.nbytes for weight in parameters.weights.values()]
    assert len(set(places)) == len(places)
    assert all(a >= b for a, b in zip(sorted(places)[1:], sorted(ends)[:-1], strict=True))  # none overlaps


def test_padding_is_never_trained(monkeypatch):
    made = []

    class Kept(cpu.Parameters):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(cpu, "Parameters", Kept)
    states(NOISE, small(model={"width": 10}, steps=20, init="normal"))  # 10 does not fill a cache line
    (parameters,) = made
    padding = sum(flat.numel() for flat in parameters.flat) - sum(w.numel() for w in parameters.weights.values())
    assert padding > 0
    for weight in parameters.weights.values():
        weight.zero_()
    assert not any(flat.any() for flat in parameters.flat)


# Runs, bytes and files


def write(folder, corpus=None, **changes):
    how = {key: changes.pop(key) for key in ("checkpoint_seconds", "progress", "log") if key in changes}
    settings = small(**changes)
    if corpus is None:
        corpus = folder.parent / "tokens.safetensors"
        write_corpus(corpus, NOISE)
    engine.write_runs(str(corpus), [run_files(folder)], [settings], metadata={"digest": "d"}, **how)
    return settings


def run_files(folder):
    checkpoint = folder / "model"
    return engine.RunFiles(
        folder / "embedding_evolution.safetensors",
        folder / "training_log.csv",
        checkpoint / "config.json",
        checkpoint / "model.safetensors",
    )


def write_corpus(path, token_ids, vocabulary=20):
    counts = np.bincount(token_ids, minlength=vocabulary).astype(np.int64)
    write_tensors(path, {"token_ids": token_ids, "token_counts": counts, "dead_mask": counts == 0})


def files(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("precision", cpu.DTYPES)
@pytest.mark.parametrize("steps", [1, 33, 300])
def test_files_of_a_run(tmp_path, precision, steps):
    folder = tmp_path / "run_001"
    settings = write(folder, steps=steps, precision=precision)
    assert sorted(files(folder)) == [
        "embedding_evolution.safetensors",
        "model/config.json",
        "model/model.safetensors",
        "training_log.csv",
    ]
    with open_tensors(folder / "embedding_evolution.safetensors") as file:
        assert file.keys() == ["embedding_history"]
        expected = {
            "device": "cpu",
            "digest": "d",
            "engine": "compiled",
            "precision": precision,
            "seed": "43",
            "threads": "1",
        }
        assert file.metadata == expected
        file.expect("embedding_history", torch.bfloat16, (steps + 1, 20, 16))
        history = file.rows("embedding_history")
    assert history[0].equal(model.initialise(SMALL, settings.init, settings.seed)[model.EMBEDDING].bfloat16())
    weights = load_file(folder / "model" / "model.safetensors")
    assert weights.keys() == model.shapes(SMALL).keys()
    assert history[-1].equal(weights[model.EMBEDDING].bfloat16())
    for i, (_, expected) in enumerate(states(NOISE, settings)):
        assert history[i].equal(expected[model.EMBEDDING].bfloat16()), i
    with open(folder / "training_log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "loss", "grad_norm", "learning_rate"]
    assert [int(row["step"]) for row in rows] == list(range(1, steps + 1))
    assert float(rows[0]["learning_rate"]) == settings.learning_rate
    assert float(rows[-1]["learning_rate"]) == pytest.approx(settings.learning_rate / steps)
    network, report = GPT2LMHeadModel.from_pretrained(folder / "model", output_loading_info=True)
    assert not any(report.values())
    assert network.transformer.wte.weight.equal(weights[model.EMBEDDING])


def test_the_same_settings_write_the_same_bytes(tmp_path):
    folders = [tmp_path / name for name in ("one", "again", "other")]
    for folder, seed in zip(folders, (44, 44, 45), strict=True):
        write(folder, seed=seed)
    one, again, other = map(files, folders)
    assert one == again
    assert {name for name in one if one[name] == other[name]} == {"model/config.json"}


def test_bytes_do_not_depend_on_the_run_before(tmp_path):
    write(tmp_path / "alone")
    torch.manual_seed(99)
    states(NOISE, small(seed=7, precision="fp32", batch_split=2), threads=2)
    write(tmp_path / "after")
    assert files(tmp_path / "alone") == files(tmp_path / "after")


@pytest.mark.parametrize("precision", cpu.DTYPES)
def test_divergence_names_the_step_and_leaves_the_last_good_parameters(tmp_path, precision):
    folder = tmp_path / "run_001"
    changes = {"learning_rate": 1e30, "steps": 300, "precision": precision}
    with pytest.raises(UserError, match=r"run_001: training diverged at step (\d+): .*now 1e\+30") as caught:
        write(folder, **changes)
    step = int(re.search(r"at step (\d+)", str(caught.value))[1])
    assert f"the parameters of step {step - 1}, the last good ones, are in {folder / 'diverged'}" in str(caught.value)
    left = {name for name in files(folder) if not name.startswith(".")}
    assert left == {"diverged/config.json", "diverged/model.safetensors"}
    good = load_file(folder / "diverged" / "model.safetensors")
    run = engine.train(NOISE, small(**changes))
    expected = [state.weights for _, state in zip(range(step), run, strict=False)][-1]
    assert all(good[name].equal(expected[name]) for name in expected)
    assert all(weight.isfinite().all() for weight in good.values())
    with pytest.raises(UserError, match=f"training diverged at step {step}:"):
        states(NOISE, small(**changes))


@pytest.mark.parametrize("precision", cpu.DTYPES)
def test_an_embedding_that_is_not_finite_is_a_divergence(tmp_path, monkeypatch, precision):
    """After the last step, where no loss shows it."""
    folder = tmp_path / "run_001"
    monkeypatch.setattr(engine, "learning_rate", lambda settings, step: 1e39 if step == 3 else 1e-3)
    with pytest.raises(UserError, match="run_001: training diverged at step 3: an embedding is not finite; the par"):
        write(folder, steps=3, precision=precision)
    assert {name for name in files(folder) if not name.startswith(".")} == {
        "diverged/config.json",
        "diverged/model.safetensors",
    }
    good = load_file(folder / "diverged" / "model.safetensors")
    _, _, (_, expected) = states(NOISE, small(steps=2, precision=precision))
    assert all(good[name].equal(expected[name]) for name in expected)
    with pytest.raises(UserError, match="training diverged at step 3: an embedding is not finite; a smaller"):
        states(NOISE, small(steps=3, precision=precision))


class Killed(BaseException):
    """What no code handles, in place of a SIGKILL."""


def kill(k):
    """Progress that ends the job after its third step."""

    def tick(done, total, more):
        if done > 3:
            raise Killed

    return tick


def test_a_state_is_saved_when_its_history_is_on_the_disk(tmp_path, disk_calls):
    """A power cut may take what no fsync followed, and a state must not know of steps that the history has lost."""
    folder = tmp_path / "run_001"
    write(folder, steps=40, checkpoint_seconds=1e-9)
    history = run_files(folder).history.stat().st_ino
    calls = [(call, inode == history, path) for call, inode, path in disk_calls]
    saves = [i for i, (call, _, path) in enumerate(calls) if call == "replace" and path.name == resume.NAME]
    assert len(saves) > 3
    for i in saves:
        assert [call for call, of_history, _ in calls[:i] if of_history][-1] == "fsync"


def test_a_state_of_other_seeds_is_refused(tmp_path):
    with pytest.raises(Killed):
        write(tmp_path / "run", seed=43, steps=40, checkpoint_seconds=1e-9, progress=kill)
    said = []
    write(tmp_path / "run", seed=44, steps=40, log=said.append)
    (line,) = [line for line in said if "checkpoint" in line]
    assert line.startswith(f"checkpoint not used: {tmp_path / 'run' / resume.NAME}: seeds differ from this job's")
    write(tmp_path / "undisturbed", seed=44, steps=40)
    assert files(tmp_path / "run") == files(tmp_path / "undisturbed")


def test_files_of_a_divergence_are_deleted_after_success(tmp_path):
    folder = tmp_path / "run_001"
    with pytest.raises(UserError, match="diverged"):
        write(folder, learning_rate=1e30, steps=300)
    write(folder, steps=3)
    write(tmp_path / "undisturbed", steps=3)
    assert files(folder) == files(tmp_path / "undisturbed")


def test_a_run_that_learns_nothing_says_so(tmp_path):
    """From tokens without any order there is nothing to learn; from a text of two tokens in turn there is."""
    said = []
    write(tmp_path / "run_001", steps=120, log=said.append)
    write_corpus(tmp_path / "turns.safetensors", np.tile(np.array([3, 4], np.uint8), 250))
    write(tmp_path / "run_002", tmp_path / "turns.safetensors", steps=120, learning_rate=0.01, log=said.append)
    assert [line for line in said if "warning" in line] == [f"run_001: {learnt.line(20)}"]


@pytest.mark.parametrize(
    ("length", "message"),
    [(12, "12 tokens are less than one window; expected at least 13"), (14, "batch_size: 3 .* at most 2")],
)
def test_a_corpus_that_is_too_short_is_named(tmp_path, length, message):
    corpus = tmp_path / "short.safetensors"
    write_corpus(corpus, NOISE[:length])
    with pytest.raises(UserError, match=f"short.safetensors: {message}"):
        write(tmp_path / "run", corpus)
    assert files(tmp_path / "run") == {}


def test_the_shortest_corpus_that_is_allowed():
    assert len(states(NOISE[:15], small())) == 6


def test_progress_shows_loss_and_holes_of_the_step(tmp_path):
    seen = []
    write_corpus(tmp_path / "tokens.safetensors", NOISE)

    def progress(k):
        return lambda done, total, more: seen.append((k, done, total, more()))

    settings = small()
    engine.write_runs(str(tmp_path / "tokens.safetensors"), [run_files(tmp_path / "a")], [settings], progress=progress)
    assert [line[0] for line in seen] == [0] * len(seen)
    assert [line[1] for line in seen] == sorted({line[1] for line in seen})
    assert [line[2] for line in seen] == [5] * len(seen)
    assert seen[-1][1] == 5
    (state, weights) = states(NOISE, settings)[-1]
    sizes = weights[model.EMBEDDING].unique(dim=0, return_counts=True)[1]
    holes = sizes[sizes > 1]
    assert seen[-1][3] == {"loss": state.loss, "holes": len(holes), "population": int(holes.sum())}


# What training does


@pytest.mark.parametrize("precision", cpu.DTYPES)
def test_training_learns_more_than_the_unigrams(precision):
    """On a text of period 10 over 8 tokens the next token is certain, and the unigram entropy is 2.03 nats."""
    text = np.tile(np.array([0, 1, 2, 3, 4, 5, 0, 6, 0, 7], np.uint8), 60)
    share = np.bincount(text) / len(text)
    entropy = -(share * np.log(share)).sum()
    settings = small(init="normal", precision=precision, steps=250, batch_size=8, learning_rate=1e-2)
    losses = [step.loss for step in engine.train(text, settings)][1:]
    assert losses[0] == pytest.approx(np.log(20), rel=0.05)
    assert np.mean(losses[-20:]) < 0.5 * entropy


def test_dead_tokens_stay_together_and_live_ones_leave():
    text = np.tile(np.array([0, 1, 2, 3, 4, 5, 0, 6, 0, 7], np.uint8), 60)
    (_, start), *_, (_, end) = states(text, small(steps=100))
    assert len(start[model.EMBEDDING].unique(dim=0)) == 1
    assert len(end[model.EMBEDDING][:8].unique(dim=0)) == 8
    assert len(end[model.EMBEDDING][8:].unique(dim=0)) < 12


# Engines, threads, pieces of a batch


@pytest.mark.parametrize("precision", cpu.DTYPES)
def test_the_engines_train_alike(precision):
    losses = []
    for name in ("compiled", "torch"):
        settings = small(precision=precision, init="normal", steps=3, engine=name)
        losses.append([step.loss for step in engine.train(NOISE, settings)][1:])
    np.testing.assert_allclose(*losses, rtol=1e-5 if precision == "fp32" else 2e-3)


def test_both_engines_have_the_interface():
    for runs in (cpu.CpuRun(NOISE, [small()]), stacked.StackedRuns(NOISE, [small()], "cpu")):
        assert isinstance(runs, Runs)
        (losses, norms, snapshots) = runs.to_host(runs.block(torch.zeros(2, 1, 3, dtype=torch.int64), [1e-3, 1e-3]))()
        assert (losses.shape, norms.shape, snapshots.shape) == ((2, 1), (2, 1), (2, 1, 20, 16))
        assert snapshots[-1].equal(runs.embeddings())
        assert runs.block_steps >= 2
        assert set(runs.weights(0)) == set(model.shapes(SMALL))
        assert set(runs.state) == {f"{n}.{i}" for n in ("parameters", "first", "second", "count") for i in range(2)}
    assert set(vars(Runs)["__abstractmethods__"]) == {"weights", "embeddings", "block", "to_host"}


@pytest.mark.parametrize(
    ("device", "name", "expected"),
    [
        ("cpu", "auto", "compiled"),
        ("cpu", "compiled", "compiled"),
        ("cpu", "torch", "torch"),
        ("cuda", "auto", "torch"),
        ("cuda:1", "torch", "torch"),
        ("mps", "auto", "torch"),
    ],
)
def test_the_engine_of_a_device(device, name, expected):
    assert engine.engine_on(device, name) == expected


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_the_compiled_engine_needs_a_cpu(device):
    line = f"training.engine: compiled is not allowed on {device}; expected auto or torch, or device cpu"
    with pytest.raises(UserError, match=f"^{line}$"):
        engine.engine_on(device, "compiled")
    with pytest.raises(UserError, match=f"^{line}$"):
        next(engine.train(NOISE, small(engine="compiled"), device))


def write_several(folder, threads, **changes):
    """The bytes that a job of three runs writes."""
    write_corpus(folder.parent / "tokens.safetensors", NOISE)
    settings = [small(seed=seed, **changes) for seed in (1, 2, 3)]
    runs = [run_files(folder / f"run_{k}") for k in range(3)]
    metadata = {"threads": str(threads)}  # as a job describes itself
    engine.write_runs(str(folder.parent / "tokens.safetensors"), runs, settings, threads=threads, metadata=metadata)
    return files(folder)


@pytest.mark.parametrize("changes", [{"batch_split": 2}, {"batch_split": 3}, {"engine": "torch"}, {}], ids=str)
def test_the_threads_of_a_job_never_enter_the_bytes(tmp_path, changes):
    expected = write_several(tmp_path / "1", 1, **changes)
    for threads in (2, 3, 5):
        assert write_several(tmp_path / str(threads), threads, **changes) == expected


def test_the_pieces_of_a_batch_and_the_engine_enter_them(tmp_path):
    folders = {name: tmp_path / name for name in ("plain", "split", "torch")}
    for folder, changes in zip(folders.values(), ({}, {"batch_split": 2}, {"engine": "torch"}), strict=True):
        write(folder, steps=30, init="normal", **changes)
    found = {}
    for name, folder in folders.items():
        with open_tensors(folder / "embedding_evolution.safetensors") as file:
            found[name] = file.rows("embedding_history")
            facts = file.metadata
        expected = {"plain": ("compiled", "1"), "split": ("compiled", "2"), "torch": ("torch", "1")}[name]
        assert (facts["engine"], facts["threads"]) == expected
    assert found["plain"][0].equal(found["split"][0])
    assert not found["plain"].equal(found["split"])
    assert not found["plain"].equal(found["torch"])


def test_a_run_of_the_torch_engine_on_a_cpu_does_not_depend_on_the_others(tmp_path, monkeypatch):
    """Nor is it stacked with them, since the sizes of a stack may change the order of sums."""
    sizes, stack = [], stacked.StackedRuns

    def counted(token_ids, settings, device):
        sizes.append(len(settings))
        return stack(token_ids, settings, device)

    monkeypatch.setattr(stacked, "StackedRuns", counted)
    together = write_several(tmp_path / "together", 2, engine="torch")
    settings = small(seed=2, engine="torch")
    engine.write_runs(str(tmp_path / "tokens.safetensors"), [run_files(tmp_path / "alone")], [settings])
    assert sizes == [1, 1, 1, 1]
    alone = files(tmp_path / "alone")
    assert alone == {name.removeprefix("run_1/"): data for name, data in together.items() if name.startswith("run_1/")}


@pytest.mark.parametrize("changes", [{}, {"engine": "torch"}], ids=str)
def test_an_engine_that_is_not_used_is_not_loaded(changes):
    """numba takes a second to load, and a GPU job needs none of it."""
    code = (
        "import sys; import numpy as np; from blackholes.training import engine\n"
        "from blackholes.training.settings import Init, Model, Rounding, RunSettings\n"
        f"next(engine.train(np.arange(40) % 20, {small(**changes)}))\n"
        "print(*(name for name in ('stacked', 'cpu') if f'blackholes.training.{name}' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == (["stacked"] if changes else ["cpu"])


def test_a_large_history_says_what_it_takes_and_is_refused_where_it_does_not_fit(tmp_path, monkeypatch):
    write_corpus(tmp_path / "tokens.safetensors", NOISE)
    monkeypatch.setattr(engine, "_LARGE", 1e5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=150_000))
    said, settings = [], small(steps=400)
    with pytest.raises(UserError, match=r"embedding_evolution\.safetensors: needs 0\.3 MB, but the disk has 0\.1 MB"):
        engine.write_runs(
            str(tmp_path / "tokens.safetensors"), [run_files(tmp_path / "run_001")], [settings], log=said.append
        )
    assert said[2:] == ["the history takes 0.00 GB on the disk, which has 0.00 GB left"]
    assert all(path.name.startswith(".") and not path.stat().st_size for path in (tmp_path / "run_001").iterdir())
