"""A recipe changes with everything above it, and with nothing beside it."""

from types import SimpleNamespace

import pytest
from blackholes.artifacts.provenance import code_digest, forget_code
from blackholes.config import model as config
from blackholes.orchestration.recipes import Recipes

STAGES = ("corpus", "train", "distances", "holes", "summary")
RUNS = ["001", "002", "003"]


@pytest.fixture
def scripts(tmp_path):
    (tmp_path / "blackholes").mkdir()
    for stage in STAGES:
        (tmp_path / f"{stage}.py").write_text(f"import blackholes.{stage}_maths\n")
        (tmp_path / "blackholes" / f"{stage}_maths.py").write_text("")
    return tmp_path


def workflow(scripts, runs=RUNS, reverse=False, **change):
    """Five stages as the rules declare them: corpus → train → distances and holes of each run → summary."""
    forget_code()
    recipes = Recipes(scripts)
    same_run = lambda stage: lambda wildcards: [(stage, {"run": wildcards.run})]  # noqa: E731
    every_run = lambda wildcards: [(stage, {"run": run}) for stage in ("distances", "holes") for run in runs]  # noqa: E731
    declared = {
        "corpus": {},
        "train": {"after": lambda wildcards: [("corpus", {})], "seed": lambda wildcards: int(wildcards.run)},
        "distances": {"after": same_run("train")},
        "holes": {"after": same_run("train")},
        "summary": {"after": every_run},
    }
    params = {
        stage: recipes.stage(stage, script=f"{stage}.py", setting=change.get(stage, 0), **declared[stage])
        for stage in (reversed(STAGES) if reverse else STAGES)
    }
    return recipes, params


def all_recipes(scripts, **options):
    recipes, _ = workflow(scripts, **options)
    once = {(stage, ""): recipes.recipe(stage) for stage in ("corpus", "summary")}
    return once | {
        (stage, run): recipes.recipe(stage, run=run)
        for stage in ("train", "distances", "holes")
        for run in options.get("runs", RUNS)
    }


BELOW = {  # stage → the stages whose files change with it
    "corpus": set(STAGES),
    "train": {"train", "distances", "holes", "summary"},
    "distances": {"distances", "summary"},
    "holes": {"holes", "summary"},
    "summary": {"summary"},
}


def changed(before, after):
    return {stage for stage, run in before.keys() & after.keys() if before[stage, run] != after[stage, run]}


@pytest.mark.parametrize("stage", STAGES)
def test_a_setting_changes_all_below_and_nothing_beside(scripts, stage):
    assert changed(all_recipes(scripts), all_recipes(scripts, **{stage: 1})) == BELOW[stage]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("file", ["{}.py", "blackholes/{}_maths.py"])
def test_code_changes_all_below_and_nothing_beside(scripts, stage, file):
    before = all_recipes(scripts)
    with open(scripts / file.format(stage), "a") as text:
        text.write("# edited\n")
    assert changed(before, all_recipes(scripts)) == BELOW[stage]


def test_runs_differ_by_what_depends_on_the_run(scripts):
    found = all_recipes(scripts)
    assert len(set(found.values())) == len(found)


def test_more_runs_leave_the_others_alone(scripts):
    before, after = all_recipes(scripts), all_recipes(scripts, runs=[*RUNS, "004"])
    assert changed(before, after) == {"summary"}


def test_the_same_again(scripts):
    assert all_recipes(scripts) == all_recipes(scripts)
    assert all_recipes(scripts) == all_recipes(scripts, reverse=True)  # rules may come in any order


def test_the_parameters_of_a_rule(scripts):
    recipes, params = workflow(scripts, train={"steps": 3})
    rule = params["train"]
    assert rule["setting"] == {"steps": 3}
    assert rule["seed"](SimpleNamespace(run="007")) == 7
    assert rule["code"] == code_digest(scripts / "train.py", scripts / "blackholes")
    here = SimpleNamespace(run="001")
    assert params["distances"]["upstream"](here) != rule["upstream"](here)
    assert params["distances"]["upstream"](here) == params["holes"]["upstream"](here)
    other, others = workflow(scripts)
    assert others["train"]["upstream"](here) == rule["upstream"](here)  # the same corpus
    assert others["distances"]["upstream"](here) != params["distances"]["upstream"](here)  # another training
    assert others["distances"]["code"] == params["distances"]["code"]
    assert recipes.recipe("corpus") == other.recipe("corpus")


def test_a_stage_that_is_not_declared(scripts):
    with pytest.raises(KeyError, match="lattice"):
        workflow(scripts)[0].recipe("lattice")


def test_a_runs_settings_do_not_depend_on_how_many_there_are_or_how_they_are_run():
    def settings(**change):
        loaded = config.load({"experiments": {"qwen": {"runs": 4, **change.pop("qwen", {})}}, **change})
        return loaded.experiments["qwen"].run_settings(3)

    assert settings() == settings(qwen={"runs": 16})
    assert settings() == settings(training={"checkpoint_seconds": 2, "progress_seconds": 60})
    assert settings() != settings(qwen={"steps": 77})
    assert settings().seed == 42 + 3
