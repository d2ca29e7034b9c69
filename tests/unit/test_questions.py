"""The open questions: planted runs that answer each with yes, no, undecided and needs; what is paired; the tables."""

import csv
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from blackholes.config.experiments import Experiment
from blackholes.runs import survival
from blackholes.runs.questions import arms, data, freeze, holes, motion, tables, verdict
from scipy import stats

BASE = data.flat(Experiment().shared_settings())
BY_KEY = {question.key: question for question in tables.QUESTIONS}
STEPS, DEAD, LIVE, D = 100, 6, 6, 4
DEAD_MASK = np.arange(DEAD + LIVE) < DEAD
NO_ESCAPES = survival.Escapes(*(np.zeros(0) for _ in range(5)))
STILL = data.Forces(np.nan, np.nan, np.nan, np.nan)


def a_run(seed=1, experiment="one", settings=None, **planted):
    """A run in which all tokens share one vector always, dead ones stop at step 50 and live ones at 90."""
    plain = {
        "corpus": "text",
        "steps": STEPS,
        "dead": DEAD_MASK,
        "count": np.where(DEAD_MASK, 0, np.arange(DEAD + LIVE)),
        "last_move": np.where(DEAD_MASK, 50, 90),
        "labels": np.zeros((2, DEAD + LIVE), int),
        "cloud": np.zeros((2, DEAD, D)),
        "decay": 0.0,
        "escapes": NO_ESCAPES,
        "splits": 0,
        "rejoins": [],
    }
    return data.Run(experiment, f"run_{seed:03d}", seed, BASE | (settings or {}), **(plain | planted))


def stops(seed, at, settings=None, **planted):
    """A run whose dead tokens move last at this step."""
    return a_run(seed, settings=settings, last_move=np.where(DEAD_MASK, at, 90), **planted)


# --- for each question: runs of one seed in which its number is high or low


def with_forces(name, high, low):
    def runs(seed, is_high):
        return [a_run(seed, forces=replace(STILL, **{name: high if is_high else low}))]

    return runs


def longer(seed, is_high):
    arms = [{"compensation": "kahan"}, {"precision": "fp32"}, {"precision": "mixed"}]
    late = 80 if is_high else 50
    return [stops(seed, 50), *(stops(seed, late, settings, experiment=str(settings)) for settings in arms)]


def factorial(factor):
    """The factor has all of the variance, or another has."""

    def runs(seed, is_high):
        levels = {"learning_rate": [1e-3, 3e-4], "weight_decay": [0.0, 0.1], "schedule": ["constant", "linear"]}
        decides = factor if is_high else next(name for name in levels if name != factor)
        found = []
        for cell in product(*levels.values()):
            settings = dict(zip(levels, cell, strict=True))
            late = settings[decides] == levels[decides][1]
            found.append(stops(seed, 70 if late else 30, settings, experiment=f"cell {cell}"))
        return found

    return runs


def live_longer(seed, is_high):
    return [stops(seed, 50 if is_high else 90)]


def rare_early(seed, is_high):
    order = np.arange(LIVE) if is_high else np.array([3, 0, 4, 1, 5, 2]) * -1
    return [a_run(seed, last_move=np.concatenate([np.full(DEAD, 9), 50 + order]))]


def far_early(seed, is_high):
    norms = np.zeros((2, DEAD, D))
    norms[1, :, 0] = np.arange(DEAD, 0, -1) if is_high else np.arange(DEAD)
    last = np.concatenate([np.arange(DEAD) + 10, np.full(LIVE, 90)])
    return [a_run(seed, settings={"init.mode": "normal"}, cloud=norms, last_move=last)]


def parted(share):
    """Labels of dead tokens that share one vector before training, a share of which are alone at the end."""
    last = np.zeros(DEAD + LIVE, int)
    alone = round(share * DEAD)
    last[:alone] = np.arange(20, 20 + alone)
    return np.stack([np.zeros(DEAD + LIVE, int), last])


def stochastic_parts(seed, is_high):
    one = a_run(seed, "drawn", {"rounding.weights": "stochastic"}, labels=parted(1 if is_high else 0))
    return [a_run(seed, labels=parted(0)), one]


def kept_together(seed, is_high):
    return [a_run(seed, settings={"compensation": "kahan"}, labels=parted(0 if is_high else 1))]


def merged(seed, is_high):
    first = np.arange(DEAD + LIVE)
    last = np.where(first < DEAD, 0, first) if is_high else first
    return [a_run(seed, settings={"init.mode": "noise"}, labels=np.stack([first, last]))]


def escaped(seed, is_high):
    """Rare tokens escape late, or frequent ones do; tokens are seen at the first step."""
    count = np.array([1.0, 10, 100, 1000, 10, 100])
    step = np.array([9.0, 7, 4, 2, 3, 8]) if is_high else np.array([2.0, 4, 7, 9, 8, 3])
    first = np.ones(len(step))
    return [a_run(seed, escapes=survival.Escapes(np.zeros(6, int), count, step, np.ones(6, bool), first))]


def cloud(shrinks, decay=0.0):
    start = np.random.default_rng(0).normal(size=(DEAD, D))
    return {"cloud": np.stack([start, 3 + start * (1 - shrinks)]), "decay": decay}


def contracted(seed, is_high):
    return [a_run(seed, settings={"init.mode": "normal"}, **cloud(0.2 if is_high else 0.0))]


def contracted_by_decay(seed, is_high):
    part = 0.9 if is_high else 0.1
    return [a_run(seed, settings={"init.mode": "normal"}, **cloud(0.2, part * np.log(0.8)))]


def contracted_by_rounding(seed, is_high):
    apart = {"init.mode": "normal"}
    kahan = a_run(seed, "kahan", apart | {"compensation": "kahan"}, **cloud(0.02 if is_high else 0.19))
    return [a_run(seed, settings=apart, **cloud(0.2)), kahan]


PLANTED = {
    "freeze_is_rounding": with_forces("undone", 0.9375, 0.2),
    "freeze_later_without_rounding": longer,
    **{f"freeze_by_{factor}": factorial(factor) for factor in freeze.FACTORS},
    "dead_freeze_first": live_longer,
    "rare_freeze_early": rare_early,
    "far_freeze_early": far_early,
    "holes_need_deterministic_rounding": stochastic_parts,
    "holes_last_without_loss": kept_together,
    "holes_made_by_training": merged,
    "frequency_sets_escape": escaped,
    "frequency_sets_escape_once_seen": escaped,
    "dead_cloud_contracts": contracted,
    "contraction_is_decay": contracted_by_decay,
    "contraction_is_rounding": contracted_by_rounding,
    "dead_move_along_hidden": with_forces("along", 0.8, 0.1),
    "hidden_keeps_direction": with_forces("direction", 0.99, 0.3),
    "hidden_spreads_as_loss_falls": with_forces("spread_with_loss", -0.9, 0.2),
}
# without dead tokens, forces, other arms, splits or escapes: no question has data but that of the live tokens
NOTHING = [a_run(seed, settings={"precision": "fp32"}, dead=np.zeros(DEAD + LIVE, bool)) for seed in (1, 2, 3)]


def asked(key, runs):
    return verdict.answer(BY_KEY[key], runs)


def of_seeds(key, high):
    return [run for seed, is_high in enumerate(high, 1) for run in PLANTED[key](seed, is_high)]


def test_every_question_is_planted():
    assert {*PLANTED, "holes_rejoin"} == set(BY_KEY)
    assert len(BY_KEY) == len(tables.QUESTIONS)


@pytest.mark.parametrize("key", PLANTED)
def test_answers(key):
    yes, no, mixed = (asked(key, of_seeds(key, high)) for high in ([1, 1, 1], [0, 0, 0], [1, 0, 1]))
    assert (yes.answer, no.answer, mixed.answer) == ("yes", "no", "undecided")
    assert (yes.n, no.n, mixed.n) == (3, 3, 3)
    assert mixed.low <= no.effect < mixed.effect < yes.effect
    few = asked(key, of_seeds(key, [1, 1]))
    assert (few.answer, few.n, few.effect) == ("undecided", 2, pytest.approx(yes.effect))
    assert "an answer takes 3" in few.detail
    none = asked(key, NOTHING)
    assert none.answer.startswith("needs: ")
    assert not none.values
    assert asked(key, []).answer == none.answer


def test_rejoins_are_exact():
    """One run is enough, and no interval is needed; without a split there is nothing that could rejoin."""
    split, rejoined = a_run(1, splits=4), a_run(2, splits=2, rejoins=[7, 12])
    assert asked("holes_rejoin", [split]).answer == "no"
    found = asked("holes_rejoin", [split, rejoined])
    assert (found.answer, found.effect, found.n) == ("yes", 1.0, 2)
    assert found.detail == "6 splits and 2 rejoins in 2 runs; in 1 of them one at least, the last at step 12"
    assert asked("holes_rejoin", [a_run(1)]).answer.startswith("needs: ")


def test_where_no_hole_can_be_told_runs_say_nothing():
    """Stochastic rounding parts all tokens at the first step; float32 weights may be equal in the history alone."""
    drawn, wide = {"rounding.weights": "stochastic"}, {"precision": "fp32"}
    for settings, says in ((drawn, False), (wide, False), ({"compensation": "kahan"}, True)):
        runs = [a_run(1, settings=settings, splits=3, rejoins=[20])]
        assert (asked("holes_rejoin", runs).answer == "yes") == says
        noise = [replace(run, settings=run.settings | {"init.mode": "noise"}) for run in runs]
        assert bool(asked("holes_made_by_training", noise).values) == says
    rare_late = PLANTED["frequency_sets_escape"](1, True)
    drawn_too = [replace(run, settings=BASE | drawn) for run in rare_late]
    assert asked("frequency_sets_escape", drawn_too).answer.startswith("needs: ")
    sparse = [a_run(1, settings={"compensation": "kahan"}, forces=replace(STILL, along=0.1))]
    assert asked("dead_move_along_hidden", sparse).answer.startswith("needs: ")


def test_moves_against_the_hidden_state_are_along_it():
    against = [a_run(seed, forces=replace(STILL, along=-0.8 - seed / 100)) for seed in (1, 2, 3)]
    found = asked("dead_move_along_hidden", against)
    assert (found.answer, found.effect) == ("yes", pytest.approx(-0.82))
    across = [replace(run, forces=replace(STILL, along=-0.1)) for run in against]
    assert asked("dead_move_along_hidden", across).answer == "no"


def test_a_cloud_that_does_not_contract_says_nothing_of_the_force():
    runs = [a_run(seed, settings={"init.mode": "normal"}, **cloud(-0.1, -0.05)) for seed in (1, 2, 3)]
    found = asked("contraction_is_decay", runs)
    assert (found.answer, found.n) == ("undecided", 0)
    assert found.detail.startswith("in 3 of 3 runs the cloud does not contract")
    runs += [replace(run, settings=run.settings | {"compensation": "kahan"}) for run in runs]
    found = asked("contraction_is_rounding", runs)
    assert (found.answer, found.n) == ("undecided", 0)
    assert "in 3 of 3 pairs" in found.detail


def test_a_run_that_never_stops_says_nothing_of_its_freeze():
    runs = [a_run(seed, forces=STILL) for seed in (1, 2, 3)]
    found = asked("freeze_is_rounding", runs)
    assert (found.answer, found.n) == ("undecided", 0)
    assert "in 3 of 3 runs all dead tokens move at the last step" in found.detail


def test_slopes_are_those_of_the_survival_table():
    """Tokens escape at the step of their first occurrence, or later."""
    random = np.random.default_rng(0)
    runs = []
    for seed in range(4):
        first = random.integers(1, 30, 40)
        count = 10.0 ** random.uniform(0, 4, 40)
        step = first + random.integers(0, 3, 40) * random.integers(0, 9, 40)
        own = survival.Escapes(np.full(40, seed), count, step, random.random(40) < 0.9, first.astype(float))
        runs.append(a_run(seed, escapes=own))
    parts = zip(*(vars(run.escapes).values() for run in runs), strict=True)
    table = {row[0]: row[1:4] for row in survival.statistics(survival.Escapes(*map(np.concatenate, parts)))}
    for key, name in (("frequency_sets_escape", ""), ("frequency_sets_escape_once_seen", "_once_seen")):
        found = asked(key, runs)
        expected = table[f"log_hazard_per_tenfold_count{name}_mean_of_runs"]
        assert [found.effect, found.low, found.high] == pytest.approx(expected)


# --- what counts as one, and what is compared


def test_runs_with_one_seed_count_once():
    runs = [run for seed in (1, 2) for run in PLANTED["dead_freeze_first"](seed, True)]
    twice = [*runs, *(replace(run, experiment="other", last_move=run.last_move - 40) for run in runs)]
    found = asked("dead_freeze_first", twice)
    assert (found.answer, found.n, found.counted) == ("undecided", 2, "seeds of 4 runs")
    assert found.detail.startswith("one 0.4, other 0.4;")


def test_experiments_that_differ_have_no_answer_together():
    one = [a_run(seed, last_move=np.where(DEAD_MASK, 10, 90)) for seed in (1, 2, 3)]
    other = [a_run(seed, "other", last_move=np.full(DEAD + LIVE, 90)) for seed in (1, 2, 3)]
    assert asked("dead_freeze_first", one).answer == "yes"
    assert asked("dead_freeze_first", other).answer == "no"
    found = asked("dead_freeze_first", one + other)
    assert (found.answer, found.n, found.low) == ("undecided", 3, pytest.approx(0.4))
    assert found.detail.endswith("the experiments differ: one alone says yes, another no")
    assert "differ" not in asked("dead_freeze_first", one + other[:2]).detail  # two runs alone say nothing


def test_interval_is_students():
    cosines = [0.3, 0.7, 0.9, 0.8]
    runs = [a_run(seed, forces=replace(STILL, along=cosine)) for seed, cosine in enumerate(cosines)]
    found = asked("dead_move_along_hidden", runs)
    interval = stats.t.interval(0.95, 3, np.mean(cosines), stats.sem(cosines))
    assert (found.effect, found.low) == pytest.approx((np.mean(cosines), interval[0]))
    assert found.high == pytest.approx(min(1, interval[1]))  # a cosine is at most 1


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 9},
        {"settings": {"compensation": "kahan", "learning_rate": 0.5}},
        {"settings": {"compensation": "kahan", "model.tied": False}},
        {"corpus": "another"},
        {"settings": {}},
    ],
    ids=["seed", "rate", "model", "corpus", "nothing differs"],
)
def test_only_like_runs_are_paired(other):
    kahan = {"seed": 1, "settings": {"compensation": "kahan"}} | other
    runs = [a_run(1, "nearest"), a_run(**kahan, experiment="kahan")]
    pairs = list(arms.pairs(runs, arms.ROUNDING, arms.keeps_all, arms.is_nearest))
    assert not pairs
    assert asked("freeze_later_without_rounding", runs).answer.startswith("needs: ")


def test_arms_are_told_by_settings_and_not_by_names():
    base_seed = {"base_seed": 7}  # runs are compared by their own seed
    one, nearest = a_run(3, "nearest", {"compensation": "kahan"} | base_seed), a_run(3, "kahan")
    assert list(arms.pairs([one, nearest], arms.ROUNDING, arms.keeps_all, arms.is_nearest)) == [(one, nearest)]
    words = [{}, {"compensation": "kahan"}, {"precision": "fp32"}, {"rounding.state": "stochastic"}]
    assert [arms.by_arm(a_run(settings=own)) for own in words] == ["nearest", "kahan", "fp32", "stochastic"]
    assert [arms.is_nearest(a_run(settings=own)) for own in words] == [True, False, False, False]
    assert [arms.keeps_all(a_run(settings=own)) for own in words] == [False, True, True, False]


def test_an_incomplete_factorial_needs_the_rest():
    runs = [run for seed in (1, 2, 3) for run in PLANTED["freeze_by_schedule"](seed, True)]
    lacking = [run for run in runs if run.experiment != runs[0].experiment]
    assert asked("freeze_by_schedule", lacking).answer.startswith("needs: ")
    part = [run for run in runs if run.settings["schedule"] == "linear"]
    assert asked("freeze_by_schedule", part).answer.startswith("needs: ")
    assert asked("freeze_by_schedule", runs).counted == "seeds of 24 runs"


def test_shares_of_variance_against_a_fit():
    """The main effect of a factor is what a model of it alone explains, for a balanced design."""
    grid = np.random.default_rng(0).normal(size=(2, 3, 2)) + np.arange(3)[None, :, None]
    at = np.array(list(np.ndindex(grid.shape)))
    for axis, share in enumerate(freeze.shares_of_variance(grid)):
        design = np.eye(grid.shape[axis])[at[:, axis]]
        fitted = design @ np.linalg.lstsq(design, grid.ravel(), rcond=None)[0]
        left = ((grid.ravel() - fitted) ** 2).sum()
        assert share == pytest.approx(1 - left / ((grid - grid.mean()) ** 2).sum())
    assert np.isnan(freeze.shares_of_variance(np.ones((2, 2)))).all()


def test_new_holes_by_hand():
    run = a_run(labels=np.array([[0, 0, 2, 2, 4, 5], [0, 0, 2, 3, 4, 4]]))
    assert holes.new_holes(run) == pytest.approx(2 / 6)  # 0 and 1 were one, 2 and 3 have parted, 4 and 5 were two


def test_numbers_of_the_cloud_by_hand():
    square = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    run = a_run(settings={"init.mode": "normal"}, cloud=np.stack([2 * square, square + 5]), decay=np.log(0.5))
    assert motion.radius(square) == pytest.approx(1)
    assert motion.shrinkage(run) == pytest.approx(0.5)
    assert motion.decays_part(run) == pytest.approx(1)


# --- what is written


def test_tables(tmp_path):
    runs = [run for key in ("dead_freeze_first", "freeze_is_rounding") for run in of_seeds(key, [1, 1, 1])]
    paths = [str(tmp_path / name) for name in ("questions.csv", "values.csv", "questions.md")]
    tables.write(runs, *paths, shown="run_002")
    with open(paths[0], newline="", encoding="utf-8") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(BY_KEY)
    row = rows["freeze_is_rounding"]
    assert (row["answer"], row["effect"], row["low"], row["high"], row["n"]) == (
        "yes",
        "0.9375",
        "0.9375",
        "0.9375",
        "3",
    )
    assert (row["yes"], row["no"], row["counted"]) == ("0.9", "0.5", "runs")
    assert row["figure"] == "one/run_001/figures/forces_moves.png"
    assert row["files"] == "one/run_*/forces.safetensors one/run_*/freeze.csv"
    missing = rows["far_freeze_early"]
    assert (missing["answer"], missing["effect"], missing["figure"], missing["n"]) == (
        "needs: an experiment with init: normal and precision: bf16 (config/start.yaml)",
        "",
        "",
        "0",
    )
    with open(paths[1], newline="", encoding="utf-8") as file:
        values = [row for row in csv.DictReader(file) if row["key"] == "freeze_is_rounding"]
    assert [(row["experiment"], row["run"], row["seed"], row["value"]) for row in values] == [
        ("one", f"run_{seed:03d}", str(seed), "0.9375") for seed in (1, 2, 3)
    ]
    page = (tmp_path / "questions.md").read_text(encoding="utf-8")
    for question in tables.QUESTIONS:
        assert f"\n| {question.question} | **{rows[question.key]['answer']}** | " in page
        assert f"\n## {question.question}\n" in page
        assert f"\n- Rule: {question.rule}.\n" in page
    assert "- Figure: [one/run_001/figures/forces_moves.png](one/run_001/figures/forces_moves.png)." in page


def test_rules_are_said_as_they_are_applied():
    """The words of a rule name the limits that decide."""
    for question in tables.QUESTIONS:
        if question.key == "holes_rejoin":
            continue
        limits = {question.yes, question.no}
        words = [f"{limit:g}" if limit < 1 and question.unit[:3] != "log" else "log 1.5" for limit in limits]
        assert all(word in question.rule for word in words), question.key
        assert question.yes >= question.no
