"""All trials of a snowball, and how the checkpoint lies among them (row D)."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.kernels import permutation, snowball
from blackholes.snowballs import elements, permutations
from blackholes.snowballs import trials as one_sigma
from blackholes.snowballs.source import TOUCHING, rows, source

COLUMNS = [*one_sigma.COLUMNS, "label"]
SCORES = ["label", "sigma", "statistic", "checkpoint", "mean", "std", "z", "min", "max", "p", "note"]
FACTS = ["quantity", "value"]


@dataclass
class Outputs:
    """The files that `write` makes."""

    trials: str
    scores: str
    elements: str
    test: str


def write(
    path: str | None,
    embedding: str | None,
    settings: Mapping,
    tables: Mapping[str, str],
    shown: str,
    n_permutations: int,
    clouds: Sequence[str],
    out: Outputs,
    metadata: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
) -> str:
    """Write trials.csv, z_scores.csv, elements.safetensors and permutation_test.csv. Returns a one-line summary.

    Args:
        path: as in `source`; latent.safetensors of a checkpoint. embedding: its W.safetensors; None: no checkpoint.
        tables: label → table of the trials of its σ. shown: the label whose elements are written.
        n_permutations: how many; `clouds`: the tables of `permutations.write`, in order.

    trials.csv has every σ, ascending, then the permutations, whose `sigma` is empty and whose `label` is `permutation`.

    z = (checkpoint − mean) / std over the trials of a label, std over n − 1; `min` and `max` are their range. If all
    trials are equal, z is 0 if the checkpoint equals them too, else ± infinity. Beside a σ the checkpoint is the tokens
    of its holes; beside the permutations the tokens that are permuted, and `p` is their two-sided p-value. `note` says
    why there is none. Without a checkpoint, `checkpoint` and `z` are empty.

    Raises:
        UserError: as `source`, and for a file of another kind.
    """
    around = source(path, settings)
    by_label = {label: _read(table) for label, table in tables.items()}
    by_sigma: dict[str, tuple[str, list]] = {}  # `within` may equal a σ that is listed as a number
    for label, found in by_label.items():
        by_sigma.setdefault(found[0][0], (label, found))
    own: Mapping[str, float] = {}
    members, mean = _members(path, embedding)
    if members is not None:
        own = snowball.trial_statistics(members.to(device), around.epsilon, TOUCHING * around.epsilon)
    test = None
    if n_permutations and path and embedding:
        test = permutations.compare(path, embedding, settings, n_permutations, clouds)
    sigmas = (
        [*row, label] for sigma in sorted(by_sigma, key=float) for label, found in [by_sigma[sigma]] for row in found
    )
    write_table(out.trials, COLUMNS, [*sigmas, *(_permuted(test) if test else [])])
    scores = (score for label, found in by_label.items() for score in _scores(label, found, own))
    write_table(out.scores, SCORES, [*scores, *(_test_scores(test) if test else [])])
    write_table(out.test, FACTS, test.facts if test else [("not_tested", _no_test(embedding))])

    sigma = float(by_label[shown][0][0])
    parts, used = elements.of_trials(around, sigma, settings["seed"], len(by_label[shown]))
    tensors = {f"snowball.{name}": value for name, value in parts.items()}
    if members is not None and mean is not None:
        for name, values in (("global", members.double()), ("within", members.double() - mean.double())):
            tensors |= {f"{name}.{key}": value for key, value in elements.distribution(values).items()}
    facts = {"sigma": repr(sigma), "label": shown, "trials": str(used)}
    write_tensors(out.elements, tensors, {**(metadata or {}), **facts})
    number = sum(len(found) for _, found in by_sigma.values())
    return f"{number:,} trials of {len(by_sigma)} σ" + (f"; permutations: {test.summary()}" if test else "")


def _no_test(embedding: str | None) -> str:
    return "`permutations` is 0" if embedding else "there is no checkpoint, whose tokens could be permuted"


def _members(path: str | None, embedding: str | None) -> tuple[Float[Tensor, "n D"] | None, Float[Tensor, "D"] | None]:
    """The tokens of the checkpoint's holes, and their mean."""
    if path is None or embedding is None:
        return None, None
    with open_tensors(path) as file:
        file.expect("token_ids", torch.int64, ("n",))
        file.expect("mean", torch.float32, ("D",))
        ids, mean = file.rows("token_ids").tolist(), file.rows("mean")
    return rows(embedding, ids), mean


def _read(table: str) -> list[list[str]]:
    """Rows of a table of trials, as text, so that they are copied unchanged."""
    try:
        with open(table, newline="", encoding="utf-8") as file:
            head, *found = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read ({error}), expected a table of trials") from error
    if head != one_sigma.COLUMNS or not found:
        wanted = ", ".join(one_sigma.COLUMNS)
        raise UserError(f"{table}: columns {', '.join(head)} with {len(found)} rows; expected {wanted}")
    return found


def _scores(label: str, found: list[list[str]], own: Mapping[str, float]) -> Iterator[tuple]:
    for name in snowball.STATISTICS:
        values = np.array([float(row[one_sigma.COLUMNS.index(name)]) for row in found])
        yield label, found[0][0], *_score(name, values, own.get(name)), "", ""


def _score(name: str, values: np.ndarray, own: float | None) -> tuple:
    """(statistic, checkpoint, mean, std, z, min, max)"""
    mean, std = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    checkpoint = ("", "") if own is None else (own, z_score(own, mean, std))
    return name, checkpoint[0], mean, std, checkpoint[1], float(values.min()), float(values.max())


def z_score(value: float, mean: float, std: float) -> float:
    """Distance of `value` from the mean in standard deviations; with std 0, 0 if equal to the mean, else ± infinity."""
    if std > 0:
        return (value - mean) / std
    return 0.0 if value == mean else math.copysign(math.inf, value - mean)


def _permuted(test: permutations.Result) -> Iterator[tuple]:
    for trial, values in zip(test.trials, test.null, strict=True):
        statistics = zip(snowball.STATISTICS, values.tolist(), strict=True)
        numbers = [int(value) if isinstance(test.own[name], int) else value for name, value in statistics]
        yield "", trial, *numbers, permutations.LABEL


def _test_scores(test: permutations.Result) -> Iterator[tuple]:
    if test.note:
        for name in snowball.STATISTICS:
            yield permutations.LABEL, "", name, test.own.get(name, ""), *[""] * 6, test.note
        return
    values = np.array([test.own[name] for name in snowball.STATISTICS], float)
    for name, column, p in zip(snowball.STATISTICS, test.null.T, permutation.p_values(values, test.null), strict=True):
        yield permutations.LABEL, "", *_score(name, column, test.own[name]), float(p), ""
