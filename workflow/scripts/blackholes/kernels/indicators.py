"""Indicators of under-training, from an embedding matrix alone (row C)."""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from blackholes.kernels import backends
from blackholes.kernels.checks import refuse_non_finite, require

FLOATS = (torch.bfloat16, torch.float16, torch.float32)
_BLOCK = 1 << 18  # numbers of a block, sized for a cache; fixed, since the last bits of the mean depend on it
_ROUNDING = 1e-12  # a remainder below this part of the vector's length is rounding error


def under_training(
    W: Float[Tensor, "V D"],
    reference: Int64[Tensor, "n"],
    centroid: Float[Tensor, "D"],
    component: Float[Tensor, "D"],
) -> dict[str, Float32[Tensor, "V"]]:
    """Norm, distance to a centroid and cosine to the unused direction of every token.

    Args:
        W: in bfloat16, float16 or float32.
        reference: ids of tokens that are assumed to be unused, at least one.
        centroid: the point from which `centroid_distance` is measured.
        component: the first principal component of the centred matrix, of any length but 0.

    Returns:
        `norm` |w|; `centroid_distance` |w − centroid|; `cosine_unused`, the cosine between w and the mean of the
        reference, both after the mean of all tokens is subtracted and the component is projected out, since neither
        tells trained tokens from untrained ones (Land and Bartolo, "Fishing for Magikarp", 2024, project it out
        without centring). It is 0 where nothing but rounding error is left.

    Sums run in float64, in blocks of rows of 2 MiB; results are rounded once to float32. Raises UserError for NaN or
    infinity, naming token and dimension, and for a reference, centroid or component that does not fit W.
    """
    require(W.dtype in FLOATS, f"W is {W.dtype}, where bfloat16, float16 or float32 is expected")
    require(W.ndim == 2 and W.numel() > 0, f"W has shape {tuple(W.shape)}, where (V, D) is expected")
    V, D = W.shape
    require(len(reference) > 0, "reference holds no token, where at least one is expected")
    outside = reference[(reference < 0) | (reference >= V)].tolist()
    require(not outside, f"reference holds token {outside[0] if outside else 0}, where 0 to {V - 1} is expected")
    for name, vector in (("centroid", centroid), ("component", component)):
        require(vector.shape == (D,), f"{name} has shape {tuple(vector.shape)}, where ({D},) is expected")
        refuse_non_finite(vector, ("dimension",))
    refuse_non_finite(W, ("token", "dimension"))

    centroid, axis = centroid.to(W.device).double(), component.to(W.device).double()
    require(bool(axis.any()), "component is 0 in every dimension, where a direction is expected")
    axis = axis / axis.norm()
    length = max(1, _BLOCK // D)
    blocks = [slice(start, start + length) for start in range(0, V, length)]

    zero = W.new_zeros(D, dtype=torch.float64)
    mean = sum((W[block].double().sum(0) for block in blocks), zero) / V
    members = [reference[block] for block in blocks if block.start < len(reference)]
    unused = sum((W[ids].double().sum(0) for ids in members), zero) / len(reference)
    direction, left = _without(unused[None] - mean, axis, unused[None].norm(dim=1) + mean.norm())
    direction = torch.where(left > 0, direction[0] / left, 0)

    names = ("norm", "centroid_distance", "cosine_unused")
    columns = {name: backends.empty((V,), torch.float32, W.device) for name in names}
    for block in blocks:
        rows = W[block].double()  # (b, D)
        norm = rows.norm(dim=1)
        columns["norm"][block] = norm
        columns["centroid_distance"][block] = (rows - centroid).norm(dim=1)
        rest, left = _without(rows - mean, axis, norm + mean.norm())
        cosine = torch.where(left > 0, (rest * direction).sum(1) / left, 0)
        columns["cosine_unused"][block] = cosine.clamp(-1, 1)
    return columns


def _without(rows: Tensor, axis: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (b, D) with `axis` projected out, and their lengths (b,): 0 where only rounding error is left of `scale`."""
    rows = rows - (rows * axis).sum(1, keepdim=True) * axis  # not a matrix product: equal rows get equal results
    left = rows.norm(dim=1)
    return rows, torch.where(left > _ROUNDING * scale, left, 0)


def suspicion(centroid_distance: Float32[Tensor, "V"], cosine_unused: Float32[Tensor, "V"]) -> Int64[Tensor, "V"]:
    """Rank of every token, from 1, the most suspicious, to V.

    Each token has two places: by distance to the centroid, ascending, and by cosine to the unused direction,
    descending; equal values share the smallest place. Tokens are ranked by the later of the two, since an unused token
    is both near the centroid and in the unused direction; ties go by distance, then by token id. Norms are not used:
    whether unused tokens shrink depends on the model.
    """
    distance, cosine = centroid_distance, -cosine_unused
    places = torch.maximum(*(torch.searchsorted(values.sort().values, values) for values in (distance, cosine)))
    order = distance.argsort(stable=True)
    order = order[places[order].argsort(stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(1, len(order) + 1, device=order.device)
    return rank


def auroc(first: Int64[np.ndarray, "n"], second: Int64[np.ndarray, "m"]) -> float:
    """The share of pairs in which the first has the smaller rank: the area under the ROC curve. Equal ranks count half.

    Raises UserError where one of the two is empty.
    """
    require(len(first) > 0 and len(second) > 0, "ranks: at least one of each kind is expected")
    ordered = np.sort(second)
    after = len(second) - np.searchsorted(ordered, first, side="right")
    equal = len(second) - np.searchsorted(ordered, first, side="left") - after
    return float((after + equal / 2).mean() / len(second))
