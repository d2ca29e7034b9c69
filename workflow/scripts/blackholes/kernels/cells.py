"""Lattices of the floating formats in which checkpoints are stored: distances in cells (DESIGN section 2)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from blackholes.kernels.checks import refuse_non_finite, require

BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


def ordinals(vectors: Float[Tensor, "N D"]) -> Int64[Tensor, "N D"]:
    """Place of every number among those of its own format: monotone, adjacent ones differ by 1, both zeros are 0.

    As `bf16.ordinal`, and for float16 and float32 too. Raises UserError for another dtype, and for NaN or infinity.
    """
    require(vectors.dtype in BITS, f"vectors are {vectors.dtype}, where bfloat16, float16 or float32 is expected")
    refuse_non_finite(vectors)
    bits = vectors.detach().contiguous().view(BITS[vectors.dtype]).long()
    magnitude = bits & torch.iinfo(BITS[vectors.dtype]).max
    return torch.where(bits < 0, -magnitude, magnitude)


def chebyshev(places: Int64[Tensor, "N D"]) -> Int64[Tensor, "N N"]:
    """Largest difference in any dimension, between all rows of `ordinals`: their distance in cells. Exact."""
    exact = places.double()  # ordinals and their differences are below 2**53
    return torch.cdist(exact, exact, p=torch.inf).long()
