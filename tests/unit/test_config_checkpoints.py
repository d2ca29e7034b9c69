"""Checkpoints in the configuration: where they come from, and what is refused."""

import copy
from pathlib import Path

import pytest
import yaml
from blackholes.config import model as config
from blackholes.errors import UserError
from snakemake.utils import update_config

DEFAULTS = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text(encoding="utf-8"))
AUTO = {"lat": None, "lon": None, "r": None}
HUB = {"hub": "Qwen/Qwen3-4B-Instruct-2507", "revision": "cdbee75f17c01a7cc42f958dc650907174af0554"}
OUT = {"snowballs": {"trained": False}, "lattice": {"qwen": False, "thimble": False}}  # what needs experiments that go


def load(overlay):
    merged = copy.deepcopy(DEFAULTS)
    update_config(merged, overlay)
    return config.load(merged)


def checkpoint(**keys):
    return load({"checkpoints": {"mine": keys}}).checkpoints["mine"]


def refusal(**keys):
    with pytest.raises(UserError) as caught:
        checkpoint(**keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_default_is_what_the_first_run_writes():
    assert {name: entry.run for name, entry in load({}).checkpoints.items()} == {"trained": "qwen/run_001"}
    assert config.Config().checkpoints["trained"].run == "qwen/run_001"
    without = {"experiments": {"qwen": False, "thimble": False}, "lattice": OUT["lattice"]}
    assert load(without).checkpoints["trained"].run == "normal/run_001"


def test_sources():
    entry = checkpoint(path="models/x")
    assert (entry.run, entry.path, entry.tensor, entry.tokenizer) == (None, "models/x", "auto", "auto")
    assert checkpoint(run="normal/run_002").run == "normal/run_002"
    assert checkpoint(**HUB).hub == HUB["hub"]
    assert checkpoint(hub="gpt2", revision="main").revision == "main"


def test_of_an_untied_run_the_matrix_has_to_be_named():
    untied = {"experiments": {"normal": {"model": {"tied": False}}}}
    message = (
        "checkpoints.mine.tensor: 'auto' is not allowed; expected transformer.wte.weight (the input) or lm_head.weight "
        "(the output), since model.tied of normal is false"
    )
    for source in ({"run": "normal/run_001"}, {"path": "results/normal/run_001/model"}):
        with pytest.raises(UserError) as caught:
            load(untied | {"checkpoints": {"mine": source}})
        assert str(caught.value) == message
        named = load(untied | {"checkpoints": {"mine": source | {"tensor": "lm_head.weight"}}})
        assert named.checkpoints["mine"].tensor == "lm_head.weight"
    assert load(untied).checkpoints["trained"].tensor == "auto"  # of qwen, which is tied


@pytest.mark.parametrize(
    "path",
    [
        "results/normal/run_002/model",
        "./results/normal/run_002/model/",
        "results/normal/run_002/model/model.safetensors",
        str(Path("results/normal/run_002/model").absolute()),
    ],
)
def test_a_path_that_a_run_writes_is_that_run(path):
    entry = checkpoint(path=path)
    assert (entry.run, entry.path) == ("normal/run_002", None)


@pytest.mark.parametrize(
    "path",
    [
        "results/normal/run_099/model",
        "results/old/run_001/model",
        "/elsewhere/results/normal/run_001/model",
        "results/normal/run_001/model/config.json",
    ],
)
def test_any_other_path_is_a_path(path):
    entry = checkpoint(path=path)
    assert (entry.run, entry.path) == (None, path)


def test_false_leaves_one_out():
    overlay = {"checkpoints": {"trained": False, "mine": {"path": "x"}}, "snowballs": {"trained": False}}
    assert list(load(overlay).checkpoints) == ["mine"]
    assert load({"checkpoints": {"trained": "false"}, "snowballs": {"trained": False}}).checkpoints == {}


def test_boxes():
    assert checkpoint(path="x").box.model_dump() == AUTO
    assert checkpoint(path="x", box="auto").box.model_dump() == AUTO
    limits = {"lat": [-15, 5], "lon": [-10, 20], "r": [0.2, 0.5]}
    assert checkpoint(path="x", box=limits).box.model_dump(mode="json") == limits
    assert checkpoint(path="x", box={"lon": [170, -170]}).box.model_dump(mode="json") == AUTO | {"lon": [170, -170]}
    text = checkpoint(path="x", box={"r": ["0.2", "5e-1"]}, basis={"north": "-2"})  # as a command line hands it on
    assert (text.box.r, text.basis.north) == ((0.2, 0.5), -2)


def test_no_tokenizer():
    for null in (None, "null"):
        assert checkpoint(path="x", tokenizer=null).tokenizer is None


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"run": "qwen"}, "run: 'qwen' is not allowed; expected `<experiment>/run_<NNN>`"),
        ({"run": "qwen/run_017"}, "run: 'qwen/run_017' is not allowed; expected run_001 to run_016 of qwen"),
        (
            {"run": "qwen/run_001", "path": "x"},
            "path: 'x' is not allowed; expected null where run is given: one of run,",
        ),
        ({"path": "x", **HUB}, "hub: 'Qwen/Qwen3-4B-Instruct-2507' is not allowed; expected null where path is given"),
        (
            {"hub": "a/b"},
            "revision: null is not allowed; expected a commit (40 hexadecimal digits) or a tag, since hub",
        ),
        ({"path": "x", "revision": "main"}, "revision: 'main' is not allowed; expected null where hub is not given"),
        (
            {"hub": "a/b/c", "revision": "main"},
            "hub: 'a/b/c' is not allowed; expected `<owner>/<name>`, with a revision",
        ),
        ({"hub": "https://x", "revision": "main"}, "hub: 'https://x' is not allowed"),
        ({"hub": "a/b", "revision": "-x"}, "revision: '-x' is not allowed"),
        ({"path": ""}, "path: '' is not allowed; expected a path"),
        ({"tensor": ""}, "tensor: '' is not allowed; expected `auto`, or a tensor's name"),
        ({"tensor": None}, "tensor: null is not allowed"),
        ({"threshold": -1}, "threshold: -1 is not allowed; expected `auto`, or a number ≥ 0"),
        ({"threshold": float("nan")}, "threshold: nan is not allowed"),
        ({"memory_budget_gb": 0}, "memory_budget_gb: 0 is not allowed; expected number from 0.05"),
        ({"disk_budget_gb": 0}, "disk_budget_gb: 0 is not allowed"),
        ({"basis": {"north": 0}}, "basis.north: 0 is not allowed; expected a component from 1 up (or its negative)"),
        ({"basis": {"north": 3}}, "basis.north: 3 is not allowed; expected a component from 1 up"),
        ({"basis": {"meridian": -2}}, "basis.north: 2 is not allowed"),
        ({"basis": {"east": 1}}, "basis.east: unknown key (value 1)"),
        ({"box": "all"}, "box: 'all' is not allowed; expected a mapping"),
        (
            {"box": {"lat": [5, -15]}},
            "box.lat: [5.0, -15.0] is not allowed; expected two numbers from -90 up to 90, the",
        ),
        ({"box": {"lat": [-91, 5]}}, "box.lat: [-91.0, 5.0] is not allowed"),
        (
            {"box": {"lon": [0, 181]}},
            "box.lon: [0.0, 181.0] is not allowed; expected two numbers from -180 up to 180, fr",
        ),
        ({"box": {"r": [-1, 1]}}, "box.r: [-1.0, 1.0] is not allowed"),
        ({"box": {"r": [1]}}, "box.r"),
        ({"box": {"r": 1}}, "box.r: 1 is not allowed; expected null, or two numbers ≥ 0"),
        ({"box": {"height": [1, 2]}}, "box.height: unknown key"),
        ({"pth": "x"}, "pth: unknown key (value 'x'); did you mean path? "),
    ],
    ids=str,
)
def test_refused_input(keys, line):
    said = refusal(**keys)
    assert said.startswith(f"checkpoints.mine.{line}"), said


def test_a_run_of_an_experiment_that_is_not_there_says_how_to_leave_it_out():
    said = refusal(run="gone/run_001")
    assert said.startswith(
        "checkpoints.mine.run: 'gone/run_001' is not allowed; expected a run of the experiments qwen,"
    )
    assert said.endswith("; `checkpoints: {mine: false}` removes it")


@pytest.mark.parametrize("name", ["Mine", "a b", "../x", "1x", ""])
def test_names_are_folders(name):
    with pytest.raises(UserError, match="expected a name that starts with a lower-case letter"):
        load({"checkpoints": {name: {"path": "x"}}})


@pytest.mark.parametrize("value", [None, 3, [1], "auto"])
def test_values_that_are_not_mappings(value):
    with pytest.raises(UserError, match=r"^checkpoints: .*expected a mapping of checkpoints"):
        config.load({"checkpoints": value})
    with pytest.raises(UserError, match=r"^checkpoints\.mine: .*expected a mapping"):
        load({"checkpoints": {"mine": value}})
