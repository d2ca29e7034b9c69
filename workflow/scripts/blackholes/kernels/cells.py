"""Distances in cells, for the floating-point formats in which checkpoints are stored (docs/definitions.md)."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from blackholes.kernels import duplicates
from blackholes.kernels.checks import refuse_non_finite, require

_PAIRS, _DIMENSIONS = 2**20, 8  # compared at once
_REACH = 16  # cells from a vector within which its component is looked for first
BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


def ordinals(vectors: Float[Tensor, "N D"]) -> Int64[Tensor, "N D"]:
    """Index of every number among those of its format: monotone, adjacent numbers differ by 1, both zeros are 0.

    As `bf16.ordinal`, also for float16 and float32. Raises UserError for another dtype, and for NaN or infinity.
    """
    require(vectors.dtype in BITS, f"vectors are {vectors.dtype}, where bfloat16, float16 or float32 is expected")
    refuse_non_finite(vectors)
    bits = vectors.detach().contiguous().view(BITS[vectors.dtype]).long()
    magnitude = bits & torch.iinfo(BITS[vectors.dtype]).max
    return torch.where(bits < 0, -magnitude, magnitude)


def values(places: Int[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """The numbers of `dtype` with these indices: the inverse of `ordinals`, but for −0, which has the index of 0."""
    lowest = torch.iinfo(BITS[dtype]).min  # the sign bit alone
    return torch.where(places < 0, lowest - places, places).to(BITS[dtype]).view(dtype)


def chebyshev(places: Int64[Tensor, "N D"]) -> Int64[Tensor, "N N"]:
    """Chebyshev distances in cells between all rows of `places`, which `ordinals` returned. Exact."""
    exact = places.double()  # ordinals and their differences are below 2**53
    return torch.cdist(exact, exact, p=torch.inf).long()


def near(
    places: Int64[Tensor, "N D"], limit: int, height: int | None = None
) -> Iterator[tuple[int, Bool[Tensor, "n N"]]]:
    """Yield (first row, `height` rows) of `chebyshev(places) <= limit` without making that matrix. Exact.

    A pair is dropped at the first dimensions that separate it. Dimensions of largest extent come first, so distant
    vectors cost almost nothing.
    """
    N, D = places.shape
    order = (places.amax(0) - places.amin(0)).argsort(descending=True, stable=True)
    places = places[:, order]
    height = height or max(1, _PAIRS // N)
    for start in range(0, N, height):
        rows = places[start : start + height]
        hits = (rows[:, None, 0] - places[None, :, 0]).abs() <= limit
        for left in range(1, D, _DIMENSIONS):
            i, j = hits.nonzero(as_tuple=True)
            if not len(i):
                break
            part = slice(left, left + _DIMENSIONS)
            hits[i, j] = ((rows[i, part] - places[j, part]).abs() <= limit).all(1)
        yield start, hits


def component(vectors: Float[Tensor, "N D"], start: int, limit: int = 1) -> Bool[Tensor, "N"]:
    """Which rows are joined to row `start` by steps of at most `limit` cells in every dimension. Exact.

    Only rows near `start` are kept in memory as ordinals: if the component that they form ends before the edge of that
    neighbourhood, no row further away belongs to it; else the neighbourhood grows. Raises UserError as `ordinals` does.
    """
    require(0 <= start < len(vectors), f"start is row {start}, where 0 to {len(vectors) - 1} is expected")
    refuse_non_finite(vectors, ("token", "dimension"))
    middle, reach = ordinals(vectors[start, None]), _REACH * limit
    while True:
        nearby = _within(vectors, middle, reach)
        places = ordinals(vectors[nearby])
        inside = _flooded(places, int((nearby == start).nonzero()), limit)
        if len(nearby) == len(vectors) or int((places[inside] - middle).abs().max()) <= reach - limit:
            break
        reach *= 4
    found = torch.zeros(len(vectors), dtype=torch.bool, device=vectors.device)
    found[nearby[inside]] = True
    return found


def _within(vectors: Tensor, middle: Tensor, reach: int) -> Tensor:
    """Indices of the rows at most `reach` cells from `middle` in every dimension."""
    height, found = max(1, _PAIRS // vectors.shape[1]), []
    for start in range(0, len(vectors), height):
        near = (ordinals(vectors[start : start + height]) - middle).abs() <= reach
        found.append(start + near.all(1).nonzero()[:, 0])
    return torch.cat(found)


def _flooded(places: Tensor, start: int, limit: int) -> Tensor:
    """Rows of `places` that are joined to row `start`, bool (N,). A pair is compared until a dimension separates it."""
    labels = duplicates.labels(places)
    chosen, inverse = labels.unique(return_inverse=True)
    extent = places.amax(0) - places.amin(0)
    order = extent.argsort(descending=True, stable=True)
    rows = places[chosen][:, order[: int((extent > limit).sum())]]  # no other dimension can separate a pair
    joined = torch.zeros(len(chosen), dtype=torch.bool, device=places.device)
    joined[inverse[start]] = True
    border = joined.nonzero()[:, 0]
    while len(border) and not joined.all():
        others = (~joined).nonzero()[:, 0]
        height = max(1, _PAIRS // len(others))
        some, border = border[:height], border[height:]
        i, j = torch.meshgrid(some, others, indexing="ij")
        i, j = i.flatten(), j.flatten()
        for left in range(1 - _DIMENSIONS, rows.shape[1], _DIMENSIONS):  # the first dimension alone: it drops most
            part = slice(max(left, 0), left + _DIMENSIONS)
            near = ((rows[i, part] - rows[j, part]).abs() <= limit).all(1)
            i, j = i[near], j[near]
        new = j.unique()
        joined[new] = True
        border = torch.cat([border, new])
    return joined[inverse]
