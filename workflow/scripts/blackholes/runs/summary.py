"""An experiment in two tables: every series over its runs, and the steps on which the number of holes rose."""

import csv
from collections.abc import Sequence

import numpy as np
import torch

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError
from blackholes.runs.black_holes import increases

LOG = ("loss", "grad_norm", "learning_rate")


def write(
    logs: Sequence[str],
    files: Sequence[Sequence[str]],
    counts: Sequence[str],
    runs: Sequence[str],
    steps: Sequence[int],
    summary: str,
    risen: str,
) -> None:
    """Write summary.csv (step, series, mean, std, min, max, runs) and increases.csv (run, step, before, after).

    Args:
        logs: training_log.csv of every run.
        files: for every kind of tensor file, that file of every run; all its series (S,) enter.
        counts: black_hole_counts.safetensors of every run.
        steps: the rows of summary.csv.

    `std` is the sample standard deviation over the runs (over n − 1; 0 for one run). Training has no loss at step 0.

    Raises:
        UserError: a file that is not what it should be, by name.
    """
    table: dict[str, list[np.ndarray]] = {}
    for log in logs:
        for name, values in _read_log(log, max(steps)).items():
            table.setdefault(name, []).append(values[list(steps)])
    for kind in files:
        for path in kind:
            with open_tensors(path) as file:
                for key in file.keys():  # noqa: SIM118 - a reader, not a dict
                    if len(file.shape(key)) == 1:
                        series = file.rows(key).to(torch.float64).numpy()
                        if len(series) <= max(steps):
                            raise UserError(f"{path}: {key} ends at step {len(series) - 1}, expected {max(steps)}")
                        table.setdefault(key, []).append(series[list(steps)])
    rows = []
    for row, step in enumerate(steps):
        for name, found in table.items():
            values = np.array([values[row] for values in found])
            if np.isnan(values).all():
                continue
            std = values.std(ddof=1) if len(values) > 1 else 0.0
            numbers = values.mean(), std, values.min(), values.max()
            rows.append((step, name, *map(float, numbers), len(values)))

    rises = []
    for run, path in zip(runs, counts, strict=True):
        with open_tensors(path) as file:
            file.expect("counts", torch.int32, ("S",))
            rises += [(run, *rise) for rise in increases(file.rows("counts").numpy())]
    write_table(summary, ["step", "series", "mean", "std", "min", "max", "runs"], rows)
    write_table(risen, ["run", "step", "before", "after"], rises)


def _read_log(path: str, last: int) -> dict[str, np.ndarray]:
    """Series of a training log, by step; NaN at step 0."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found = [int(row["step"]) for row in rows]
        series = {name: np.array([np.nan] + [float(row[name]) for row in rows]) for name in LOG}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected columns step, {', '.join(LOG)}") from error
    if len(rows) < last or found != list(range(1, len(rows) + 1)):
        raise UserError(f"{path}: steps are missing, expected a row for each of 1 to {last}")
    return series
