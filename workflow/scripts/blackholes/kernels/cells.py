"""Distances in cells, for the floating-point formats in which checkpoints are stored (DESIGN section 2)."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from blackholes.kernels.checks import refuse_non_finite, require

_PAIRS, _DIMENSIONS = 2**20, 8  # compared at once
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
