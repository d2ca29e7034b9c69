"""Geometry of a run's token cloud through time (row B): its centroid, norms and radius."""

import torch
from jaxtyping import Float
from torch import Tensor

from blackholes.kernels import backends

CLOUD = (
    "centroid_norm",
    "token_norm_min",
    "token_norm_max",
    "token_norm_mean",
    "token_norm_median",
    "token_norm_std",
    "cloud_radius",
)
MOTION = ("centroid_displacement", "centroid_distance")


def layout(S: int, D: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """The tensors of geometric_time_series.safetensors."""
    return {"centroid": (torch.float32, (S, D))} | dict.fromkeys((*CLOUD, *MOTION), (torch.float32, (S,)))


def cloud(snapshots: Float[Tensor, "s V D"]) -> dict[str, Float[Tensor, "..."]]:
    """Geometry of each snapshot, float32: `centroid` (s, D), and series (s,) of the tokens' norms and the radius.

    The median is the lower median; the standard deviation is that of all tokens (over V); `cloud_radius` is the
    largest distance of a token from the centroid. Sums run in float64. Values must be finite.
    """
    _, V, D = snapshots.shape
    length = backends.block_length(8 * V * D, snapshots.device)  # their vectors in float64
    blocks = [_cloud(block) for block in snapshots.split(length)]
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def motion(
    centroid: Float[Tensor, "s D"], before: Float[Tensor, "D"], first: Float[Tensor, "D"]
) -> dict[str, Float[Tensor, "s"]]:
    """How the centroid moves: its distance from the step before (`centroid_displacement`) and from step 0.

    `before` is the centroid of the step before the first of `centroid`, or that of step 0 itself at step 0.
    """
    centroid, before, first = centroid.double(), before.double(), first.double()
    return {
        "centroid_displacement": centroid.diff(dim=0, prepend=before[None]).norm(dim=1).float(),
        "centroid_distance": (centroid - first).norm(dim=1).float(),
    }


def _cloud(snapshots: Tensor) -> dict[str, Tensor]:
    vectors = snapshots.double()
    centroid = vectors.mean(1)
    norms = vectors.norm(dim=2)
    series = {
        "centroid": centroid,
        "centroid_norm": centroid.norm(dim=1),
        "token_norm_min": norms.amin(1),
        "token_norm_max": norms.amax(1),
        "token_norm_mean": norms.mean(1),
        "token_norm_median": norms.median(1).values,
        # torch.std has another algorithm for a single row: the last bits would depend on the number of snapshots
        "token_norm_std": torch.std_mean(norms, dim=1, correction=0)[0],
        "cloud_radius": (vectors - centroid[:, None]).norm(dim=2).amax(1),
    }
    return {name: values.float() for name, values in series.items()}
