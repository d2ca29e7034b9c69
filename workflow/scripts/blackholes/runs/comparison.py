"""Experiments compared by pairs of runs with the same seed: comparison.csv, a row a measure and two experiments.

Runs with one seed have one initial draw and one order of windows, so the difference within a pair is free of both.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from blackholes.artifacts.files import write_table
from blackholes.artifacts.histories import open_history
from blackholes.artifacts.tables import read_training_log
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError
from blackholes.runs import black_holes
from blackholes.runs.motion import last_moves

COLUMNS = ["measure", "step", "experiment", "reference", "pairs", "mean", "reference_mean", "difference", "low", "high"]
SERIES = {  # measure → its series in black_hole_counts.safetensors
    "black_holes": "counts",
    "population": "populations",
    "largest_hole": "largest_bh_size",
    "distinct_vectors": "n_unique",
}
LOSSES = 100  # steps that a loss is the mean of: those that end with the one named
RESAMPLES = 9999
Measures = dict[tuple[str, int], float]  # (measure, step) → value


@dataclass
class Files:
    """What is read of a run."""

    log: str  # training_log.csv
    counts: str  # black_hole_counts.safetensors
    history: str
    corpus: str  # tokens.safetensors, for its dead_mask


def write(
    pairs: Sequence[tuple[str, str, Sequence[tuple[Files, Files]]]],
    steps: Sequence[int],
    out: str,
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> None:
    """Write comparison.csv.

    `difference` is the mean over the pairs of the experiment's value less the reference's; `low` and `high` are the
    limits of its 95 % interval, see `interval`. Measures are those of `measure`.

    Args:
        pairs: (experiment, reference, the files of each pair of runs).
        steps: at which series are compared; those beyond an experiment's last are left out.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    known: dict[str, Measures] = {}
    every = {one.history: one for *_, runs in pairs for files in runs for one in files}
    for one in every.values():
        known[one.history] = measure(one, steps, budget_gb)
        progress(len(known), len(every))
    rows = []
    for experiment, reference, runs in pairs:
        both = [tuple(known[one.history] for one in files) for files in runs]
        shared = [key for key in both[0][0] if all(key in values for pair in both for values in pair)]
        for key in shared:
            values = np.array([[one[key] for one in pair] for pair in both])  # (pairs, 2)
            apart = values[:, 0] - values[:, 1]
            means = (*values.mean(0).tolist(), float(apart.mean()))
            rows.append((*key, experiment, reference, len(both), *means, *interval(apart)))
    write_table(out, COLUMNS, rows)


def interval(differences: np.ndarray) -> tuple[float | str, float | str]:
    """Limits of the 95 % bootstrap interval of a mean over pairs: BCa (Efron 1987), of 9,999 resamples.

    Of one pair: empty. Where all differences are equal there is nothing to resample, and both limits are their value.
    """
    differences = np.asarray(differences, float)
    if len(differences) < 2:
        return "", ""
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    for method in ("BCa", "percentile"):  # BCa is not defined for some small samples
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = stats.bootstrap(
                (differences,), np.mean, n_resamples=RESAMPLES, method=method, rng=np.random.default_rng(0)
            ).confidence_interval
        if np.isfinite(found).all():
            break
    return float(found.low), float(found.high)


def measure(files: Files, steps: Sequence[int], budget_gb: float = 1.0) -> Measures:
    """What is compared of a run.

    `loss` (mean of up to 100 steps), `black_holes`, `population`, `largest_hole` and `distinct_vectors` at `steps`; and
    of the whole run, under its last step, `last_increase`, the last step on which the number of holes rose (0: never),
    and, where there are dead tokens, `dead_distinct`, the distinct vectors among them, and `dead_frozen`, the last step
    at which one of them moved (0: never).
    """
    with open_tensors(files.counts) as file:
        (S,) = file.expect("counts", torch.int32, ("S",))
        series = {name: file.rows(key).numpy() for name, key in SERIES.items()}
        labels = file.rows("labels", S - 1, S)[0].numpy()
    last = S - 1
    found: Measures = {}
    losses = read_training_log(files.log, ["loss"], last)["loss"]
    for step in [step for step in steps if step <= last]:
        found |= {(name, step): float(values[step]) for name, values in series.items()}
        if step:
            found["loss", step] = float(losses[max(0, step - LOSSES) : step].mean())
    rises = black_holes.increases(series["black_holes"])
    found["last_increase", last] = float(max((rise[0] for rise in rises), default=0))
    with open_tensors(files.corpus) as file:
        dead = file.rows("dead_mask").numpy()
    if len(dead) != len(labels):
        raise UserError(
            f"{files.corpus}: dead_mask has {len(dead)} tokens; expected {len(labels)}, as in {files.counts}"
        )
    if dead.any():
        found["dead_distinct", last] = float(len(np.unique(labels[dead])))
        with open_history(files.history) as history:
            found["dead_frozen", last] = float(last_moves(history, budget_gb)[dead].max())
    return found


def by_pair(
    pairs: Sequence[tuple[str, str, Sequence[tuple[str, str]]]], files: Mapping[tuple[str, str], Files]
) -> list[tuple[str, str, list[tuple[Files, Files]]]]:
    """The pairs of `write`, from the names of paired runs and each run's files by (experiment, run)."""
    return [
        (one, other, [(files[one, run], files[other, beside]) for run, beside in runs]) for one, other, runs in pairs
    ]
