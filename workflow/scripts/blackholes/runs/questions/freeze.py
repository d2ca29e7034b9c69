"""Questions on the freeze: why dead tokens stop, when, and which tokens stop first."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from blackholes.runs.questions import arms
from blackholes.runs.questions.data import Run, rank_correlation
from blackholes.runs.questions.verdict import Found, Question, Value, means, of_runs

FACTORS = {"learning_rate": "the learning rate", "weight_decay": "weight decay", "schedule": "the schedule"}
_OWN = "figures/questions.png"


def dead_stop(run: Run) -> float:
    """The last step at which the median dead token moves, as a share of the run; 1: it moves at the last."""
    return float(np.median(run.last_move[run.dead])) / run.steps if run.dead.any() else np.nan


def _undone(runs: Sequence[Run]) -> Found | None:
    some = [run for run in runs if run.forces and arms.is_nearest(run) and run.dead.any()]
    values = of_runs(some, lambda run: run.forces.undone if run.forces else np.nan)
    moving = sum(np.isnan(value.value) for value in values)
    still = f"in {moving} of {len(some)} runs all dead tokens move at the last step" if moving else ""
    stops = means(of_runs(some, dead_stop))
    return Found(values, "; ".join(filter(None, [f"the median dead token stops at a share of {stops}", still])))


def _later(runs: Sequence[Run]) -> Found | None:
    values, arm = [], {}
    for one, nearest in arms.pairs(runs, arms.ROUNDING, arms.keeps_all, arms.is_nearest):
        value = Value(one.seed, one.experiment, one.name, dead_stop(one) - dead_stop(nearest))
        values.append(value)
        arm[value] = arms.by_arm(one)
    return Found(values, f"by arm: {means(values, lambda value: arm[value])}") if values else None


def shares_of_variance(grid: np.ndarray) -> list[float]:
    """The share of each axis' main effect in the variance of the values of a full factorial, one for each combination.

    What is left of 1 is of the axes together (interactions). NaN where the values do not vary.
    """
    total = ((grid - grid.mean()) ** 2).sum()
    if total == 0:
        return [np.nan] * grid.ndim
    shares = []
    for axis in range(grid.ndim):
        own = grid.mean(tuple(other for other in range(grid.ndim) if other != axis)) - grid.mean()
        shares.append(float((own**2).sum() * grid.size / grid.shape[axis] / total))
    return shares


def _grids(runs: Sequence[Run]) -> list[tuple[int, list[list], np.ndarray, list[Run]]]:
    """(seed, levels of each factor, last moves by level, the runs) of every full factorial of the three factors."""
    found = []
    for some in arms.groups([run for run in runs if run.dead.any()], set(FACTORS)).values():
        levels = [sorted({run.settings[factor] for run in some}) for factor in FACTORS]
        if min(map(len, levels)) < 2:
            continue
        for seed in sorted({run.seed for run in some}):
            own = [run for run in some if run.seed == seed]
            cells = [
                [run for run in own if tuple(run.settings[factor] for factor in FACTORS) == cell]
                for cell in product(*levels)
            ]
            if all(cells):
                stops = np.array([np.mean([dead_stop(run) for run in cell]) for cell in cells])
                found.append((seed, levels, stops.reshape([len(level) for level in levels]), own))
    return found


def _by(factor: str):
    axis = list(FACTORS).index(factor)

    def ask(runs: Sequence[Run]) -> Found | None:
        grids = _grids(runs)
        if not grids:
            return None
        names = list(dict.fromkeys(run.experiment for *_, own in grids for run in own))
        shares = [shares_of_variance(grid) for *_, grid, _ in grids]
        values = [Value(seed, "", "", own[axis]) for (seed, *_), own in zip(grids, shares, strict=True)]
        at: dict[str, list[float]] = {}
        for _, levels, grid, _ in grids:
            for level, mean in zip(levels[axis], grid.mean(tuple({0, 1, 2} - {axis})), strict=True):
                at.setdefault(str(level), []).append(float(mean))
        stops = ", ".join(f"{level}: {np.mean(some):.3g}" for level, some in at.items())
        rest = float(np.mean([1 - sum(own) for own in shares]))
        last = [run for *_, own in grids for run in own if dead_stop(run) == 1]
        moving = f"; the median dead token of {len(last)} runs moves at the last step, counted as 1" if last else ""
        detail = f"mean share of the run at which it stops: {stops}; interactions {rest:.3g}{moving}"
        number = sum(len(own) for *_, own in grids)
        return Found(values, detail, experiments=names, counted=f"seeds of {number} runs")

    return ask


def _dead_before_live(runs: Sequence[Run]) -> Found | None:
    some = [run for run in runs if arms.is_nearest(run) and run.dead.any() and not run.dead.all()]
    values = of_runs(some, lambda run: float(np.median(run.last_move[~run.dead])) / run.steps - dead_stop(run))
    return Found(values, means(values)) if values else None


def _rare(runs: Sequence[Run]) -> Found | None:
    some = [run for run in runs if arms.is_nearest(run) and (~run.dead).sum() > 3]
    values = of_runs(some, lambda run: rank_correlation(run.last_move[~run.dead], run.count[~run.dead]))
    return Found(values, means(values)) if values else None


def _far(runs: Sequence[Run]) -> Found | None:
    some = [run for run in runs if arms.is_nearest(run) and arms.starts_apart(run) and run.dead.sum() > 3]
    values = of_runs(some, lambda run: -rank_correlation(run.last_move[run.dead], np.linalg.norm(run.cloud[1], axis=1)))
    return Found(values, means(values)) if values else None


QUESTIONS = [
    Question(
        "freeze_is_rounding",
        "Is the freeze the rounding of too small updates?",
        "updates that are not 0 and change nothing, of all coordinates and steps after a dead token's last move",
        "share",
        0.9,
        0.5,
        "yes above 0.9, no below 0.5",
        "Of runs in bfloat16, rounded to nearest, with recorded forces: the mean over dead tokens and steps after a "
        "token's last move of the share of its dimensions in which the optimizer intended an update other than 0 and "
        "the stored weight stayed.",
        "an experiment with precision: bf16 and record: summary",
        "{experiment}/{run}/figures/forces_moves.png",
        ("{experiment}/run_*/forces.safetensors", "{experiment}/run_*/freeze.csv"),
        _undone,
        limits=(0, 1),
    ),
    Question(
        "freeze_later_without_rounding",
        "Do dead tokens move longer where rounding loses nothing?",
        "last step at which the median dead token moves: with nothing lost − rounded to nearest",
        "share of the run",
        0.05,
        0.05,
        "yes above 0.05, no below 0.05",
        "Pairs of runs with one seed that differ in how numbers are stored only: compensated sums (Kahan), mixed or "
        "float32 against bfloat16 rounded to nearest, each as its history in bfloat16 shows it.",
        "an experiment with compensation: kahan, or precision: fp32, beside the same without (config/precision.yaml)",
        _OWN,
        ("{experiment}/run_*/embedding_evolution.safetensors",),
        _later,
        "pairs",
        (-1, 1),
    ),
    *(
        Question(
            f"freeze_by_{factor}",
            f"What sets the step of the freeze: {words}?",
            f"part of {words} alone in the variance of the step at which the median dead token stops",
            "share of variance",
            0.1,
            0.1,
            "yes above 0.1, no below 0.1",
            "All combinations of learning rates, weight decays and schedules, an analysis of variance for each seed; "
            "the share is of the main effect, without what it does together with the others.",
            "every combination of two learning rates, weight decays and schedules (config/freeze.yaml)",
            _OWN,
            ("{experiment}/run_*/embedding_evolution.safetensors",),
            _by(factor),
            limits=(0, 1),
        )
        for factor, words in FACTORS.items()
    ),
    Question(
        "dead_freeze_first",
        "Which tokens freeze early: the dead?",
        "last step at which a token moves: median of the live − median of the dead",
        "share of the run",
        0.05,
        0.05,
        "yes above 0.05, no below 0.05",
        "The last step at which each token's vector changed, in runs in bfloat16 rounded to nearest.",
        "an experiment with precision: bf16 whose text leaves tokens dead",
        _OWN,
        ("{experiment}/run_*/embedding_evolution.safetensors",),
        _dead_before_live,
        limits=(-1, 1),
    ),
    Question(
        "rare_freeze_early",
        "Which tokens freeze early: the rare among the live?",
        "rank correlation of a live token's occurrences with the last step at which it moves",
        "correlation",
        0.3,
        0.3,
        "yes above 0.3, no below 0.3",
        "Spearman's correlation over the live tokens of a run, in bfloat16 rounded to nearest.",
        "an experiment with precision: bf16 and more than three live tokens",
        _OWN,
        ("{experiment}/run_*/embedding_evolution.safetensors", "{experiment}/run_*/escapes.csv"),
        _rare,
        limits=(-1, 1),
    ),
    Question(
        "far_freeze_early",
        "Which dead tokens freeze early: those far from the origin, where cells are wide?",
        "rank correlation of a dead token's norm at the end with how early it moves last",
        "correlation",
        0.3,
        0.3,
        "yes above 0.3, no below 0.3",
        "Spearman's correlation, with its sign turned, over the dead tokens of a run that start apart, in bfloat16 "
        "rounded to nearest.",
        "an experiment with init: normal and precision: bf16 (config/start.yaml)",
        _OWN,
        ("{experiment}/run_*/embedding_evolution.safetensors",),
        _far,
        limits=(-1, 1),
    ),
]
