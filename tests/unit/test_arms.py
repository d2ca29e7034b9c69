"""Runs of both engines with stochastic rounding, compensation and untied embeddings: what becomes of equal rows.

Tokens 12 to 19 are dead. In `init: qwen` all rows are equal before training.
"""

import csv
from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.kernels import backends
from blackholes.runs import forces
from blackholes.training import engine, model
from blackholes.training import forces as recording
from blackholes.training.schedules import learning_rate
from blackholes.training.settings import Model, Rounding
from blackholes.training.windows import window_order
from transformers import GPT2LMHeadModel

SHAPE = Model(vocabulary_size=20, context=12, width=16, layers=2, heads=2)
CORPUS = np.random.default_rng(0).integers(0, 12, 500).astype(np.uint8)
DEAD = slice(12, 20)
ENGINES = pytest.mark.parametrize("name", ["compiled", "torch"])
ARMS = {
    "nearest": {},
    "weights": {"rounding": Rounding(weights="stochastic")},
    "state": {"rounding": Rounding(state="stochastic")},
    "kahan": {"compensation": "kahan"},
    "kahan, state": {"compensation": "kahan", "rounding": Rounding(state="stochastic")},
}


pytestmark = pytest.mark.usefixtures("one_thread")


def settings(**changes):
    return reference.settings(**{"steps": 8, "batch_size": 3, "learning_rate": 1e-2, "model": SHAPE} | changes)


def history(**changes):
    """(S, V, D)."""
    threads = changes.pop("threads", 1)
    return torch.stack([step.embedding for step in engine.train(CORPUS, settings(**changes), threads=threads)])


def distinct(rows) -> list[int]:
    """How many distinct dead rows there are at each step."""
    return [len(step[DEAD].unique(dim=0)) for step in rows]


@ENGINES
@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1}], ids=str)
def test_equal_rows_stay_equal_but_for_drawn_bits(name, optimizer):
    found = {arm: distinct(history(engine=name, **optimizer, **changes)) for arm, changes in ARMS.items()}
    assert found["nearest"] == found["kahan"] == [1] * 9
    assert found["weights"][0] == 1
    assert min(found["weights"][1:]) > 1  # from the first step on
    for arm in ("state", "kahan, state"):
        assert found[arm][:2] == [1, 1]  # the update is made before the state is rounded
        assert found[arm][-1] > 1


@ENGINES
@pytest.mark.parametrize("arm", ARMS)
def test_bytes_depend_on_the_seed_and_on_nothing_else(name, arm):
    """Not on the backend of the kernels, nor on threads; and each arm differs from rounding to nearest."""
    changes = {"engine": name, "batch_split": 2, "steps": 5}
    rows = history(**changes, **ARMS[arm])
    if name == "compiled":  # the torch engine uses one thread
        assert rows.equal(history(**changes, threads=2, **ARMS[arm]))
    with backends.torch_only():
        assert rows.equal(history(**changes, **ARMS[arm]))
    assert not rows[1:].equal(history(**changes, seed=44, **ARMS[arm])[1:])
    assert rows.equal(history(**changes)) is (arm == "nearest")


@ENGINES
@pytest.mark.parametrize("arm", ARMS)
def test_a_run_set_back_to_its_saved_state_goes_on_with_the_same_bytes(name, arm):
    own = settings(engine=name, **ARMS[arm])

    def started():
        return engine.start(CORPUS, [own], torch.device("cpu"), 1, "corpus")

    runs, windows = started()
    starts = torch.stack([next(windows) for _ in range(8)])
    runs.block(starts[:4], [1e-2] * 4)
    saved = {key: value.clone() for key, value in runs.state.items()}
    expected = [values.clone() for values in runs.block(starts[4:], [1e-2] * 4)]
    other, _ = started()
    for key, value in other.state.items():
        value.copy_(saved[key])
    assert all(a.equal(b) for a, b in zip(other.block(starts[4:], [1e-2] * 4), expected, strict=True))


@pytest.mark.parametrize("arm", ARMS)
def test_the_bits_of_stacked_runs_are_their_own(arm):
    """Together or alone; their sums may have other last bits, so the first step of equal rows is compared."""
    own = [settings(engine="torch", seed=seed, steps=1, **ARMS[arm]) for seed in (43, 44)]
    runs, windows = engine.start(CORPUS, own, torch.device("cpu"), 1, "corpus")
    _, _, together = runs.block(next(windows)[None], [1e-2])
    for k, one in enumerate(own):
        alone = history(engine="torch", seed=one.seed, steps=1, **ARMS[arm])[1]
        assert (together[0, k] == alone).double().mean() > 0.98


def test_a_step_with_drawn_bits_of_both_engines_is_nearly_the_same():
    """The gradients differ in their last bits, the drawn bits do not: with others a tenth of the values would."""
    one, other = (history(engine=name, init="normal", steps=1, **ARMS["weights"])[1] for name in ("compiled", "torch"))
    assert (one == other).double().mean() > 0.98
    third = history(engine="torch", init="normal", steps=1)[1]
    assert (one == third).double().mean() < 0.9


# Untied embeddings

UNTIED = {"model": replace(SHAPE, tied=False)}


@ENGINES
def test_untied_steps_are_the_trainers(name):
    """Ten steps in float32 from one state, on the same windows: all parameters, the output matrix among them."""
    own = settings(engine=name, precision="fp32", init="normal", steps=10, learning_rate=3e-3, **UNTIED)
    weights = [
        {key: value.detach().clone() for key, value in step.weights.items()} for step in engine.train(CORPUS, own)
    ]
    assert weights[0][model.OUTPUT].equal(weights[0][model.EMBEDDING])
    network = reference.load_model(own.model, weights[0])
    theirs = dict(network.named_parameters())
    assert theirs.keys() == weights[0].keys()
    assert model.OUTPUT in theirs
    order = window_order(len(CORPUS) - SHAPE.context, own.batch_size, own.seed)
    starts = np.concatenate([next(order) for _ in range(own.steps)])
    chunks = torch.from_numpy(CORPUS.astype(np.int64))[starts[:, None] + np.arange(SHAPE.context + 1)]
    reference.train(network, chunks, own)
    for key, value in weights[-1].items():
        if not key.endswith("c_attn.bias"):  # attention ignores the bias of its keys, whose gradient is rounding error
            moved = (theirs[key] - weights[0][key]).norm()
            assert (value - theirs[key]).norm() < 1e-3 * moved, key
    assert not weights[-1][model.OUTPUT].equal(weights[-1][model.EMBEDDING])


@ENGINES
def test_gradients_of_both_matrices_are_autograds(name):
    """A step of plain gradient descent is rate · gradient: here by autograd in float64, through `transformers`."""
    own = settings(engine=name, precision="fp32", init="normal", steps=1, optimizer="sgd", clip=1e9, **UNTIED)
    own = replace(own, weight_decay=0.0, learning_rate=1.0)
    before, after = (
        {key: value.detach().clone() for key, value in step.weights.items()} for step in engine.train(CORPUS, own)
    )
    network = reference.load_model(own.model, before).double()
    starts = next(window_order(len(CORPUS) - SHAPE.context, own.batch_size, own.seed))
    chunks = torch.from_numpy(CORPUS.astype(np.int64))[starts[:, None] + np.arange(SHAPE.context + 1)]
    network(**reference.labels(chunks, 1)).loss.backward()
    for key in (model.OUTPUT, model.EMBEDDING):
        exact = network.get_parameter(key).grad
        assert (before[key] - after[key] - exact).norm() < 1e-5 * exact.norm()


@ENGINES
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_untied_a_dead_input_row_moves_by_decay_alone(name, precision):
    def trained(decay):
        changes = {"precision": precision, "init": "normal", "weight_decay": decay, "steps": 20} | UNTIED
        steps = list(engine.train(CORPUS, settings(engine=name, **changes)))
        return [settings(**changes), *(step.weights for step in steps[-1:])]

    own, weights = trained(0.0)
    first = model.initialise(own.model, own.init, own.seed)[model.EMBEDDING].to(weights[model.EMBEDDING].dtype)
    assert weights[model.EMBEDDING][DEAD].equal(first[DEAD])
    assert not weights[model.EMBEDDING][:12].equal(first[:12])
    assert not weights[model.OUTPUT][DEAD].equal(first[DEAD])
    own, weights = trained(0.5)
    expected = first[DEAD].clone()
    for step in range(1, 21):
        expected = (expected.float() * (1 - learning_rate(own, step) * 0.5)).to(expected.dtype)
    moved = (weights[model.EMBEDDING][DEAD] - expected).abs().max() / expected.abs().max()
    assert moved < 1e-5
    assert not expected.equal(first[DEAD])


def test_a_tied_run_and_an_untied_one_start_from_the_same_function():
    own = settings(init="normal")
    tied, untied = (model.initialise(shape, own.init, own.seed) for shape in (SHAPE, UNTIED["model"]))
    assert {key: value for key, value in untied.items() if key != model.OUTPUT}.keys() == tied.keys()
    assert all(untied[key].equal(value) for key, value in tied.items())
    for name in ("compiled", "torch"):
        losses = [list(engine.train(CORPUS, settings(engine=name, steps=1, **each)))[1].loss for each in ({}, UNTIED)]
        assert losses[0] == losses[1]


def test_the_checkpoint_of_an_untied_run_has_both_matrices(tmp_path):
    own = settings(init="normal", steps=3, **UNTIED)
    *_, last = engine.train(CORPUS, own)
    model.write_checkpoint(tmp_path / "config.json", tmp_path / "model.safetensors", last.weights, own.model, {})
    network, report = GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert network.lm_head.weight.equal(last.weights[model.OUTPUT])
    assert network.transformer.wte.weight.equal(last.weights[model.EMBEDDING])
    assert not network.lm_head.weight.equal(network.transformer.wte.weight)
    assert network.config.tie_word_embeddings is False


# The law of the next weights, with drawn bits and with compensated sums


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("compiled", {}),
        ("compiled", {"optimizer": "sgd", "momentum": 0.9}),
        ("compiled", {"optimizer": "sgd"}),
        ("torch", {}),
        ("torch", {"optimizer": "sgd", "momentum": 0.9}),
    ],
    ids=str,
)
@pytest.mark.parametrize("arm", ARMS)
def test_every_next_weight_follows_from_the_forces(tmp_path, name, optimizer, arm):
    """From the files of a run, with what is drawn and what is kept computed again: no mismatch, and the same bytes."""
    rate = {"learning_rate": 0.1} if optimizer else {}
    own = settings(engine=name, init="normal", steps=12, seed=2**31 + 7, **optimizer, **rate, **ARMS[arm])
    counts = np.bincount(CORPUS, minlength=20)
    corpus = str(tmp_path / "tokens.safetensors")
    write_tensors(corpus, {"token_ids": CORPUS, "token_counts": counts, "dead_mask": counts == 0})
    paths = [tmp_path / file for file in ("history", "log.csv", "config.json", "model", "forces")]
    engine.write_runs(corpus, [engine.RunFiles(*paths)], [replace(own, forces="full")])
    files = forces.Files(paths[0], paths[4], paths[1], paths[3], corpus)
    forces.write(files, recording.rule(own), str(tmp_path / "freeze.csv"), str(tmp_path / "law.csv"))
    with open(tmp_path / "law.csv", newline="") as file:
        law = {row["check"]: (int(row["checked"]), int(row["mismatches"])) for row in csv.DictReader(file)}
    assert law["next weights"] == (12 * 20 * 16, 0)
    with open_tensors(paths[0]) as file:
        assert file.rows("embedding_history").equal(history(**{**vars(own), "init": "normal"}))
    with pytest.raises(UserError, match="next weights"):
        forces.write(
            files, recording.rule(own)._replace(**WRONG[arm]), str(tmp_path / "f.csv"), str(tmp_path / "l.csv")
        )


WRONG = {  # what another arm's law would say
    "nearest": {"drawn": 1},
    "weights": {"drawn": None},
    "state": {"drawn": 1},
    "kahan": {"compensated": False},
    "kahan, state": {"compensated": False},
}
