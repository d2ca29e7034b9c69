"""Chebyshev matrices of histories, in float32 and in cells (docs/definitions.md)."""

import numpy as np
import torch
from jaxtyping import BFloat16, Float, Float32, Int32
from torch import Tensor

from blackholes.kernels import backends, bf16
from blackholes.kernels.checks import refuse_non_finite, require, require_out
from blackholes.kernels.compiled import chebyshev as loops

FLOATS = (torch.bfloat16, torch.float16, torch.float32)


def chebyshev_matrices(
    history: Float[Tensor, "*S V D"], out: Float32[Tensor, "*S V V"] | None = None, *, first_step: int = 0
) -> Float32[Tensor, "*S V V"]:
    """Chebyshev distances max_k |u_k - v_k| between all tokens, a full matrix for every step (row B).

    `history` is (S, V, D), or (V, D) for a single step, in bfloat16, float16 or float32. `out`, if given, is
    overwritten and returned: contiguous float32 on the same device. To stream, pass `history[a:b]` and a buffer;
    `first_step=a` makes errors name the step of the whole history.

    Values are upcast to float32 first, so the only rounding is that of one float32 subtraction: the result equals
    `(u.float() - v.float()).abs().max()` to the bit and is symmetric with a zero diagonal, whatever the chunk, the
    number of threads or the backend. Differences beyond float32's range are inf. Working memory beside `out` is a few
    megabytes (on a GPU 256 MiB).

    Raises UserError for another dtype, rank or `out`, and for NaN or infinity, naming step, token and dimension;
    the contents of `out` are then undefined.
    """
    require(history.dtype in FLOATS, f"history is {history.dtype}, where bfloat16, float16 or float32 is expected")
    out = _checked_out(history, out, torch.float32)
    _fill(history, out, "differences", first_step)
    return out


def cell_matrices(
    history: BFloat16[Tensor, "*S V D"], out: Int32[Tensor, "*S V V"] | None = None, *, first_step: int = 0
) -> Int32[Tensor, "*S V V"]:
    """Chebyshev distances in cells: max_k |ordinal(u_k) - ordinal(v_k)| between all tokens, for every step.

    `history` is bfloat16, (S, V, D) or (V, D). `out` and `first_step` as in `chebyshev_matrices`, `out` in int32.
    Exact; at most 65,278. Raises UserError as `chebyshev_matrices` does.
    """
    require(history.dtype == torch.bfloat16, f"history is {history.dtype}, where torch.bfloat16 is expected")
    out = _checked_out(history, out, torch.int32)
    _fill(history, out, "cells", first_step)
    return out


def _checked_out(history: Tensor, out: Tensor | None, dtype: torch.dtype) -> Tensor:
    require(history.ndim in (2, 3), f"history has shape {tuple(history.shape)}, where (S, V, D) is expected")
    require(history.shape[-1] > 0, f"history has shape {tuple(history.shape)}, without a dimension to compare")
    shape = (*history.shape[:-1], history.shape[-2])
    if out is None:
        return backends.empty(shape, dtype, history.device)
    require_out(out, shape, dtype, history.device)
    return out


def _fill(history: Tensor, out: Tensor, measure: str, first_step: int) -> None:
    history = history.detach()
    steps = history if history.ndim == 3 else history[None]
    matrices = out.view(steps.shape[0], *out.shape[-2:])
    if not backends.compiled(history):
        refuse_non_finite(history, first_step=first_step)
        values = bf16.ordinal if measure == "cells" else Tensor.float
        _formula(steps, values, matrices)
        return

    is_bf16 = steps.dtype == torch.bfloat16
    fill = loops.cell_matrices if measure == "cells" else loops.chebyshev_bf16 if is_bf16 else loops.chebyshev_float
    source = steps.view(torch.int16).numpy() if is_bf16 else steps.numpy()
    target = matrices.numpy()
    dtype = np.float32 if source.dtype == np.float16 else source.dtype

    def some_steps(start: int, stop: int) -> bool:
        return fill(np.ascontiguousarray(source[start:stop], dtype), target[start:stop])

    if any(backends.in_threads(some_steps, steps.shape[0])):
        refuse_non_finite(history, first_step=first_step)


def _formula(steps: Tensor, values, out: Tensor) -> None:
    """The torch formula, on any device: by blocks of steps and rows, one dimension at a time."""
    S, V, D = steps.shape
    length = backends.block_length(4 * V * V, steps.device)
    height = backends.block_length(4 * V, steps.device)
    for start in range(0, S, length):
        block = values(steps[start : start + length]).mT.contiguous()  # (s, D, V) float32, or int32 in cells
        for top in range(0, V, height):
            largest = out[start : start + length, top : top + height].zero_()  # (s, v, V)
            for k in range(D):
                difference = block[:, k, top : top + height, None] - block[:, k, None, :]
                torch.maximum(largest, difference.abs_(), out=largest)
