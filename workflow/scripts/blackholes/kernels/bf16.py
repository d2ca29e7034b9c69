"""The lattice of bfloat16: spacing and order (docs/definitions.md)."""

import torch
from jaxtyping import BFloat16, Float32, Int32
from torch import Tensor

from blackholes.kernels.checks import refuse_non_finite, require


def ulp(x: BFloat16[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """Spacing of bfloat16 at `x`: 2**(E - 134) for the biased exponent E >= 1, and 2**-133 for subnormals.

    This is the distance to the next value away from zero, also for |x| >= 256, where the lattice notebook's
    `nextafter(|x|, |x| + 1) - |x|` is 0. For exact zeros it is 2**-126, the smallest normal number: a convention
    kept from that notebook (row E), not the spacing there.

    Exact: every result is a power of two and is built from its bits, so it is right even on a device that flushes
    subnormals to zero. Raises UserError for NaN or infinity, and for another dtype.
    """
    exponent = _finite_bits(x) >> 7 & 0xFF  # (*shape) biased, 0 for zeros and subnormals
    lowest_bit = exponent.clamp(min=1)
    # float32 has 16 more bits of mantissa: 2**(E - 134) is subnormal there for E < 8, where it is one set bit
    bits = torch.where(lowest_bit < 8, 1 << (lowest_bit + 15), (lowest_bit - 7) << 23)
    return torch.where(x == 0, 1 << 23, bits).to(torch.int32).view(torch.float32)


def ordinal(x: BFloat16[Tensor, "*shape"]) -> Int32[Tensor, "*shape"]:
    """Index of `x` among the representable values: monotone, adjacent values differ by 1, both zeros are 0.

    The range is -32,639 to 32,639, so the difference of two, the distance in cells, is exact in int32 and float32.
    Raises UserError for NaN or infinity, and for another dtype.
    """
    bits = _finite_bits(x)
    magnitude = bits & 0x7FFF
    return torch.where(bits < 0, -magnitude, magnitude)


def _finite_bits(x: Tensor) -> Tensor:
    require(x.dtype == torch.bfloat16, f"values are {x.dtype}, where torch.bfloat16 is expected")
    bits = x.detach().view(torch.int16).to(torch.int32)  # sign-extended
    if (bits & 0x7F80 == 0x7F80).any():
        refuse_non_finite(x)
    return bits
