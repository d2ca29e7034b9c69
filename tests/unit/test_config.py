"""The configuration: what is accepted, what is refused in which words, and that no file drifts from the models."""

import copy
import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import jsonschema
import pytest
import yaml
from blackholes.config import model as config
from blackholes.config import reference as config_reference
from blackholes.errors import UserError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from snakemake.utils import update_config

ROOT = Path(__file__).parents[2]
DEFAULTS = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
OVERLAYS = sorted(path for path in (ROOT / "config").glob("*.yaml") if path.name != "config.yaml")


def over_defaults(overlay):
    """An overlay given with `--configfile`, as Snakemake merges it."""
    merged = copy.deepcopy(DEFAULTS)
    update_config(merged, overlay)
    return merged


def refusal(overlay):
    with pytest.raises(UserError) as caught:
        config.load(overlay)
    return str(caught.value)


# --- what is there


def test_defaults_are_the_published_scale():
    loaded = config.load({})
    assert loaded == config.Config()
    assert set(loaded.experiments) == {"qwen", "normal"}
    qwen, normal = loaded.experiments["qwen"], loaded.experiments["normal"]
    assert (qwen.runs, qwen.steps, qwen.init.mode) == (16, 10_000, "qwen")
    assert (normal.runs, normal.steps, normal.init.mode) == (4, 10_000, "normal")
    assert loaded.adjacency["touching"].threshold == 2 * 2**-7
    assert loaded.corpus.name == "builtin"


def test_the_top_level_keys_are_the_interface():
    keys = ["corpus", "experiment_defaults", "experiments", "training", "distances", "adjacency"]
    keys += ["checkpoints", "snowballs", "lattice", "lineage", "figures", "results", "overwrite", "check_inputs"]
    assert list(config.Config.model_fields) == keys


def test_importing_costs_no_torch():
    code = "import sys, blackholes.config.model; print('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "workflow/scripts", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_experiments_inherit_and_differ():
    loaded = config.load(
        {
            "experiment_defaults": {"steps": 5, "model": {"width": 8, "layers": 1}},
            "experiments": {"a": {}, "b": {"runs": 2, "model": {"layers": 3}}},
        }
    )
    a, b = loaded.experiments["a"], loaded.experiments["b"]
    assert (a.steps, a.runs, a.model.width, a.model.layers) == (5, 16, 8, 1)
    assert (b.steps, b.runs, b.model.width, b.model.layers) == (5, 2, 8, 3)


def test_false_leaves_an_experiment_out():
    loaded = config.load(over_defaults({"experiments": {"normal": False}}))
    assert list(loaded.experiments) == ["qwen"]


def test_the_text_of_a_command_line_is_understood():
    """`--config` hands on every value as text."""
    text = (ROOT / "config/config.yaml").read_text(encoding="utf-8")
    assert config.load(yaml.load(text, Loader=yaml.BaseLoader)) == config.Config()
    given = {"a": {"runs": "3", "learning_rate": "1e-3", "target_offset": "2"}, "b": "false"}
    loaded = config.load({"experiments": given})
    assert list(loaded.experiments) == ["a"]
    experiment = loaded.experiments["a"]
    assert (experiment.runs, experiment.learning_rate, experiment.target_offset) == (3, 1e-3, 2)


def test_a_run_depends_on_its_seed_and_not_on_the_number_of_runs():
    one, two = (config.Experiment(runs=runs, base_seed=7) for runs in (1, 2))
    assert one.run_settings(1) == two.run_settings(1)
    assert one.run_settings(1).seed == 8
    assert one.run_settings(1) != two.run_settings(2)
    left_out = {"runs", "base_seed", "corpus", "record"}
    own = {"seed", "engine", "forces"}
    assert set(asdict(one.run_settings(1))) == set(config.Experiment.model_fields) - left_out | own
    assert two.run_names() == ["run_001", "run_002"]


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ({"source": "file", "path": "/data/My Text (2).txt"}, "my-text-2"),
        ({"source": "url", "url": "https://example.org/a/pg64317.txt?x=1"}, "pg64317"),
        ({"source": "url", "url": "https://example.org/"}, "url"),
        ({"source": "file", "path": "x.txt", "name": "mine"}, "mine"),
    ],
)
def test_the_corpus_is_named_after_its_source(corpus, name):
    assert config.load({"corpus": corpus}).corpus.name == name


# --- steps


def test_automatic_steps():
    assert config.steps_at("auto", 10_000) == [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]
    assert config.steps_at("auto", 1) == [0, 1]
    assert config.steps_at("auto", 7) == [0, 1, 2, 5, 7]


def test_chosen_steps():
    assert config.steps_at([1000, 0, "last", 10, 10], 60) == [0, 10, 60]


@given(st.integers(1, 10**7))
def test_steps_ascend_and_end_with_the_last(last):
    steps = config.steps_at("auto", last)
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, last)


# --- files that must not drift


def test_config_yaml_is_exactly_the_defaults():
    assert config.load(DEFAULTS) == config.Config()


def model_keys(model, prefix=()):
    """Every key of a section: (path, …)."""
    for name, field in model.model_fields.items():
        yield (*prefix, name)
        if (*prefix, name) == ("experiment_defaults", "corpus"):  # its keys are those of `corpus`
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from model_keys(field.annotation, (*prefix, name))


@pytest.mark.parametrize("path", list(model_keys(config.Config)), ids=".".join)
def test_config_yaml_has_every_key(path):
    here = DEFAULTS
    for part in path:
        assert part in here
        here = here[part]


def test_config_yaml_explains_every_key_in_place():
    lines = (ROOT / "config/config.yaml").read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if re.match(r" *[a-z_0-9]+:", line)]
    assert len(keys) > 40
    assert [line for line in keys if not re.search(r"# \S", line)] == []


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.name)
def test_overlays_are_valid_when_merged(path):
    overlay = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert config.load(over_defaults(overlay)) != config.Config()


def test_the_reference_is_generated():
    written = (ROOT / "config/README.md").read_text(encoding="utf-8")
    assert written == config_reference.markdown(), (
        "run: PYTHONPATH=workflow/scripts python -m blackholes.config > config/README.md"
    )


def test_the_module_prints_the_reference():
    done = subprocess.run(
        [sys.executable, "-m", "blackholes.config"],
        cwd=ROOT / "workflow/scripts",
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == config_reference.markdown()


# --- the schema for editors


SCHEMA = json.loads((ROOT / "config/schema.json").read_text(encoding="utf-8"))


def schema_accepts(overlay):
    return jsonschema.Draft7Validator(SCHEMA).is_valid(overlay)


def test_the_schema_is_generated():
    command = [sys.executable, "-m", "blackholes.config", "--schema"]
    done = subprocess.run(command, cwd=ROOT / "workflow/scripts", capture_output=True, encoding="utf-8", check=True)
    assert (ROOT / "config/schema.json").read_text(encoding="utf-8") == done.stdout, (
        "run: PYTHONPATH=workflow/scripts python -m blackholes.config --schema > config/schema.json"
    )
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "path", [*sorted(ROOT.glob("config/*.yaml")), ROOT / "tests/e2e/tiny.yaml"], ids=lambda p: p.name
)
def test_the_schema_accepts_every_file(path):
    text = path.read_text(encoding="utf-8")
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load(text))
    assert path.parent.name != "config" or text.startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize(
    "overlay",
    [
        {},
        {"experiments": {"normal": False}},
        {"checkpoints": {"trained": False}, "snowballs": {"trained": False}, "lattice": {"qwen": False}},
        {"experiment_defaults": {"init": "normal"}},
        {"experiments": {"a": {"init": {"mode": "noise", "sigma": 1}, "schedule_steps": None, "betas": [0, 0.5]}}},
        {"checkpoints": {"trained": {"box": "auto"}}},
        {"checkpoints": {"trained": {"box": {"lat": [1, 2.5], "lon": None}, "basis": {"north": -3}}}},
        {"snowballs": {"trained": {"sigma": 1, "n_tokens": 5}}},
        {"snowballs": {"trained": {"sigma": "global", "centroid": {"dim": 3, "norm": 1}}}},
        {"snowballs": {"trained": {"sigma": [0, "within", {"from": 1, "to": 2, "num": 3}]}}},
        {"adjacency": {"touching": {"threshold": 1}}},  # the rest is in the file below
        {"figures": {"key_steps": [3, "last"], "summary_steps": "auto"}},
    ],
    ids=str,
)
def test_the_schema_accepts_what_is_valid_when_merged(overlay):
    assert schema_accepts(overlay)


@pytest.mark.parametrize(
    "overlay",
    [
        {"corpsu": {}},
        {"corpus": False},
        {"corpus": {"vocabulary": "latin"}},
        {"corpus": {"vocabulary_size": 255}},
        {"experiments": {"normal": True}},
        {"experiments": {"normal": {"step": 3}}},
        {"experiments": {"normal": {"init": "zero"}}},
        {"experiments": {"normal": {"betas": [0.9]}}},
        {"experiments": {"normal": {"betas": [0.9, "x"]}}},
        {"experiments": {"normal": {"learning_rate": 0}}},
        {"experiment_defaults": {"init": {"sigma": 0}}},
        {"adjacency": {"touching": False}},
        {"checkpoints": {"trained": {"box": "all"}}},
        {"checkpoints": {"trained": {"box": {"lat": [1]}}}},
        {"snowballs": {"trained": {"sigma": "wihtin"}}},
        {"snowballs": {"trained": {"sigma": []}}},
        {"snowballs": {"trained": {"sigma": -1}}},
        {"snowballs": {"trained": {"sigma": {"from": 1, "to": 2, "step": 3}}}},
        {"snowballs": {"trained": {"centroid": {"dim": 0}}}},
        {"training": {"threads": 0}},
        {"figures": {"key_steps": []}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_models_refuse(overlay):
    assert refusal(over_defaults(overlay))
    assert not schema_accepts(overlay)


@pytest.mark.parametrize("model", config.Section.__subclasses__())
def test_every_key_has_a_meaning(model):
    for field in model.model_fields.values():
        assert field.description


# --- what is refused


@pytest.mark.parametrize(
    ("overlay", "line"),
    [
        ({"experiment_defaults": {"steps": 0}}, "experiment_defaults.steps: 0 is not allowed; expected integer from 1"),
        ({"experiments": {"qwen": {"steps": 0}}}, "experiments.qwen.steps: 0 is not allowed; expected integer from 1"),
        ({"experiments": {"qwen": {"runs": 0}}}, "experiments.qwen.runs: 0 is not allowed; expected integer from 1"),
        ({"experiments": {"qwen": {"runs": 1000}}}, "runs: 1000 is not allowed; expected integer from 1 up to 999"),
        ({"experiments": {"qwen": {"steps": 1.5}}}, "experiments.qwen.steps: 1.5 is not allowed"),
        ({"experiments": {"qwen": {"steps": True}}}, "experiments.qwen.steps: true is not allowed"),
        ({"experiments": {"qwen": {"steps": None}}}, "experiments.qwen.steps: null is not allowed"),
        ({"experiments": {"qwen": {"steps": "many"}}}, "experiments.qwen.steps: 'many' is not allowed"),
        (
            {"experiments": {"qwen": {"learning_rate": -1e-3}}},
            "experiments.qwen.learning_rate: -0.001 is not allowed; expected number above 0 up to 10",
        ),
        ({"experiments": {"qwen": {"learning_rate": float("nan")}}}, "experiments.qwen.learning_rate: nan"),
        (
            {"experiments": {"qwen": {"betas": [0.9, 1]}}},
            "experiments.qwen.betas: [0.9, 1] is not allowed; expected two",
        ),
        ({"experiments": {"qwen": {"betas": [0.9, "x"]}}}, "experiments.qwen.betas[1]: 'x' is not allowed"),
        ({"experiments": {"qwen": {"target_offset": True}}}, "target_offset: true is not allowed; expected 1 or 2"),
        ({"experiments": {"qwen": {"target_offset": 3}}}, "target_offset: 3 is not allowed; expected 1 or 2"),
        (
            {"experiments": {"qwen": {"loss_divisor": "token"}}},
            "loss_divisor: 'token' is not allowed; expected targets or tokens",
        ),
        (
            {"experiments": {"qwen": {"precision": "fp16"}}},
            "precision: 'fp16' is not allowed; expected bf16, mixed or fp32",
        ),
        (
            {"experiments": {"qwen": {"init": "zero"}}},
            "init.mode: 'zero' is not allowed; expected normal, qwen or noise",
        ),
        (
            {"experiments": {"qwen": {"model": {"heads": 3}}}},
            "experiments.qwen.model.width: 64 is not allowed; expected a multiple of heads (3)",
        ),
        (
            {"experiments": {"qwen": {"model": {"vocabulary_size": 100}}}},
            "experiments.qwen.model.vocabulary_size: 100 is not allowed; expected null, or 128",
        ),
        ({"experiments": {"qwen": 5}}, "experiments.qwen: 5 is not allowed; expected a mapping"),
        ({"experiments": {"qwen": None}}, "experiments.qwen: null is not allowed; expected a mapping"),
        (
            {"experiments": {"qwen": False}},
            "checkpoints.trained: {} is not allowed; expected run, path or hub, since there is no experiment",
        ),
        ({"experiments": [1]}, "experiments: [1] is not allowed"),
        ({"experiments": {"corpus": {}}}, "experiments.corpus: 'corpus' is not allowed; expected a name that"),
        ({"experiments": {"../x": {}}}, "experiments.../x: '../x' is not allowed; expected a name that"),
        ({"experiments": {3: {}}}, "experiments.3: 3 is not allowed; expected text as a name"),
        ({"corpus": {"source": "file"}}, "corpus.path: null is not allowed; expected a value, since source is file"),
        ({"corpus": {"source": "url"}}, "corpus.url: null is not allowed; expected a value, since source is url"),
        ({"corpus": {"path": "x"}}, "corpus.path: 'x' is not allowed; expected null where source is builtin"),
        ({"corpus": {"sha256": "0" * 64}}, "corpus.sha256: "),
        ({"corpus": {"source": "file", "path": "x", "url": "http://x"}}, "corpus.url: 'http://x' is not allowed"),
        (
            {"corpus": {"source": "file", "path": "x", "sha256": "12"}},
            "corpus.sha256: '12' is not allowed; expected 64",
        ),
        ({"corpus": {"source": "url", "url": "file:///x"}}, "corpus.url: 'file:///x' is not allowed; expected http://"),
        ({"corpus": {"source": "file", "path": "x", "encoding": "utf9"}}, "corpus.encoding: 'utf9' is not allowed"),
        ({"corpus": {"source": "file", "path": "x", "encoding": "hex"}}, "corpus.encoding: 'hex' is not allowed"),
        ({"corpus": {"encoding": "cp1252"}}, "corpus.encoding: 'cp1252' is not allowed; expected utf-8 where"),
        ({"corpus": {"vocabulary": "latin"}}, "corpus.vocabulary: 'latin' is not allowed; expected ascii or bpe"),
        ({"corpus": {"name": "../x"}}, "corpus.name: '../x' is not allowed; expected lower-case"),
        ({"corpus": None}, "corpus: null is not allowed; expected a mapping of keys"),
        ({"training": {"device": "gpu"}}, "training.device: 'gpu' is not allowed; expected auto, cpu, cuda or mps"),
        ({"training": {"runs_per_job": 0}}, "training.runs_per_job: 0 is not allowed"),
        ({"distances": {"store": "perhaps"}}, "distances.store: 'perhaps' is not allowed; expected true or false"),
        ({"distances": {"memory_budget_gb": 0}}, "distances.memory_budget_gb: 0 is not allowed; expected number from"),
        ({"figures": {"run": 5}}, "figures.run: 5 is not allowed; expected 1 to 4, the runs of normal"),
        ({"figures": {"key_steps": [0, -1]}}, "figures.key_steps[1]: -1 is not allowed; expected list of steps"),
        ({"figures": {"key_steps": []}}, "figures.key_steps: [] is not allowed"),
        ({"figures": {"summary_steps": "all"}}, "figures.summary_steps: 'all' is not allowed; expected `auto`"),
        (
            {"adjacency": {"near": {"measure": "cells", "threshold": 1}}},
            "adjacency.near.operator: missing; expected < or <=",
        ),
        ({"adjacency": {}}, "adjacency.identical: null is not allowed; expected a graph"),
        ({"adjacency": 3}, "adjacency: 3 is not allowed"),
    ],
    ids=str,
)
def test_impossible_values_are_refused_in_one_line(overlay, line):
    message = refusal(overlay)
    assert "\n" not in message
    assert line in message


@pytest.mark.parametrize(
    ("graph", "line"),
    [
        ({"cells": {"threshold": 1.5}}, "adjacency.cells.threshold: 1.5 is not allowed; expected an integer"),
        ({"touching": {"threshold": 0}}, "adjacency.touching.threshold: 0.0 is not allowed; expected above 0"),
        ({"touching": {"threshold": -1}}, "adjacency.touching.threshold: -1 is not allowed; expected number ≥ 0"),
        ({"touching": {"operator": "=="}}, "adjacency.touching.operator: '==' is not allowed; expected < or <="),
        ({"identical": {"threshold": 1}}, "adjacency.identical: {'measure': 'chebyshev'"),
        ({"a b": {"measure": "cells", "operator": "<=", "threshold": 2}}, "adjacency.a b: 'a b' is not allowed"),
    ],
    ids=str,
)
def test_impossible_graphs_are_refused(graph, line):
    assert line in refusal(over_defaults({"adjacency": graph}))


@pytest.mark.parametrize(
    ("overlay", "key", "near"),
    [
        ({"corpsu": {}}, "corpsu", "corpus"),
        ({"experiments": {"qwen": {"step": 3}}}, "experiments.qwen.step", "steps"),
        ({"experiment_defaults": {"model": {"widht": 3}}}, "experiment_defaults.model.widht", "width"),
        ({"training": {"devise": 3}}, "training.devise", "device"),
        ({"figures": {"DPI": 3}}, "figures.DPI", None),
    ],
    ids=str,
)
def test_unknown_keys_are_refused_with_the_nearest_known(overlay, key, near):
    message = refusal(overlay)
    assert message.startswith(f"{key}: unknown key (value ")
    assert ("did you mean" in message) == (near is not None)
    assert f"did you mean {near}? " in message or near is None
    assert "allowed here: " in message


def test_an_unknown_section_of_a_later_release_is_refused():
    assert refusal({"snowball": {}}).startswith("snowball: unknown key")


def test_each_problem_has_its_line():
    message = refusal({"experiments": {"a": {"runs": 0, "steps": 0}}, "training": {"progress_seconds": 0}})
    assert [line.partition(":")[0] for line in message.splitlines()] == [
        "experiments.a.runs",
        "experiments.a.steps",
        "training.progress_seconds",
    ]


def test_inherited_errors_are_reported_once():
    message = refusal({"experiment_defaults": {"model": {"heads": 3}, "runs": 0}})
    assert [line.partition(":")[0] for line in message.splitlines()] == [
        "experiment_defaults.runs",
        "experiment_defaults.model.width",
    ]


def test_a_long_value_does_not_flood_the_line():
    assert len(refusal({"corpus": {"vocabulary": "x" * 5000}})) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(list(model_keys(config.Config))), JSON)
def test_any_value_is_accepted_or_refused_with_its_key(path, value):
    overlay = value
    for part in reversed(path):
        overlay = {part: overlay}
    said = path[0]
    try:
        config.load(over_defaults(overlay))
    except UserError as error:
        said = str(error)
    assert path[0] in said
    assert all(said.splitlines())
