"""Parameters: names, shapes and distribution as transformers', and a checkpoint that it loads."""

import json
import math

import pytest
import reference
import torch
from blackholes.kernels import gpt2
from blackholes.training import model
from safetensors.torch import load_file
from transformers import GPT2LMHeadModel

REAL = reference.settings()["model"]
SMALL = {"vocabulary_size": 20, "context": 12, "width": 16, "layers": 3, "heads": 2}


@pytest.mark.parametrize("shape", [REAL, SMALL])
def test_names_order_and_shapes_are_theirs(shape):
    theirs = {name: tuple(weight.shape) for name, weight in reference.empty_model(shape).named_parameters()}
    assert list(model.shapes(shape).items()) == list(theirs.items())


def test_the_default_model_has_116_480_parameters():
    assert sum(math.prod(shape) for shape in model.shapes(REAL).values()) == 116_480


def test_what_decays_is_what_the_trainer_decays(tmp_path):
    network = reference.empty_model(SMALL)
    trainer = reference.make_trainer(network, [0], reference.settings(), str(tmp_path), [])
    decayed, rest = trainer.create_optimizer().param_groups
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.01, 0.0)
    names = {id(weight): name for name, weight in network.named_parameters()}
    found = {names[id(weight)] for weight in decayed["params"]}
    assert found == {name for name in model.shapes(SMALL) if model.decays(name)}
    assert {names[id(weight)] for weight in rest["params"]} == set(names.values()) - found


def test_initial_weights_are_distributed_as_theirs():
    """Mean and standard deviation of each tensor, over 8 draws of both, within 5 standard errors of the difference."""
    ours, theirs = {}, {}
    for seed in range(8):
        torch.manual_seed(seed)
        drawn = model.initialise(REAL, "normal", seed), dict(reference.empty_model(REAL).named_parameters())
        for values, weights in zip((ours, theirs), drawn, strict=True):
            for name, weight in weights.items():
                values.setdefault(name, []).append(weight.detach().flatten())
    for name in ours:
        a, b = torch.cat(ours[name]).double(), torch.cat(theirs[name]).double()
        if b.std() == 0:  # biases and gains
            assert a.equal(b), name
            continue
        error = b.std().item() * math.sqrt(2 / len(b))
        assert abs(a.mean() - b.mean()) < 5 * error, name
        assert abs(a.std() - b.std()) < 5 * error / math.sqrt(2), name


def test_qwen_starts_every_token_at_one_point():
    weights = model.initialise(REAL, "qwen", 1)
    rows = weights[model.EMBEDDING]
    assert rows.equal(rows[:1].expand_as(rows))
    assert rows.is_contiguous()  # 128 rows of their own, not one seen 128 times
    points = torch.stack([model.initialise(REAL, "qwen", seed)[model.EMBEDDING][0] for seed in range(100)])
    assert abs(points.mean()) < 5 / math.sqrt(points.numel())
    assert abs(points.std() - 1) < 5 / math.sqrt(2 * points.numel())
    others = model.initialise(REAL, "normal", 1)
    assert all(weights[name].equal(others[name]) for name in weights if name != model.EMBEDDING)


def test_normal_starts_tokens_apart():
    assert len(model.initialise(REAL, "normal", 1)[model.EMBEDDING].unique(dim=0)) == 128


@pytest.mark.parametrize("init", ["normal", "qwen"])
def test_a_seed_fixes_every_bit(init):
    one, again, other = (model.initialise(SMALL, init, seed) for seed in (7, 7, 8))
    torch.manual_seed(0)
    assert all(one[name].equal(again[name]) for name in one)
    drawn = [name for name in one if name.endswith(".weight") and ".ln_" not in name]
    assert not any(one[name].equal(other[name]) for name in drawn)


def test_another_init_is_refused():
    with pytest.raises(ValueError, match="'zero' is not one of 'qwen', 'normal'"):
        model.initialise(SMALL, "zero", 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_transformers_loads_the_checkpoint(tmp_path, dtype):
    weights = {name: weight.to(dtype) for name, weight in model.initialise(SMALL, "normal", 3).items()}
    config, tensors = tmp_path / "config.json", tmp_path / "model.safetensors"
    model.write_checkpoint(config, tensors, weights, SMALL, {"seed": "3"})
    network, report = GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert {key: found for key, found in report.items() if found} == {}
    assert network.dtype == dtype
    assert network.lm_head.weight is network.transformer.wte.weight
    assert load_file(tensors).keys() == weights.keys()
    for name, weight in network.named_parameters():
        assert weight.equal(weights[name]), name
    assert json.loads(config.read_text())["vocab_size"] == 20

    network = network.double().eval()
    chunk = torch.randint(0, 20, (3, 13), generator=torch.Generator().manual_seed(0))
    logits = network(chunk[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten())
    exact = {name: weight.double() for name, weight in weights.items()}
    torch.testing.assert_close(gpt2.loss(exact, chunk[:, :-1], chunk[:, 1:], 2), expected, rtol=1e-12, atol=0)
