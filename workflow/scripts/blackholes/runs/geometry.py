"""Geometry of a run's token cloud through time (row B): its centroid, norms and radius."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from blackholes.artifacts.histories import chunk_length, open_history
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import about
from blackholes.kernels.checks import refuse_non_finite


def cloud(snapshots: Float[Tensor, "s V D"]) -> dict[str, Float[Tensor, "..."]]:
    """Geometry of each snapshot, float32: `centroid` (s, D), and series (s,) of the tokens' norms and the radius.

    The median is the lower median; the standard deviation is that of all tokens (over V); `cloud_radius` is the
    largest distance of a token from the centroid. Sums run in float64.
    """
    vectors = snapshots.double()
    centroid = vectors.mean(1)
    norms = vectors.norm(dim=2)
    found = {
        "centroid": centroid,
        "centroid_norm": centroid.norm(dim=1),
        "token_norm_min": norms.amin(1),
        "token_norm_max": norms.amax(1),
        "token_norm_mean": norms.mean(1),
        "token_norm_median": norms.median(1).values,
        "token_norm_std": norms.std(1, correction=0),
        "cloud_radius": (vectors - centroid[:, None]).norm(dim=2).amax(1),
    }
    return {name: series.float() for name, series in found.items()}


def write(
    history: str,
    out: str,
    metadata: dict[str, str] | None = None,
    device: torch.device | str = "cpu",
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> None:
    """Write geometric_time_series.safetensors of a history: `cloud` of every step, and how the centroid moves.

    `centroid_displacement` is its distance from the step before (0 at step 0), `centroid_distance` from step 0.

    Raises:
        UserError: naming the history and what is wrong with it.
    """
    series: dict[str, Tensor] = {}
    with open_history(history) as source, about(history):
        length = chunk_length(6 * 8 * source.tokens * source.dimensions, budget_gb)
        for start, snapshots in source.chunks(length):
            refuse_non_finite(snapshots, first_step=start)
            for name, values in cloud(snapshots.to(device)).items():
                if name not in series:  # all at once: small pieces that stay would keep freed memory from being used
                    series[name] = torch.empty(source.steps, *values.shape[1:])
                series[name][start : start + len(snapshots)] = values
            progress(start + len(snapshots), source.steps)
    centroid = series["centroid"].double()
    series["centroid_displacement"] = torch.zeros(len(centroid))
    series["centroid_displacement"][1:] = centroid.diff(dim=0).norm(dim=1).float()
    series["centroid_distance"] = (centroid - centroid[0]).norm(dim=1).float()
    write_tensors(out, series, metadata)
