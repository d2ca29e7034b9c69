"""Parameters: names, shapes and distribution as transformers', and a checkpoint that it loads."""

import json
import math
from dataclasses import replace

import pytest
import reference
import torch
from blackholes.kernels import gpt2
from blackholes.training import model
from blackholes.training.settings import Init, Model
from safetensors.torch import load_file
from transformers import GPT2LMHeadModel

REAL = reference.settings().model
POINT = Init(mode="qwen", unit_norm=False, sigma=None, drawn_in=None)
APART = replace(POINT, mode="normal")
NOISE = Init(mode="noise", unit_norm=True, sigma=1e-5, drawn_in="float32")
CONTROL = replace(NOISE, drawn_in="bfloat16")
SMALL = Model(vocabulary_size=20, context=12, width=16, layers=3, heads=2)


@pytest.mark.parametrize("shape", [REAL, SMALL])
def test_names_order_and_shapes_as_in_transformers(shape):
    theirs = {name: tuple(weight.shape) for name, weight in reference.empty_model(shape).named_parameters()}
    assert list(model.shapes(shape).items()) == list(theirs.items())


def test_the_default_model_has_116_480_parameters():
    assert sum(math.prod(shape) for shape in model.shapes(REAL).values()) == 116_480


def test_weight_decay_applies_as_in_the_trainer(tmp_path):
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
        drawn = model.initialise(REAL, APART, seed), dict(reference.empty_model(REAL).named_parameters())
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
    weights = model.initialise(REAL, POINT, 1)
    rows = weights[model.EMBEDDING]
    assert rows.equal(rows[:1].expand_as(rows))
    assert rows.is_contiguous()  # 128 rows of their own, not one seen 128 times
    points = torch.stack([model.initialise(REAL, POINT, seed)[model.EMBEDDING][0] for seed in range(100)])
    assert abs(points.mean()) < 5 / math.sqrt(points.numel())
    assert abs(points.std() - 1) < 5 / math.sqrt(2 * points.numel())
    others = model.initialise(REAL, APART, 1)
    assert all(weights[name].equal(others[name]) for name in weights if name != model.EMBEDDING)


def test_normal_starts_tokens_apart():
    assert len(model.initialise(REAL, APART, 1)[model.EMBEDDING].unique(dim=0)) == 128


def redrawn(shape, seed):
    """The weights in the order in which they are drawn, and the generator after them."""
    draw, weights = torch.Generator().manual_seed(seed), {}
    for name, sizes in model.shapes(shape).items():
        if ".ln_" not in name and name.endswith(".weight"):
            scale = 0.02 / math.sqrt(2 * shape.layers) if "c_proj" in name else 0.02
            weights[name] = torch.randn(sizes, generator=draw) * scale
    return weights, draw


@pytest.mark.parametrize("shape", [REAL, SMALL])
def test_weights_are_drawn_in_order_and_the_point_after_them(shape):
    """So a seed gives every mode the same weights, and the same point."""
    weights, draw = redrawn(shape, 7)
    apart, at_a_point = (model.initialise(shape, init, 7) for init in (APART, POINT))
    assert all(apart[name].equal(weight) for name, weight in weights.items())
    point = torch.randn(shape.width, generator=draw)
    rows = at_a_point.pop(model.EMBEDDING)
    assert rows.equal(point.expand_as(rows))
    assert all(at_a_point[name].equal(apart[name]) for name in at_a_point)


@pytest.mark.parametrize("mode", ["qwen", "noise"])
def test_unit_norm_divides_the_point_by_its_norm(mode):
    init = {"qwen": POINT, "noise": replace(NOISE, sigma=1e-30)}[mode]
    point, unit = (
        model.initialise(REAL, replace(init, unit_norm=unit), 1)[model.EMBEDDING][0].double() for unit in (False, True)
    )
    error = 1e-6 if mode == "qwen" else 2**-8  # noise is rounded to bfloat16
    assert abs(unit.norm() - 1) < error
    assert (unit - point / point.norm()).norm() < error


@pytest.mark.parametrize("mode", ["qwen", "noise"])
@pytest.mark.parametrize("norm", [0.157, 8.201394])
def test_the_point_is_scaled_to_a_norm_and_keeps_its_direction(mode, norm):
    init = {"qwen": POINT, "noise": replace(NOISE, sigma=1e-30, unit_norm=False)}[mode]
    point, scaled = (
        model.initialise(REAL, replace(init, norm=to), 1)[model.EMBEDDING][0].double() for to in (None, norm)
    )
    error = 1e-6 if mode == "qwen" else 2**-8  # noise is rounded to bfloat16
    assert abs(scaled.norm() / norm - 1) < error
    assert (scaled / norm - point / point.norm()).norm() < error


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("sigma", [1e-5, 0.3])
def test_noise_is_added_in_float32_and_rounded_once(unit, sigma):
    _, draw = redrawn(REAL, 5)
    point = torch.randn(64, generator=draw)
    if unit:
        point = point / point.norm()
    noise = torch.randn(128, 64, generator=draw)
    rows = model.initialise(REAL, replace(NOISE, unit_norm=unit, sigma=sigma), 5)[model.EMBEDDING]
    assert rows.equal((point + sigma * noise).to(torch.bfloat16).float())


@pytest.mark.parametrize("sigma", [1e-5, 0.3])
def test_the_control_rounds_before_it_adds(sigma):
    _, draw = redrawn(REAL, 5)
    point = torch.randn(64, generator=draw)
    point = (point / point.norm()).to(torch.bfloat16)
    noise = torch.randn(128, 64, generator=draw, dtype=torch.bfloat16) * sigma
    assert noise.dtype == torch.bfloat16
    rows = model.initialise(REAL, replace(CONTROL, sigma=sigma), 5)[model.EMBEDDING]
    assert rows.equal((point + noise).float())


@pytest.mark.parametrize("init", [NOISE, CONTROL], ids=["float32", "bfloat16"])
def test_noise_has_its_scale_and_is_of_each_token_and_dimension(init):
    init = replace(init, sigma=0.5, unit_norm=False)
    points = torch.stack([model.initialise(REAL, POINT, seed)[model.EMBEDDING] for seed in range(20)])
    noise = torch.stack([model.initialise(REAL, init, seed)[model.EMBEDDING] for seed in range(20)]) - points
    assert abs(noise.mean()) < 5 * 0.5 / math.sqrt(noise.numel())
    assert abs(noise.std() - 0.5) < 5 * 0.5 / math.sqrt(2 * noise.numel()) + 1e-4  # 1e-4: rounding adds a variance
    for dim, count in ((1, 128), (2, 64)):  # the mean over tokens, over dimensions, is of independent draws
        assert noise.mean(dim).std() == pytest.approx(0.5 / math.sqrt(count), rel=0.15)
    others = model.initialise(REAL, POINT, 3)
    ours = model.initialise(REAL, init, 3)
    assert all(ours[name].equal(others[name]) for name in ours if name != model.EMBEDDING)


@pytest.mark.parametrize(("init", "mean", "spread"), [(NOISE, 42.7, 8.5), (CONTROL, 16.7, 14.9)], ids=["f32", "bf16"])
def test_as_many_distinct_rows_as_published(init, mean, spread):
    """Among 51 dead tokens, over 32 runs each; published values of the notebooks, within three standard errors."""
    rows = [model.initialise(REAL, init, seed)[model.EMBEDDING][:51] for seed in range(43, 43 + 32)]
    counts = torch.tensor([len(row.unique(dim=0)) for row in rows]).double()
    assert abs(counts.mean() - mean) < 3 * math.sqrt((counts.var() + spread**2) / 32)
    assert 0.5 < counts.std() / spread < 2


@pytest.mark.parametrize("init", [APART, POINT, NOISE, CONTROL], ids=["normal", "qwen", "noise", "control"])
def test_a_seed_fixes_every_bit(init):
    one, again, other = (model.initialise(SMALL, init, seed) for seed in (7, 7, 8))
    torch.manual_seed(0)
    assert all(one[name].equal(again[name]) for name in one)
    assert {weight.dtype for weight in one.values()} == {torch.float32}
    drawn = [name for name in one if name.endswith(".weight") and ".ln_" not in name]
    assert not any(one[name].equal(other[name]) for name in drawn)


def test_another_init_is_refused():
    with pytest.raises(ValueError, match="'zero' is not one of 'normal', 'qwen', 'noise'"):
        model.initialise(SMALL, replace(POINT, mode="zero"), 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_transformers_loads_the_checkpoint(tmp_path, dtype):
    weights = {name: weight.to(dtype) for name, weight in model.initialise(SMALL, APART, 3).items()}
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
