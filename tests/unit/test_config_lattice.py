"""The configuration of `lattice`: what goes with which experiment, what is refused in which words."""

import copy
from pathlib import Path

import pytest
import yaml
from blackholes.config import model as config
from blackholes.errors import UserError
from snakemake.utils import update_config

DEFAULTS = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text(encoding="utf-8"))


def load(overlay):
    merged = copy.deepcopy(DEFAULTS)
    update_config(merged, overlay)
    return config.load(merged)


def test_by_default_run_1_of_the_experiment_of_that_name():
    for loaded in (config.Config(), config.load({}), load({})):
        assert {name: entry.run for name, entry in loaded.lattice.items()} == {"qwen": "qwen/run_001"}
        assert loaded.lattice["qwen"].keep == ["delta_ordinal", "delta_W_prime", "exponent_crossings"]
        assert (loaded.lattice["qwen"].dtype, loaded.lattice["qwen"].memory_budget_gb) == ("auto", 2)


@pytest.mark.parametrize(
    ("overlay", "names"),
    [
        ({"lattice": {"qwen": False, "normal": {}}}, ["normal"]),
        ({"lattice": {"qwen": "false", "thimble": False}}, []),
        ({"experiments": {"qwen": False}, "lattice": {"normal": {}}}, ["normal"]),  # together with its experiment
        ({"experiments": {"normal": False}, "lattice": {"normal": {"keep": []}}}, ["qwen"]),
        ({"lattice": {"mine": {"path": "h.h5", "key": "E", "dead_mask": "t"}}}, ["qwen", "mine"]),
        ({"lattice": {"other": {"run": "normal/run_004"}}}, ["qwen", "other"]),
    ],
)
def test_entries(overlay, names):
    assert list(load(overlay).lattice) == names


def test_only_experiments_that_are_there():
    assert config.load({"experiments": {"a": {}}}).lattice == {}


@pytest.mark.parametrize(
    ("overlay", "line"),
    [
        (
            {"qewn": {}},
            "lattice.qewn.run: 'qewn/run_001' is not allowed; expected a run of the experiments qwen, normal; ",
        ),
        (
            {"a": {"run": "b/run_001"}},
            "lattice.a.run: 'b/run_001' is not allowed; expected a run of the experiments qwen",
        ),
        (
            {"a": {"run": "qwen/run_017"}},
            "lattice.a.run: 'qwen/run_017' is not allowed; expected run_001 to run_016 of",
        ),
        ({"a": {"run": "qwen"}}, "lattice.a.run: 'qwen' is not allowed; expected `<experiment>/run_<NNN>`"),
        ({"a": {"run": "qwen/run_001", "path": "x"}}, "lattice.a.path: 'x' is not allowed; expected null where run is"),
        ({"qwen": {"key": "W"}}, "lattice.qwen.key: 'W' is not allowed; expected null where path is not given"),
        ({"qwen": {"dead_mask": "x"}}, "lattice.qwen.dead_mask: 'x' is not allowed; expected null where path is not"),
        (
            {"qwen": {"dtype": "int4"}},
            "lattice.qwen.dtype: 'int4' is not allowed; expected auto, int8, int16, int32 or",
        ),
        ({"qwen": {"keep": ["W"]}}, "lattice.qwen.keep[0]: 'W' is not allowed; expected list of delta_ordinal, delta"),
        (
            {"qwen": {"keep": ["U", "U"]}},
            "lattice.qwen.keep: ['U', 'U'] is not allowed; expected list of delta_ordinal",
        ),
        (
            {"qwen": {"memory_budget_gb": 0}},
            "lattice.qwen.memory_budget_gb: 0 is not allowed; expected number from 0.05",
        ),
        ({"qwen": {"seed": -1}}, "lattice.qwen.seed: -1 is not allowed; expected integer from 0"),
        ({"qwen": {"token": -1}}, "lattice.qwen.token: -1 is not allowed; expected null, or a token's id"),
        ({"Qwen": {}}, "lattice.Qwen: 'Qwen' is not allowed; expected a name that starts with a lower-case letter"),
        ({"qwen": {"keys": 1}}, "lattice.qwen.keys: unknown key (value 1); did you mean key?"),
        ({"qwen": 3}, "lattice.qwen: 3 is not allowed; expected a mapping of keys"),
        (3, "lattice: 3 is not allowed; expected a mapping of histories"),
    ],
)
def test_refusals(overlay, line):
    with pytest.raises(UserError) as caught:
        load({"lattice": overlay})
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_refusal_says_how_to_leave_an_entry_out():
    with pytest.raises(UserError, match=r"`lattice: \{a: false\}` removes it$"):
        load({"lattice": {"a": {}}})
