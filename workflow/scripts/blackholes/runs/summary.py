"""Two tables of an experiment: each series over its runs, and the steps on which the number of black holes rose."""

from collections.abc import Sequence

import numpy as np
import torch

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tables import LOG, read_training_log
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError
from blackholes.runs import black_holes

_SAID = {
    "counts": "holes",
    "populations": "tokens in holes",
    "largest_bh_size": "in the largest",
    "n_unique": "distinct vectors",
    "loss": "loss",
}  # series → words


def write(
    logs: Sequence[str],
    files: Sequence[Sequence[str]],
    counts: Sequence[str],
    runs: Sequence[str],
    steps: Sequence[int],
    summary: str,
    increases: str,
) -> str:
    """Write summary.csv (step, series, mean, std, min, max, runs) and increases.csv (run, step, before, after).

    Returns a line about the last step: the first result of an experiment.

    Args:
        logs: training_log.csv of every run.
        files: for every kind of tensor file, that file of every run; all its series (S,) are summarised.
        counts: black_hole_counts.safetensors of every run.
        steps: the rows of summary.csv.

    `std` is the sample standard deviation over the runs (over n − 1; 0 for one run). Training has no loss at step 0.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    rises: list[tuple] = []
    for run, path in zip(runs, counts, strict=True):
        with open_tensors(path) as file:
            file.expect("counts", torch.int32, ("S",))
            rises += [(run, *rise) for rise in black_holes.increases(file.rows("counts").numpy())]
    table: dict[str, list[np.ndarray]] = {}
    for log in logs:
        columns = read_training_log(log, LOG, max(steps))
        for name in LOG:  # NaN at step 0
            table.setdefault(name, []).append(np.append(np.nan, columns[name])[list(steps)])
    for kind in files:
        first: set[str] = set()
        for path in kind:
            with open_tensors(path) as file:
                keys = {key for key in file.keys() if len(file.shape(key)) == 1}  # noqa: SIM118 - a reader, not a dict
                for key in sorted(keys):
                    series = file.rows(key).to(torch.float64).numpy()
                    if len(series) <= max(steps):
                        raise UserError(f"{path}: {key} ends at step {len(series) - 1}, expected {max(steps)}")
                    table.setdefault(key, []).append(series[list(steps)])
            for key in sorted(keys ^ (first or keys)):  # a mean over some of the runs would look like one over all
                raise UserError(f"{path}: '{key}' is a series of only one of this file and {kind[0]}; expected both")
            first = first or keys
    rows = []
    for row, step in enumerate(steps):
        for name, of_runs in table.items():
            values = np.array([series[row] for series in of_runs])
            if np.isnan(values).all():
                continue
            std = values.std(ddof=1) if len(values) > 1 else 0.0
            numbers = values.mean(), std, values.min(), values.max()
            rows.append((step, name, *map(float, numbers), len(values)))

    write_table(summary, ["step", "series", "mean", "std", "min", "max", "runs"], rows)
    write_table(increases, ["run", "step", "before", "after"], rises)
    last = {name: mean for step, name, mean, *_ in rows if step == steps[-1]}
    said = [f"{last[name]:,.2f} {words}" for name, words in _SAID.items() if name in last]
    return f"step {steps[-1]:,}, mean of {len(runs)} run{'s' * (len(runs) != 1)}: {', '.join(said)}"
