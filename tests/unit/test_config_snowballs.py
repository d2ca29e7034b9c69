"""Snowballs in the configuration: what a σ may be, and what is refused in which words."""

import re

import pytest
from blackholes.config import model as config
from blackholes.config.snowballs import Snowball
from blackholes.errors import UserError


def refusal(**keys):
    with pytest.raises(UserError) as caught:
        config.load({"snowballs": {"mine": keys}})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [
        (0.001, {"0.001": 0.001}),
        ("1e-8", {"1e-08": 1e-8}),
        (0, {"0": 0.0}),
        (-0.0, {"0": 0.0}),
        (3.281911e-3, {"0.003281911": 3.281911e-3}),
        ("global", {"global": "global"}),
        (["within", 1, 1.0], {"within": "within", "1": 1.0}),
        (["latent", {"range": "holes", "num": 2}], {w: w for w in ("latent", "holes_1of2", "holes_2of2")}),
        ({"from": 1e-9, "to": 1e-6, "num": 4}, {"1e-09": 1e-9, "1e-08": 1e-8, "1e-07": 1e-7, "1e-06": 1e-6}),
        ({"from": 0, "to": 1, "num": 3, "scale": "linear"}, {"0": 0.0, "0.5": 0.5, "1": 1.0}),
        ({"from": 1, "to": 10, "num": 3, "scale": "log"}, {"1": 1.0, "3.16228": 3.16228, "10": 10.0}),
        ([{"from": "1e-1", "to": "1", "num": "1"}, "within"], {"0.1": 0.1, "within": "within"}),
    ],
)
def test_allowed_sigmas(sigma, expected):
    found = Snowball(sigma=sigma).sigmas()
    assert found == expected
    assert all(
        re.fullmatch(r"within|global|latent|holes_\d+of\d+|[\d.e+-]+", label) for label in found
    )  # as the rules take them


def test_labels_are_numbers():
    sigmas = Snowball(sigma={"from": 1.23456789e-9, "to": 0.98765, "num": 40}).sigmas()
    assert len(sigmas) == 40
    assert all(float(label) == value for label, value in sigmas.items())
    assert list(sigmas.values()) == sorted(sigmas.values())


def test_adding_a_sigma_leaves_the_others_unchanged():
    few, more = Snowball(sigma=[0.1, "within"]), Snowball(sigma=[0.1, 0.01, "within"])
    assert few.settings() == more.settings()
    assert few.sigmas().items() < more.sigmas().items()


def test_the_defaults_are_a_sweep_with_both_words_around_the_default_checkpoint():
    loaded = config.load({})
    assert list(loaded.snowballs) == ["trained"]
    assert loaded.snowballs["trained"].centroid in loaded.checkpoints
    assert {"within", "global", "latent", "holes_1of9", "holes_9of9"} < set(loaded.snowballs["trained"].sigmas())
    assert not any(isinstance(sigma, float) for sigma in loaded.snowballs["trained"].sigmas().values())
    assert loaded.snowballs["trained"].permutations == 1000


def test_a_loaded_configuration_loads_again():
    loaded = config.load({"snowballs": {"mine": {"sigma": [{"from": 1, "to": 2, "num": 2}, "within"]}}})
    assert config.load(loaded.model_dump(mode="json")).snowballs == loaded.snowballs


@pytest.mark.parametrize(
    ("sigma", "label"),
    [
        *[(["within", 3, "global"], "global"), (["within", 3, 7, 5], "7"), ("within", "within"), ([0, "within"], "0")],
        *[(["within", "latent"], "latent"), (["within", {"range": "holes", "num": 3}], "holes_3of3")],
    ],
)
def test_the_sigma_whose_elements_are_shown(sigma, label):
    assert Snowball(sigma=sigma).shown() == label


@pytest.mark.parametrize(
    "sigma",
    [
        *(-1, -1e-9, 1001, float("nan"), float("inf"), True, None, "wihtin", [], [[1]], [1, -1]),
        {"from": 1, "to": 2},
        {"from": 0, "to": 1, "num": 3},
        {"from": 1, "to": 2, "num": 0},
        {"from": 1, "to": 2, "num": 3, "scale": "ln"},
        {"from": 1, "to": 2, "num": 3, "step": 1},
        {"range": "holes"},
        {"range": "holes", "num": 1},
        {"range": "cells", "num": 3},
        {"range": "holes", "num": 3, "from": 1},
    ],
)
def test_a_sigma_that_is_refused(sigma):
    line = refusal(sigma=sigma)
    assert line.startswith("snowballs.mine.sigma: ")
    assert line.endswith(
        "is not allowed; expected a number from 0 up to 1000, `within`, `global`, `latent`, {range: holes, num}, "
        "{from, to, num, scale: log or linear} (above 0 where log), or a list of these, at most 10,000 σ in all"
    )


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            {"centroid": "qwen"},
            "snowballs.mine.centroid: 'qwen' is not allowed; expected a checkpoint (trained), a .",
        ),
        ({"centroid": ""}, "snowballs.mine.centroid: '' is not allowed; expected the name of a checkpoint"),
        ({"centroid": {"dim": 3}}, "snowballs.mine.centroid: {'dim': 3} is not allowed; expected the name"),
        ({"centroid": {"dim": 0, "norm": 1}}, "snowballs.mine.centroid: {'dim': 0, 'norm': 1} is not allowed"),
        (
            {"centroid": {"dim": 3, "norm": 1}, "n_tokens": 9},
            "snowballs.mine.sigma: 'within' is not allowed; expected numbers where centroid is {dim, norm, seed}",
        ),
        (
            {"centroid": {"dim": 3, "norm": 1}, "sigma": 1},
            "snowballs.mine.n_tokens: 'auto' is not allowed; expected an integer where centroid is {dim, norm, seed}",
        ),
        ({"n_trials": 0}, "snowballs.mine.n_trials: 0 is not allowed; expected integer from 1 up to 10000000"),
        ({"permutations": -1}, "snowballs.mine.permutations: -1 is not allowed; expected integer from 0 up to 1000000"),
        ({"n_tokens": 16385}, "snowballs.mine.n_tokens: 16385 is not allowed; expected `auto`, or an integer from 1"),
        ({"epsilon": 0}, "snowballs.mine.epsilon: 0 is not allowed; expected `auto`, or a number above 0"),
        ({"sigmas": 1}, "snowballs.mine.sigmas: unknown key (value 1); did you mean sigma?"),
    ],
)
def test_other_keys(keys, line):
    assert refusal(**keys).startswith(line)


@pytest.mark.parametrize(("permutations", "jobs"), [(0, 0), (1, 1), (500, 1), (501, 2), (1000, 2)])
def test_permutations_are_divided_among_jobs(permutations, jobs):
    assert Snowball(permutations=permutations).permutation_jobs() == jobs


def test_entries_can_be_left_out():
    assert config.load({"snowballs": {"trained": False}}).snowballs == {}
    assert config.load({"checkpoints": {"trained": False}, "snowballs": {"trained": False}}).checkpoints == {}
    with pytest.raises(UserError, match=r"`snowballs: \{trained: false\}` removes it$"):
        config.load({"checkpoints": {"trained": False}})


def test_a_file_needs_no_checkpoint():
    loaded = config.load({"checkpoints": {}, "snowballs": {"mine": {"centroid": "~/my.safetensors", "sigma": 1}}})
    assert loaded.snowballs["mine"].settings()["centroid"] == "~/my.safetensors"
