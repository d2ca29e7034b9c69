"""Questions on black holes: what they need, whether they rejoin, where they come from, and who escapes."""

from collections.abc import Callable, Sequence

import numpy as np

from blackholes.runs import survival
from blackholes.runs.questions import arms
from blackholes.runs.questions.data import Run
from blackholes.runs.questions.verdict import Found, Question, Value, means, of_runs

_OWN = "figures/questions.png"
_MARGIN = float(np.log(1.5))  # of a hazard: half as much again


def in_holes(labels: np.ndarray) -> np.ndarray:
    """Whether another of these tokens has the same label."""
    sizes = np.bincount(labels, minlength=int(labels.max(initial=0)) + 1)
    return sizes[labels] >= 2


def dead_together(run: Run, at: int) -> float:
    """Share of the dead tokens that share their vector with another dead one, at step 0 (`at` 0) or at the last (1)."""
    return float(in_holes(run.labels[at][run.dead]).mean()) if run.dead.any() else np.nan


def _are_together(run: Run) -> bool:
    """Whether there are holes of dead tokens before training."""
    return dead_together(run, 0) > 0.5


def _deterministic(runs: Sequence[Run]) -> Found | None:
    differ = {"rounding.weights", "rounding.state"}
    values, stochastic = [], []
    for nearest, one in arms.pairs(runs, differ, arms.is_nearest, arms.is_stochastic):
        if _are_together(nearest):
            lost = dead_together(nearest, 1) - dead_together(one, 1)
            values.append(Value(one.seed, one.experiment, one.name, lost))
            stochastic.append(one)
    left = means(of_runs(stochastic, lambda run: dead_together(run, 1)))
    return Found(values, f"share of the dead in holes at the end, rounded stochastically: {left}") if values else None


def _without_loss(runs: Sequence[Run]) -> Found | None:
    some = [run for run in runs if arms.keeps_all(run) and _are_together(run)]
    values = of_runs(some, lambda run: dead_together(run, 1))
    return Found(values, means(values)) if values else None


def _rejoin(runs: Sequence[Run]) -> Found | None:
    """Exact: a hole that split either rejoined at some step or did not."""
    some = [run for run in runs if run.splits and arms.has_holes(run)]
    if not some:
        return None
    values = of_runs(some, lambda run: len(run.rejoins))
    rejoined = [run for run in some if run.rejoins]
    last = max((max(run.rejoins) for run in rejoined), default=0)
    count = f"{sum(run.splits for run in some):,} splits and {sum(len(run.rejoins) for run in some):,} rejoins"
    detail = f"{count} in {len(some)} runs; in {len(rejoined)} of them one at least"
    return Found(values, detail + (f", the last at step {last:,}" if last else ""), "yes" if rejoined else "no")


def new_holes(run: Run) -> float:
    """Share of all tokens that share their vector at the last step with one that had another at step 0."""
    first, last = run.labels
    mixed = [bool(np.ptp(first[last == last[k]])) for k in range(len(last))]
    return float(np.mean(mixed))


def _by_training(runs: Sequence[Run]) -> Found | None:
    some = [run for run in runs if run.settings["init.mode"] == "noise" and arms.has_holes(run)]
    values = of_runs(some, new_holes)
    if not values:
        return None

    def holes(at: int) -> Callable[[Run], float]:
        return lambda run: len(np.unique(run.labels[at][in_holes(run.labels[at])]))

    first, last = means(of_runs(runs, holes(0))), means(of_runs(runs, holes(1)))
    return Found(values, f"holes before training: {first}; at the last step: {last}")


def _slope(once_seen: bool) -> Callable[[Sequence[Run]], Found | None]:
    def of_run(run: Run) -> float:
        data = run.escapes
        if once_seen:
            data = data.only(data.first_seen <= data.step)
        entry = data.first_seen - 1 if once_seen else None
        fit = survival.cox(data.step, data.escaped, np.log10(data.count), entry)
        return fit[0] if fit else np.nan

    def ask(runs: Sequence[Run]) -> Found | None:
        some = [run for run in runs if len(run.escapes.step) and not arms.is_stochastic(run)]
        values = of_runs(some, of_run)
        return Found(values, means(values)) if values else None

    return ask


QUESTIONS = [
    Question(
        "holes_need_deterministic_rounding",
        "Do holes need deterministic rounding?",
        "dead tokens that share their vector with another at the last step: rounded to nearest − stochastically",
        "share of the dead",
        0.5,
        0.5,
        "yes above 0.5, no below 0.5",
        "Pairs of runs with one seed, whose dead tokens share vectors before training, that differ in stochastic "
        "rounding of weights or state only.",
        "an experiment with rounding: stochastic beside the same without (config/precision.yaml)",
        _OWN,
        ("{experiment}/run_*/black_hole_counts.safetensors",),
        _deterministic,
        "pairs",
        (-1, 1),
    ),
    Question(
        "holes_last_without_loss",
        "Do holes last where rounding loses nothing, but is deterministic?",
        "dead tokens that share their vector with another at the last step",
        "share of the dead",
        0.5,
        0.5,
        "yes above 0.5, no below 0.5",
        "Runs with compensated sums (Kahan), mixed precision or float32 whose dead tokens share vectors before "
        "training.",
        "an experiment with compensation: kahan or precision: fp32 and init: qwen (config/precision.yaml)",
        _OWN,
        ("{experiment}/run_*/black_hole_counts.safetensors",),
        _without_loss,
        limits=(0, 1),
    ),
    Question(
        "holes_rejoin",
        "Does a hole, once split, ever rejoin?",
        "fusions of two holes that had been one",
        "rejoins a run",
        0.0,
        0.0,
        "yes if there is one in any run, no if there is none; flicker is not counted; exact",
        "Every fusion of every step of all runs in bfloat16, without stochastic rounding, in which a hole split; two "
        "holes had been one if they have an ancestor in common.",
        "an experiment with init: qwen",
        "{experiment}/{shown}/figures/lineage.png",
        ("{experiment}/run_*/lineage.csv", "{experiment}/run_*/lineage_events.csv"),
        _rejoin,
        limits=(0, np.inf),
    ),
    Question(
        "holes_made_by_training",
        "Are the holes at the end made by training, and not left over from the start?",
        "tokens that share their vector at the last step with one that had another before training",
        "share of all tokens",
        0.05,
        0.05,
        "yes above 0.05, no below 0.05",
        "Runs in bfloat16, without stochastic rounding, that start with noise around one point. Where all start "
        "as one vector (qwen), every hole is left over by construction.",
        "an experiment with init: {mode: noise, sigma: 1.0e-3} beside one with init: qwen (config/start.yaml)",
        _OWN,
        ("{experiment}/run_*/black_hole_counts.safetensors",),
        _by_training,
        limits=(0, 1),
    ),
    Question(
        "frequency_sets_escape",
        "Does a token's frequency set its escape?",
        "slope of the log hazard of an escape on the decimal logarithm of the occurrences",
        "log hazard for ten times as many",
        _MARGIN,
        _MARGIN,
        "yes above log 1.5, no below",
        "Cox's model of each run's live tokens that were with the dead, Efron's handling of ties; stochastic rounding, "
        "which parts all tokens at the first step, is left out.",
        "an experiment with init: qwen",
        "{experiment}/figures/escapes.png",
        ("{experiment}/run_*/escapes.csv", "{experiment}/escape_statistics.csv"),
        _slope(False),
    ),
    Question(
        "frequency_sets_escape_once_seen",
        "Does it still, once the token has occurred in a batch?",
        "the same slope, each token from its first occurrence on",
        "log hazard for ten times as many",
        _MARGIN,
        _MARGIN,
        "yes above log 1.5, no below",
        "As before, with late entry: before a token first occurs as an input or a target it is not at risk.",
        "an experiment with init: qwen",
        "{experiment}/figures/escapes.png",
        ("{experiment}/run_*/escapes.csv", "{experiment}/escape_statistics.csv"),
        _slope(True),
    ),
]
