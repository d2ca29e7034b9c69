"""Questions on how the dead move: as a cloud, and with the hidden states."""

from collections.abc import Callable, Sequence

import numpy as np

from blackholes.runs.questions import arms
from blackholes.runs.questions.data import Forces, Run
from blackholes.runs.questions.verdict import Found, Question, Value, means, of_runs

CONTRACTS = 0.01  # a cloud that lost more of its radius contracts
_OWN = "figures/questions.png"


def radius(cloud: np.ndarray) -> float:
    """Root of the mean squared distance of vectors from their mean."""
    vectors = cloud.astype(np.float64)
    return float(np.sqrt(((vectors - vectors.mean(0)) ** 2).sum(1).mean()))


def shrinkage(run: Run) -> float:
    """1 − the dead cloud's radius at the last step over that before training."""
    return 1 - radius(run.cloud[1]) / radius(run.cloud[0])


def _clouds(runs: Sequence[Run]) -> list[Run]:
    """Runs with a cloud of dead tokens from the start."""
    return [run for run in runs if arms.starts_apart(run) and run.dead.sum() > 1]


def _contracts(runs: Sequence[Run]) -> Found | None:
    values = of_runs(filter(arms.is_nearest, _clouds(runs)), shrinkage)
    return Found(values, means(values)) if values else None


def decays_part(run: Run) -> float:
    """How much of the logarithm of the contraction weight decay intends; NaN where the cloud does not contract."""
    if shrinkage(run) <= CONTRACTS or run.settings["optimizer"] != "adamw":
        return np.nan
    if shrinkage(run) == 1:
        return 0.0
    return run.decay / float(np.log1p(-shrinkage(run)))


def _by_decay(runs: Sequence[Run]) -> Found | None:
    values = of_runs(filter(arms.is_nearest, _clouds(runs)), decays_part)
    if not values:
        return None
    still = sum(np.isnan(value.value) for value in values)
    detail = f"in {still} of {len(values)} runs the cloud does not contract" if still else ""
    return Found(values, "; ".join(filter(None, [means(values), detail])))


def _by_rounding(runs: Sequence[Run]) -> Found | None:
    values, arm, still = [], {}, 0
    for one, nearest in arms.pairs(_clouds(runs), arms.ROUNDING, arms.keeps_all, arms.is_nearest):
        if shrinkage(nearest) <= CONTRACTS:
            still += 1
            share = np.nan
        else:
            share = 1 - shrinkage(one) / shrinkage(nearest)
        value = Value(one.seed, one.experiment, one.name, share)
        values.append(value)
        arm[value] = arms.by_arm(one)
    if not values:
        return None
    words = f"by arm: {means(values, lambda value: arm[value])}"
    rest = f"in {still} of {len(values)} pairs the cloud of the run rounded to nearest does not contract"
    return Found(values, "; ".join([words, rest][: 1 + bool(still)]))


def _recorded(
    number: Callable[[Forces], float], where: Callable[[Run], bool] = lambda run: True
) -> Callable[[Sequence[Run]], Found | None]:
    def ask(runs: Sequence[Run]) -> Found | None:
        values = [
            Value(run.seed, run.experiment, run.name, number(run.forces)) for run in runs if run.forces and where(run)
        ]
        return Found(values, means(values)) if values else None

    return ask


_RECORD = "an experiment with record: {forces: summary, runs: [1, 2, 3]}"
_FORCES = ("{experiment}/run_*/forces.safetensors",)

QUESTIONS = [
    Question(
        "dead_cloud_contracts",
        "Does the dead cloud contract?",
        "loss of the dead tokens' root mean squared distance from their mean, from before training to the last step",
        "share of the radius",
        CONTRACTS,
        CONTRACTS,
        "yes above 0.01, no below 0.01",
        "Runs whose tokens start with their own draws (init: normal), in bfloat16 rounded to nearest.",
        "an experiment with init: normal (config/start.yaml)",
        _OWN,
        ("{experiment}/run_*/embedding_evolution.safetensors",),
        _contracts,
        limits=(-np.inf, 1),
    ),
    Question(
        "contraction_is_decay",
        "Which force contracts it: weight decay?",
        "what weight decay intends, the sum of log(1 − rate × decay), of the logarithm of the contraction",
        "share",
        0.5,
        0.5,
        "yes above 0.5, no below 0.5",
        "Such runs with AdamW whose dead cloud loses more than 0.01 of its radius; the rest is of the gradient and of "
        "rounding.",
        "an experiment with init: normal and weight_decay above 0 (config/start.yaml)",
        _OWN,
        ("{experiment}/run_*/embedding_evolution.safetensors", "{experiment}/run_*/training_log.csv"),
        _by_decay,
    ),
    Question(
        "contraction_is_rounding",
        "Which force contracts it: what rounding loses?",
        "1 − the loss of radius with nothing lost to rounding / that rounded to nearest",
        "share",
        0.5,
        0.5,
        "yes above 0.5, no below 0.5",
        "Pairs of runs with one seed whose dead tokens start apart and that differ in how numbers are stored only: "
        "compensated sums (Kahan), mixed or float32 against bfloat16 rounded to nearest, where that one's cloud loses "
        "more than 0.01 of its radius.",
        "an experiment with init: normal and compensation: kahan, or precision: fp32, beside the same without "
        "(config/start.yaml)",
        _OWN,
        ("{experiment}/run_*/embedding_evolution.safetensors",),
        _by_rounding,
        "pairs",
    ),
    Question(
        "dead_move_along_hidden",
        "Do dead tokens move along the mean hidden state?",
        "mean cosine between a dead token's move and the mean hidden state of that step; negative: away from it",
        "cosine",
        0.5,
        0.5,
        "yes above 0.5 or below −0.5, no within ± 0.5",
        "Over all moves of all dead tokens of a run in bfloat16, rounded to nearest, that records forces.",
        _RECORD,
        "{experiment}/{run}/figures/forces_swarm.png",
        (*_FORCES, "{experiment}/run_*/forces_series.safetensors"),
        _recorded(lambda forces: forces.along, arms.is_nearest),
        limits=(-1, 1),
        either_way=True,
    ),
    Question(
        "hidden_keeps_direction",
        "Does the mean hidden state keep its direction?",
        "length of the mean of the unit vectors along it, over all steps; 1: it never turns",
        "length",
        0.9,
        0.9,
        "yes above 0.9, no below 0.9",
        "The mean of the final hidden states at every step of a run that records forces.",
        _RECORD,
        "{experiment}/{run}/figures/forces_swarm.png",
        _FORCES,
        _recorded(lambda forces: forces.direction),
        limits=(0, 1),
    ),
    Question(
        "hidden_spreads_as_loss_falls",
        "Do hidden states spread as the loss falls?",
        "rank correlation of the spread of the final hidden states with the fall of the loss",
        "correlation",
        0.5,
        0.5,
        "yes above 0.5, no below 0.5",
        "Spearman's, with its sign turned, between the means of hundredths of a run that records forces.",
        _RECORD,
        _OWN,
        (*_FORCES, "{experiment}/run_*/training_log.csv"),
        _recorded(lambda forces: -forces.spread_with_loss),
        limits=(-1, 1),
    ),
]
