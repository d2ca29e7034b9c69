"""The trials of one σ (row D)."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from blackholes.artifacts.files import write_table
from blackholes.errors import about
from blackholes.kernels import snowball
from blackholes.snowballs.source import TOUCHING, source

COLUMNS = ["sigma", "trial_id", *snowball.STATISTICS]


def write(
    path: str | None,
    settings: Mapping,
    sigma: float | str,
    n_trials: int,
    out: str,
    device: torch.device | str = "cpu",
    progress: Callable = lambda done, total, more=None: None,
) -> str:
    """Write the trials of one σ as a table. Returns a one-line summary.

    One trial is in memory at a time; only its 20 statistics are kept.
    Raises UserError as `source` does, and for a word if the file lacks that σ.
    """
    around = source(path, settings)
    value = around.sigma(sigma)
    rows = []
    with about(around.name):
        for trial in range(n_trials):
            tokens = snowball.sample(around.centroid, value, around.n_tokens, settings["seed"], trial)
            result = snowball.trial_statistics(tokens.to(device), around.epsilon, TOUCHING * around.epsilon)
            rows.append((value, trial, *result.values()))
            progress(trial + 1, n_trials, lambda: {"unique": result["n_unique"], "holes": result["n_black_holes"]})
    write_table(out, COLUMNS, rows)
    means = {name: np.mean([row[COLUMNS.index(name)] for row in rows]) for name in ("n_unique", "n_black_holes")}
    return (
        f"σ = {value:g}, {n_trials:,} trials of {around.n_tokens:,} tokens: {means['n_unique']:,.1f} unique vectors, "
        f"{means['n_black_holes']:,.1f} holes on average"
    )
