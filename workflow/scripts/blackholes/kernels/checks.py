"""Checks of the arguments of public kernels: each raises UserError with a message of one line."""

import torch
from torch import Tensor

from blackholes.errors import UserError


def refuse_non_finite(
    values: Tensor, axes: tuple[str, ...] = ("step", "token", "dimension"), first_step: int = 0
) -> None:
    """Raise UserError that names the first NaN or infinity of `values`, if there is one.

    `axes` names the axes of `values` (the last `values.ndim` are used). `first_step` is the number of the first step
    in `values`, for callers that stream.
    """
    if not values.is_floating_point():
        return
    rows = values.reshape(-1, *values.shape[-1:])
    length = max(1, (1 << 24) // max(1, rows.shape[-1]))  # 16 MiB of flags at a time
    for start in range(0, rows.shape[0], length):
        bad = ~torch.isfinite(rows[start : start + length])
        if bad.any():
            row, column = bad.nonzero()[0].tolist()
            place = torch.unravel_index(torch.tensor((start + row) * rows.shape[1] + column), values.shape)
            names = axes[-values.ndim :]
            where = ", ".join(
                f"{name} {int(index) + (first_step if name == 'step' else 0)}"
                for name, index in zip(names, place, strict=True)
            )
            value = rows[start + row, column].item()
            raise UserError(f"{value} at {where}, where a finite number is expected")


def require(condition: bool, message: str) -> None:
    """Raise UserError with `message` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def require_out(out: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    """Raise UserError unless the caller's `out` has this shape, dtype and device and is contiguous."""
    actual, expected = (tuple(out.shape), out.dtype, out.device), (shape, dtype, device)
    require(actual == expected, f"out is {_describe(*actual)}, where {_describe(*expected)} is expected")
    require(out.is_contiguous(), "out is not contiguous, where a contiguous tensor is expected")


def _describe(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> str:
    return f"{str(dtype).removeprefix('torch.')} {shape} on {device}"
