"""Equal rows, and so black holes, found without distances (docs/definitions.md)."""

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from blackholes.kernels import backends
from blackholes.kernels.checks import refuse_non_finite, require
from blackholes.kernels.compiled import duplicates as loops

# (unsigned view, bits of -0, exponent bits: all set in NaN and infinity); integers have neither
FORMATS = {
    torch.bfloat16: (np.uint16, 0x8000, 0x7F80),
    torch.float16: (np.uint16, 0x8000, 0x7C00),
    torch.float32: (np.uint32, 0x8000_0000, 0x7F80_0000),
    torch.float64: (np.uint64, 0x8000_0000_0000_0000, 0x7FF0_0000_0000_0000),
    torch.uint8: (np.uint8, 0, None),
    torch.int8: (np.uint8, 0, None),
    torch.int16: (np.uint16, 0, None),
    torch.int32: (np.uint32, 0, None),
    torch.int64: (np.uint64, 0, None),
}
SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def labels(vectors: Shaped[Tensor, "*S N D"], *, first_step: int = 0) -> Int64[Tensor, "*S N"]:
    """For every row, the smallest index of an equal row within its step: equal labels mean equal vectors.

    `vectors` is (N, D) or (…, N, D), in a dtype of FORMATS; -0 equals 0. Rows are grouped by a 64-bit hash of their
    bits and then compared exactly, so the result does not depend on the hash. The work is one pass over the values;
    memory beside the result is one number a row, whatever D.

    Raises UserError for another dtype or rank, and for NaN or infinity, naming step (counted from `first_step`),
    token and dimension.
    """
    require(vectors.dtype in FORMATS, f"vectors are {vectors.dtype}, where {_names()} is expected")
    shape = tuple(vectors.shape)
    require(vectors.ndim >= 2 and shape[-1] > 0, f"vectors have shape {shape}, where (…, N, D) is expected")
    steps = vectors.detach().reshape(-1, *shape[-2:]) if vectors.numel() else vectors.detach().new_empty(0, 1, 1)
    result = torch.empty(steps.shape[:2], dtype=torch.int64, device=steps.device)
    if steps.numel() == 0:
        return result.reshape(shape[:-1])
    if not backends.compiled(steps):
        refuse_non_finite(vectors, _axes(vectors), first_step)
        return _formula(steps).view(shape[:-1])

    unsigned, minus_zero, exponent = FORMATS[vectors.dtype]
    bits = steps.contiguous().view(SIGNED[vectors.element_size()]).numpy().view(unsigned)
    rows = bits.reshape(-1, shape[-1])
    # integers are always finite: (value & 0) == 1 never holds
    mask, infinite = (unsigned(0), unsigned(1)) if exponent is None else (unsigned(exponent), unsigned(exponent))
    keys, hashes = _keys(shape[-1]), np.empty(rows.shape[0], np.uint64)
    zero = unsigned(minus_zero)
    if any(
        backends.in_threads(
            lambda a, b: loops.hash_rows(rows[a:b], zero, mask, infinite, keys, hashes[a:b]),
            rows.shape[0],
            least=-(-100_000 // shape[-1]),
        )
    ):
        refuse_non_finite(vectors, _axes(vectors), first_step)
    by_step, target = hashes.reshape(bits.shape[:2]), result.numpy()
    backends.in_threads(lambda a, b: loops.first_equal_rows(bits[a:b], zero, by_step[a:b], target[a:b]), bits.shape[0])
    return result.view(shape[:-1])


def _names() -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in FORMATS)


def _axes(vectors: Tensor) -> tuple[str, ...]:
    return (*(f"axis {axis}" for axis in range(vectors.ndim - 3)), "step", "token", "dimension")


def _keys(n: int) -> np.ndarray:
    """n odd 64-bit multipliers, from splitmix64."""
    z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31)) | np.uint64(1)


def _formula(steps: Tensor) -> Tensor:
    """Rows are grouped by hash over all steps. Each round labels the equals of a group's first row."""
    S, N, D = steps.shape
    device = steps.device
    rows = steps.reshape(S * N, D)
    length = backends.block_length(32 * D, device)
    blocks = [slice(start, start + length) for start in range(0, S * N, length)]
    bits_dtype = SIGNED[steps.element_size()]
    keys = torch.from_numpy(_keys(D).view(np.int64)).to(device)
    step = torch.arange(S, device=device).repeat_interleave(N)

    hashes = torch.empty(S * N, dtype=torch.int64, device=device)
    for block in blocks:
        values = rows[block]
        bits = torch.where(values == 0, 0, values.view(bits_dtype)).long()
        hashes[block] = (bits * keys).sum(-1)
    hashes += step * 0x5851F42D4C957F2D
    groups, group = hashes.unique(return_inverse=True)

    index = torch.arange(S * N, device=device)
    result, pending = torch.full_like(index, -1), index
    while len(pending):  # once, unless hashes collide
        first = torch.full_like(groups, S * N).scatter_reduce(0, group[pending], pending, "amin")
        leader = first[group[pending]]
        same = step[pending] == step[leader]
        for start in range(0, len(pending), length):
            block = slice(start, start + length)
            same[block] &= (rows[pending[block]] == rows[leader[block]]).all(-1)
        result[pending[same]] = leader[same]
        pending = pending[~same]
    return (result.view(S, N) - N * torch.arange(S, device=device)[:, None]).contiguous()
