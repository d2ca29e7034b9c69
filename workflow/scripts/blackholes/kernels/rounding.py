"""float32 values stored as bfloat16 by drawn bits, and sums that keep what rounding left.

Bits come from Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2,
3*, 2011), a generator without state: the bits of a coordinate depend on seed, step, parameter and coordinate alone,
so not on what else is drawn, in which order, or where.
"""

import torch
from jaxtyping import BFloat16, Float32, Int32, Int64
from torch import Tensor

from blackholes.kernels import backends
from blackholes.kernels.compiled import rounding as compiled

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # of the generator's rounds, four at a time, in turn
PARITY = 0x1BD11BDA


def draw(places: Int32[Tensor, "2 P"], seeds: Int64[Tensor, "K"], step: Int64[Tensor, ""]) -> Int32[Tensor, "2 K P"]:
    """64 random bits, as two words, of every place of each of K runs.

    Args:
        places: of every place the number of its coordinate within its parameter, and the parameter's number: the
            generator's counter.
        seeds: of the runs. Their lowest 32 bits and those of `step` are the generator's key.
        step: a tensor, so that it may change between replays of a CUDA graph.
    """
    if backends.compiled(places):
        words = torch.empty(2, len(seeds), places.shape[1], dtype=torch.int32)
        arrays = places.numpy().view("uint32"), (seeds & 0xFFFFFFFF).numpy().astype("uint32")
        compiled.draw(*arrays, int(step) & 0xFFFFFFFF, words.numpy().view("uint32"))
        return words
    first, second = _low(seeds).unsqueeze(1), _low(step)
    keys = first, second, first ^ second ^ PARITY
    x, y = places[0] + keys[0], places[1] + keys[1]
    for group in range(5):
        for by in ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << by) | ((y >> (32 - by)) & ((1 << by) - 1)))  # >> copies the sign into the highest bits
        x, y = x + keys[(group + 1) % 3], y + keys[(group + 2) % 3] + (group + 1)
    return torch.stack([x, y])


def store_stochastic(values: Float32[Tensor, "K P"], bits: Int32[Tensor, "K P"], out: BFloat16[Tensor, "K P"]) -> None:
    """Write each value as one of its two bfloat16 neighbours, the one further from 0 with the probability that makes
    the mean exact: the value's lowest 16 bits over 2¹⁶, compared with the lowest 16 of `bits`.

    A value that bfloat16 has is kept. What is not finite stays so; values above the largest can become infinite, as
    they can in rounding to nearest.

    Source: Gupta et al. 2015.
    """
    if backends.compiled(values):
        arrays = values.numpy().view("uint32"), bits.numpy().view("uint32"), out.view(torch.uint16).numpy()
        compiled.store_stochastic(*(array.reshape(-1) for array in arrays))
        return
    pattern = values.view(torch.int32)
    raised = (pattern + 0xFFFF - (bits & 0xFFFF)) & -0x10000  # carries where the drawn bits are below the value's
    out.copy_(torch.where(values.isfinite(), raised, pattern).view(torch.float32))


def store_compensated(
    weights: BFloat16[Tensor, "..."], compensation: BFloat16[Tensor, "..."], pending: Float32[Tensor, "..."]
) -> None:
    """weights += pending, and `compensation` is set to what rounding the sum to bfloat16 left of `pending`.

    The sum is made in float32 and rounded to nearest. Of what is left, bfloat16 keeps 8 bits.

    Source: Kahan 1965; Zamirai et al. 2020 for weights of a network.
    """
    before = weights.float()
    weights.copy_(before + pending)
    compensation.copy_(pending - (weights.float() - before))


def _low(values: Tensor) -> Tensor:
    """The lowest 32 bits of integers, as int32."""
    return ((values + 0x80000000) % 0x100000000 - 0x80000000).to(torch.int32)
