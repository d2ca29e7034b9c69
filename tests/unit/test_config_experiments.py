"""Experiments as a matrix: what they inherit, what cannot be combined, and the settings that a run gets."""

import copy
import json
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest
import yaml
from blackholes.config import model as config
from blackholes.config.experiments import Rounding
from blackholes.errors import UserError
from blackholes.training.settings import run_settings
from snakemake.utils import update_config

DEFAULTS = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text(encoding="utf-8"))
NOISE = {"mode": "noise", "sigma": 1e-5, "unit_norm": True, "norm": None}
NEAREST, STOCHASTIC = (Rounding(weights=kind, state=kind) for kind in ("nearest", "stochastic"))
AT_POINT = {"mode": "qwen", "unit_norm": False, "norm": None, "sigma": None, "drawn_in": None}


def load(own, defaults=None):
    """Experiment `x` under these defaults, as over `config/config.yaml` and as alone."""
    overlay = {"experiment_defaults": defaults or {}, "experiments": {"qwen": False, "normal": False, "x": own}}
    merged = copy.deepcopy(DEFAULTS)
    update_config(merged, overlay)
    over, alone = (config.load(given).experiments["x"] for given in (merged, overlay))
    assert over == alone
    return over


def refusal(own, defaults=None):
    with pytest.raises(UserError) as caught:
        load(own, defaults)
    return str(caught.value)


# --- what there is


@pytest.mark.parametrize(
    ("init", "dumped"),
    [
        ("qwen", AT_POINT),
        ({"mode": "qwen"}, AT_POINT),
        ({}, AT_POINT),
        ({"unit_norm": True}, AT_POINT | {"unit_norm": True}),
        ("normal", AT_POINT | {"mode": "normal"}),
        (NOISE, NOISE | {"drawn_in": "float32"}),
        (NOISE | {"drawn_in": None}, NOISE | {"drawn_in": "float32"}),
        (NOISE | {"drawn_in": "bfloat16"}, NOISE | {"drawn_in": "bfloat16"}),
        ({"norm": 8.2}, AT_POINT | {"norm": 8.2}),
        (
            {"mode": "noise", "sigma": 2, "norm": 1},
            {"mode": "noise", "sigma": 2.0, "unit_norm": False, "norm": 1.0, "drawn_in": "float32"},
        ),
        (  # as a command line hands it on
            {"mode": "noise", "sigma": "1e-5", "unit_norm": "true", "drawn_in": "null"},
            NOISE | {"drawn_in": "float32"},
        ),
    ],
    ids=str,
)
def test_init_is_a_word_or_a_mapping_and_dumped_as_the_mapping(init, dumped):
    assert load({"init": init}).shared_settings()["init"] == dumped


@pytest.mark.parametrize("precision", ["bf16", "mixed", "fp32"])
@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0.9}], ids=str)
@pytest.mark.parametrize("schedule", ["linear", "constant", "cosine"])
def test_allowed_combinations(precision, optimizer, schedule):
    experiment = load({"precision": precision, "schedule": schedule, **optimizer})
    assert (experiment.precision, experiment.schedule) == (precision, schedule)
    assert experiment.momentum == optimizer.get("momentum", 0)


@pytest.mark.parametrize("schedule_steps", [5000, 5001])
def test_a_schedule_may_end_with_the_training_or_after_it(schedule_steps):
    assert load({"steps": 5000, "schedule_steps": schedule_steps}).schedule_steps == schedule_steps


@pytest.mark.parametrize(("given", "read"), [("auto", "auto"), (1, 1), ("4", 4), (999, 999)])
def test_runs_of_a_job(given, read):
    assert config.load({"training": {"runs_per_job": given}}).training.runs_per_job == read


def test_seconds_between_checkpoints_may_be_a_fraction():
    assert config.load({"training": {"checkpoint_seconds": "0.05"}}).training.checkpoint_seconds == 0.05


@pytest.mark.parametrize(
    ("given", "weights", "state"),
    [
        ({}, "nearest", "nearest"),
        ({"rounding": "nearest"}, "nearest", "nearest"),
        ({"rounding": "stochastic"}, "stochastic", "stochastic"),
        ({"rounding": {"weights": "stochastic"}}, "stochastic", "nearest"),
        ({"rounding": {"state": "stochastic"}}, "nearest", "stochastic"),
        ({"rounding": {"state": "stochastic"}, "compensation": "kahan"}, "nearest", "stochastic"),
        ({"rounding": "stochastic", "optimizer": "sgd"}, "stochastic", "stochastic"),
    ],
    ids=str,
)
def test_rounding_is_a_word_or_a_mapping(given, weights, state):
    loaded = load(given)
    assert loaded.shared_settings()["rounding"] == {"weights": weights, "state": state}
    assert loaded.compensation == given.get("compensation", "none")
    assert asdict(loaded.run_settings(1).rounding) == {"weights": weights, "state": state}


# --- the settings of a run


def test_settings_of_runs_differ_in_the_seed_alone():
    experiment = load({"base_seed": 7, "runs": 3})
    shared = experiment.shared_settings()
    assert set(shared) == set(config.Experiment.model_fields) - {"runs", "corpus", "record"} | {"engine"}
    assert shared == load({"base_seed": 7, "runs": 8}).shared_settings()
    for run in (1, 2):
        assert experiment.run_settings(run) == run_settings(shared, run)
        settings = asdict(experiment.run_settings(run)) | {"betas": list(experiment.betas)}
        assert settings.pop("seed") == 7 + run == experiment.seed(run)
        assert settings.pop("forces") == "none"  # recorded, if at all, without a change of other bytes
        assert settings == {key: value for key, value in shared.items() if key != "base_seed"}
    assert "seed" not in shared
    assert shared["base_seed"] == 7


def test_settings_pass_through_json_unchanged():
    """Snakemake hands a rule's parameters to its script as text."""
    experiment = load({"init": NOISE, "schedule_steps": 20_000})
    shared = experiment.shared_settings()
    assert json.loads(json.dumps(shared)) == shared
    settings = run_settings(json.loads(json.dumps(shared)), 1)
    assert settings == experiment.run_settings(1)
    assert (settings.betas, settings.schedule_steps) == ((0.9, 0.999), 20_000)


def test_the_engine_enters_the_settings_of_every_run():
    """A change of it trains all of them again."""
    loaded = config.load({"training": {"engine": "torch"}, "experiments": {"a": {}, "b": {"runs": 2}}})
    assert {it.shared_settings()["engine"] for it in loaded.experiments.values()} == {"torch"}
    assert config.load(loaded.model_dump(mode="json")).experiments["a"].run_settings(1).engine == "torch"
    assert {it.run_settings(1).engine for it in config.load({}).experiments.values()} == {"auto"}
    assert {it.run_settings(1).engine for it in config.Config().experiments.values()} == {"auto"}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"training": {"engine": "numba"}},
            "training.engine: 'numba' is not allowed; expected auto, compiled or torch; not compiled where device is "
            "cuda or mps",
        ),
        (
            {"training": {"engine": "compiled", "device": "mps"}},
            "training.engine: 'compiled' is not allowed; expected auto or torch where device is mps",
        ),
        (
            {"training": {"threads": 2}},
            "training.threads: unknown key (value 2); did you mean experiments.<name>.batch_split? allowed here: "
            "device, engine, runs_per_job, checkpoint_seconds, progress_seconds",
        ),
        (
            {"experiments": {"a": {"batch_split": 1025}}},
            "experiments.a.batch_split: 1025 is not allowed; expected integer from 1 up to 1024",
        ),
        (
            {"experiments": {"a": {"batch_split": 0}}},
            "experiments.a.batch_split: 0 is not allowed; expected integer from 1 up to 1024",
        ),
    ],
    ids=str,
)
def test_how_training_runs_is_refused_in_one_line(given, line):
    with pytest.raises(UserError) as caught:
        config.load(given)
    assert str(caught.value) == line


def test_settings_are_complete_and_frozen():
    shared = load({}).shared_settings()
    for wrong in ({"history": "auto"}, {"model": shared["model"] | {"depth": 2}}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            run_settings(shared | wrong, 1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'clip'"):
        run_settings({key: value for key, value in shared.items() if key != "clip"}, 1)
    settings = run_settings(shared, 1)
    for part, key in ((settings, "steps"), (settings.model, "width"), (settings.init, "mode")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, key, 1)


# --- what is inherited


@pytest.mark.parametrize(
    ("inherited", "own", "mode", "sigma", "unit_norm"),
    [
        (NOISE, {}, "noise", 1e-5, True),
        (NOISE, {"init": {}}, "noise", 1e-5, True),
        (NOISE, {"init": {"sigma": 1e-4}}, "noise", 1e-4, True),  # a mapping inherits key by key, the mode too
        (NOISE, {"init": {"mode": "noise", "sigma": 1e-4}}, "noise", 1e-4, True),
        (NOISE, {"init": "qwen"}, "qwen", None, False),  # a word means the same everywhere
        (NOISE, {"init": "normal"}, "normal", None, False),
        (NOISE, {"init": {"mode": "qwen"}}, "qwen", None, True),  # what the mode can use is inherited
        (NOISE, {"init": {"mode": "normal"}}, "normal", None, False),
        ("qwen", {"init": NOISE}, "noise", 1e-5, True),
        ("normal", {"init": NOISE}, "noise", 1e-5, True),
        ("normal", {"init": {"mode": "qwen", "unit_norm": True}}, "qwen", None, True),
        ("normal", {"init": {"mode": "normal"}}, "normal", None, False),
        ("normal", {"init": {}}, "normal", None, False),
        ("normal", {"init": "qwen"}, "qwen", None, False),
        ({"mode": "qwen", "unit_norm": True}, {"init": {"mode": "noise", "sigma": 1.0}}, "noise", 1.0, True),
    ],
    ids=str,
)
def test_an_experiment_inherits_what_its_mode_can_use(inherited, own, mode, sigma, unit_norm):
    init = load(own, {"init": inherited}).init
    assert (init.mode, init.sigma, init.unit_norm) == (mode, sigma, unit_norm)
    assert init.drawn_in == ("float32" if mode == "noise" else None)


def test_the_control_differs_in_one_key():
    init = load({"init": {"drawn_in": "bfloat16"}}, {"init": NOISE}).init
    assert init.model_dump() == NOISE | {"drawn_in": "bfloat16"}


@pytest.mark.parametrize(
    ("inherited", "own", "key", "value"),
    [
        ({"betas": [0.8, 0.9]}, {"optimizer": "sgd"}, "betas", (0.9, 0.999)),
        ({"epsilon": 1e-6}, {"optimizer": "sgd"}, "epsilon", 1e-8),
        ({"betas": [0.8, 0.9]}, {"optimizer": "adamw"}, "betas", (0.8, 0.9)),
        ({"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adamw"}, "momentum", 0),
        ({"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "sgd"}, "momentum", 0.9),
        ({"optimizer": "sgd", "momentum": 0.9}, {}, "momentum", 0.9),
        ({"compensation": "kahan"}, {"precision": "fp32"}, "compensation", "none"),
        ({"compensation": "kahan"}, {"precision": "bf16"}, "compensation", "kahan"),
        ({"rounding": "stochastic"}, {"precision": "mixed"}, "rounding", NEAREST),
        ({"rounding": {"state": "stochastic"}}, {"rounding": {"weights": "stochastic"}}, "rounding", STOCHASTIC),
        ({"rounding": "stochastic"}, {"rounding": "nearest"}, "rounding", NEAREST),
        ({"schedule_steps": 20_000}, {"schedule": "constant"}, "schedule_steps", None),
        ({"schedule_steps": 20_000}, {"schedule": "cosine"}, "schedule_steps", 20_000),
        ({"schedule_steps": 20_000}, {"steps": 30_000, "schedule_steps": None}, "schedule_steps", None),
    ],
    ids=str,
)
def test_an_experiment_inherits_what_its_optimizer_and_schedule_can_use(inherited, own, key, value):
    assert getattr(load(own, inherited), key) == value


def test_an_overlay_without_a_mode_keeps_the_mode_of_the_file_below():
    merged = copy.deepcopy(DEFAULTS)
    update_config(merged, {"experiments": {"normal": {"init": {"unit_norm": True}}}})
    with pytest.raises(UserError, match=r"experiments\.normal\.init\.unit_norm: true .* where mode is normal"):
        config.load(merged)


# --- what is refused


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"init": "zero"}, "init.mode: 'zero' is not allowed; expected normal, qwen or noise"),
        ({"init": 3}, "init.mode: 3 is not allowed; expected normal, qwen or noise"),
        ({"init": None}, "init.mode: null is not allowed; expected normal, qwen or noise"),
        ({"init": ["qwen"]}, "init.mode: ['qwen'] is not allowed; expected normal, qwen or noise"),
        (
            {"rounding": "up"},
            "rounding.weights: 'up' is not allowed; expected nearest or stochastic",
        ),
        ({"rounding": {"weights": "none"}}, "rounding.weights: 'none' is not allowed; expected nearest or stochastic"),
        *(
            (
                {"precision": precision, **arm},
                f"{line}; expected {allowed} where precision is {precision}: its parameters and state are float32; "
                "with bf16 it may be another",
            )
            for precision in ("mixed", "fp32")
            for arm, line, allowed in [
                ({"rounding": "stochastic"}, "rounding.weights: 'stochastic' is not allowed", "nearest"),
                ({"rounding": {"state": "stochastic"}}, "rounding.state: 'stochastic' is not allowed", "nearest"),
                ({"compensation": "kahan"}, "compensation: 'kahan' is not allowed", "none"),
            ]
        ),
        (
            {"compensation": "kahan", "rounding": "stochastic"},
            "rounding.weights: 'stochastic' is not allowed; expected nearest where compensation is kahan, which keeps "
            "what it leaves",
        ),
        ({"init": "noise"}, "init.sigma: null is not allowed; expected number above 0, since mode is noise"),
        ({"init": {"mode": "noise"}}, "init.sigma: null is not allowed; expected number above 0, since mode is noise"),
        ({"init": NOISE | {"sigma": 0}}, "init.sigma: 0 is not allowed; expected number above 0"),
        ({"init": NOISE | {"sigma": -1e-5}}, "init.sigma: -1e-05 is not allowed; expected number above 0"),
        ({"init": NOISE | {"sigma": float("inf")}}, "init.sigma: inf is not allowed; expected number above 0"),
        ({"init": {"sigma": 1e-5}}, "init.sigma: 1e-05 is not allowed; expected null where mode is qwen"),
        ({"init": NOISE | {"mode": "qwen"}}, "init.sigma: 1e-05 is not allowed; expected null where mode is qwen"),
        (
            {"init": {"mode": "normal", "sigma": 1e-5}},
            "init.sigma: 1e-05 is not allowed; expected null where mode is normal",
        ),
        (
            {"init": {"drawn_in": "bfloat16"}},
            "init.drawn_in: 'bfloat16' is not allowed; expected null where mode is qwen",
        ),
        (
            {"init": {"mode": "normal", "drawn_in": "float32"}},
            "init.drawn_in: 'float32' is not allowed; expected null where mode is normal",
        ),
        (
            {"init": {"mode": "normal", "unit_norm": True}},
            "init.unit_norm: true is not allowed; expected false where mode is normal",
        ),
        ({"init": NOISE | {"norm": 1}}, "init.norm: 1.0 is not allowed; expected null where unit_norm is true"),
        ({"init": {"norm": 0}}, "init.norm: 0 is not allowed; expected null, or a number above 0 up to 1000"),
        ({"init": {"mode": "normal", "norm": 1}}, "init.norm: 1.0 is not allowed; expected null where mode is normal"),
        ({"init": NOISE | {"drawn_in": "fp16"}}, "init.drawn_in: 'fp16' is not allowed; expected float32 or bfloat16"),
        ({"init": NOISE | {"unit_norm": 2}}, "init.unit_norm: 2 is not allowed; expected true or false"),
        ({"init": NOISE | {"std": 2}}, "init.std: unknown key (value 2); allowed here: mode, unit_norm, norm, sigma"),
        ({"precision": "fp16"}, "precision: 'fp16' is not allowed; expected bf16, mixed or fp32"),
        ({"optimizer": "adam"}, "optimizer: 'adam' is not allowed; expected adamw or sgd"),
        ({"momentum": 0.9}, "momentum: 0.9 is not allowed; expected 0.0 where optimizer is adamw"),
        ({"optimizer": "sgd", "momentum": 1}, "momentum: 1 is not allowed; expected number from 0 to below 1"),
        ({"optimizer": "sgd", "momentum": -0.1}, "momentum: -0.1 is not allowed; expected number from 0 to below 1"),
        (
            {"optimizer": "sgd", "betas": [0.8, 0.9]},
            "betas: [0.8, 0.9] is not allowed; expected [0.9, 0.999] where optimizer is sgd",
        ),
        (
            {"optimizer": "sgd", "epsilon": 1e-6},
            "epsilon: 1e-06 is not allowed; expected 1e-08 where optimizer is sgd",
        ),
        ({"schedule": "step"}, "schedule: 'step' is not allowed; expected linear, constant or cosine"),
        (
            {"schedule": "constant", "schedule_steps": 20_000},
            "schedule_steps: 20000 is not allowed; expected null where schedule is constant",
        ),
        (
            {"steps": 5000, "schedule_steps": 4999},
            "schedule_steps: 4999 is not allowed; expected null, or an integer from steps (5000) up",
        ),
        ({"schedule_steps": 0}, "schedule_steps: 0 is not allowed; expected null, or an integer from steps"),
        ({"schedule_steps": True}, "schedule_steps: true is not allowed; expected null, or an integer from steps"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_in_one_line(own, line):
    message = refusal(own)
    assert "\n" not in message
    assert message.startswith(f"experiments.x.{line}")


@pytest.mark.parametrize(
    ("own", "inherited", "line"),
    [
        ({"steps": 30_000}, {"schedule_steps": 20_000}, "schedule_steps: 20000 is not allowed; expected null, or an"),
        ({"init": "noise"}, {"init": NOISE}, "init.sigma: null is not allowed; expected number above 0"),
        ({"init": {"sigma": 1e-4}}, {}, "init.sigma: 0.0001 is not allowed; expected null where mode is qwen"),
        ({"init": {"mode": "qwen", "sigma": 1e-4}}, {"init": NOISE}, "init.sigma: 0.0001 is not allowed"),
        ({"optimizer": "sgd", "betas": [0.7, 0.9]}, {"betas": [0.8, 0.9]}, "betas: [0.7, 0.9] is not allowed"),
        ({"momentum": 0.5, "optimizer": "adamw"}, {"optimizer": "sgd"}, "momentum: 0.5 is not allowed"),
    ],
    ids=str,
)
def test_conflicts_with_inherited_settings_are_refused(own, inherited, line):
    message = refusal(own, inherited)
    assert "\n" not in message
    assert message.startswith(f"experiments.x.{line}")


@pytest.mark.parametrize("own", [{}, {"optimizer": "sgd"}])
def test_impossible_defaults_are_refused_with_their_key(own):
    message = refusal(own, {"init": {"sigma": 1e-5}, "momentum": 0.5})
    assert "experiment_defaults.init.sigma: 1e-05 is not allowed" in message
    assert "experiments.x.init" not in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("runs_per_job", 0, "`auto`, or an integer from 1 up to 999"),
        ("runs_per_job", "all", "`auto`, or an integer from 1 up to 999"),
        ("runs_per_job", 1.5, "`auto`, or an integer from 1 up to 999"),
        ("runs_per_job", True, "`auto`, or an integer from 1 up to 999"),
        ("checkpoint_seconds", 0, "number above 0 up to 86400"),
        ("checkpoint_seconds", "often", "number above 0 up to 86400"),
    ],
)
def test_bad_training_settings_are_refused_in_one_line(key, value, allowed):
    with pytest.raises(UserError) as caught:
        config.load({"training": {key: value}})
    shown = "true" if value is True else repr(value)
    assert str(caught.value) == f"training.{key}: {shown} is not allowed; expected {allowed}"


# --- corpora


BPE = {"vocabulary": "bpe", "vocabulary_size": 2000}


def corpora(common, **experiments):
    given = {"corpus": common, "experiments": {name: {"corpus": corpus} for name, corpus in experiments.items()}}
    return {name: it.corpus for name, it in config.load(given).experiments.items()}


def test_an_experiments_corpus_is_merged_into_the_common_one():
    found = corpora(
        {"source": "file", "path": "x/Book.txt", "encoding": "cp1252"}, a={}, b=BPE | {"training_part": 0.5}
    )
    assert found["a"].name == "book"
    assert (found["b"].path, found["b"].encoding, found["b"].training_part) == ("x/Book.txt", "cp1252", 0.5)
    assert (found["b"].name, found["b"].size, found["a"].size) == ("book-bpe2000", 2000, 128)


def test_settings_of_another_source_are_not_inherited():
    common = {"source": "url", "url": "https://example.org/a.txt", "sha256": "0" * 64, "encoding": "cp1252"}
    found = corpora(common, a={"source": "file", "path": "b.txt"}, b={"source": "builtin"}, c={})
    assert (found["a"].url, found["a"].sha256, found["a"].path, found["a"].name) == (None, None, "b.txt", "b")
    assert (found["b"].url, found["b"].encoding, found["b"].name) == (None, "utf-8", "builtin")
    assert found["c"].url == "https://example.org/a.txt"
    assert corpora(BPE, a={"vocabulary": "ascii"})["a"].size == 128


@pytest.mark.parametrize(
    ("common", "own", "name"),
    [
        ({"name": "mine"}, {}, "mine"),
        ({"name": "mine"}, BPE, "mine-bpe2000"),
        ({"name": "mine"}, BPE | {"source": "file", "path": "other.txt"}, "other-bpe2000"),
        ({"name": "mine"}, BPE | {"name": "own"}, "own"),
        (BPE, {}, "builtin-bpe2000"),
        ({}, BPE | {"vocabulary_size": "3000"}, "builtin-bpe3000"),
    ],
)
def test_names_of_corpora(common, own, name):
    assert corpora(common, a=own)["a"].name == name


def test_experiment_defaults_have_a_corpus_too():
    given = {
        "experiment_defaults": {"corpus": BPE},
        "experiments": {"a": {}, "b": {"corpus": {"vocabulary_size": 500}}},
    }
    found = config.load(given)
    assert [it.corpus.name for it in found.experiments.values()] == ["builtin-bpe2000", "builtin-bpe500"]
    assert list(found.corpora()) == ["builtin-bpe2000", "builtin-bpe500"]
    assert config.load(found.model_dump(mode="json")) == found


def test_the_vocabulary_is_that_of_the_corpus():
    found = config.load(
        {"experiments": {"a": {"corpus": BPE}, "b": {"corpus": BPE, "model": {"vocabulary_size": 2000}}}}
    )
    assert [it.model.vocabulary_size for it in found.experiments.values()] == [2000, 2000]
    assert [it.is_large for it in found.experiments.values()] == [True, True]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"corpus": {"vocabulary": "bpe"}},
            "corpus.vocabulary_size: null is not allowed; expected integer from 256 up to 65536, "
            "since vocabulary is bpe",
        ),
        (
            {"corpus": {"vocabulary_size": 300}},
            "corpus.vocabulary_size: 300 is not allowed; expected null where vocabulary is ascii",
        ),
        (
            {"experiments": {"a": {"corpus": {"vocabulary": "bpe", "vocabulary_size": 255}}}},
            "experiments.a.corpus.vocabulary_size: 255 is not allowed; expected integer from 256 up to 65536, "
            "with vocabulary: bpe; else null",
        ),
        ({"corpus": {"training_part": 0}}, "corpus.training_part: 0 is not allowed; expected number above 0 up to 1"),
        (
            {"corpus": {"tokenizer_text": "a.txt"}},
            "corpus.tokenizer_text: 'a.txt' is not allowed; expected null where vocabulary is ascii",
        ),
        (
            {"experiments": {"a": {"corpus": BPE}, "b": {"corpus": BPE | {"training_part": 0.5}}}},
            "experiments.b.corpus.name: 'builtin-bpe2000' is not allowed; expected another name: the "
            "corpus of a has this name and differs",
        ),
        (
            {"corpus": {"path": "x"}},
            "corpus.path: 'x' is not allowed; expected null where source is builtin (or source: file)",
        ),
        (
            {"experiments": {"a": {"corpus": {"colour": 1}}}},
            "experiments.a.corpus.colour: unknown key (value 1); allowed here: name, source, path, url, sha256, "
            "encoding, vocabulary, vocabulary_size, tokenizer_text, training_part",
        ),
    ],
)
def test_impossible_corpora_are_refused_once_where_they_are_written(given, line):
    with pytest.raises(UserError) as caught:
        config.load(given)
    assert str(caught.value) == line


# --- what is recorded beside histories


@pytest.mark.parametrize(
    ("record", "runs"),
    [
        ({}, {}),
        ("none", {}),
        ("summary", {"001": "summary"}),
        ({"forces": "full", "runs": [3, 1]}, {"001": "full", "003": "full"}),
        ({"forces": "summary", "runs": ["2"]}, {"002": "summary"}),
    ],
    ids=str,
)
def test_the_runs_whose_forces_are_recorded(record, runs):
    assert load({"runs": 3, "record": record}).recorded() == runs
    assert load({"runs": 3, "record": record}).shared_settings() == load({"runs": 3}).shared_settings()


def test_recording_is_inherited_key_by_key():
    assert load({"record": {"runs": [2]}}, {"record": "full"}).recorded() == {"002": "full"}
    assert load({"record": "none"}, {"record": {"forces": "full"}}).recorded() == {}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("all", "record.forces: 'all' is not allowed; expected none, summary or full"),
        ({"forces": "full", "runs": [4]}, "record.runs: [4] is not allowed; expected list of runs from 1 up to 3"),
        ({"forces": "full", "runs": [1, 1]}, "record.runs: [1, 1] is not allowed; expected list of runs from 1 up"),
        ({"forces": "full", "runs": [0]}, "record.runs: [0] is not allowed"),
        ({"forces": "full", "runs": []}, "record.runs: [] is not allowed"),
        ({"forces": "full", "runs": 2}, "record.runs: 2 is not allowed"),
        ({"runs": [2]}, "record.runs: [2] is not allowed; expected [1] where forces is none"),
    ],
    ids=str,
)
def test_what_cannot_be_recorded(record, said):
    assert f"experiments.x.{said}" in refusal({"runs": 3, "record": record})
