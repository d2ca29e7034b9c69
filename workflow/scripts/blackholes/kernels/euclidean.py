"""Euclidean distances between all rows of a matrix, accurate down to the smallest (docs/definitions.md).

Squared differences are summed, not taken from a Gram matrix: no term is negative, so nothing cancels and the relative
error is bounded for any data. By symmetry half of the matrix suffices.
"""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from blackholes.kernels import backends, duplicates
from blackholes.kernels.checks import require, require_out
from blackholes.kernels.compiled import euclidean as loops

FLOATS = (torch.bfloat16, torch.float16, torch.float32)
LARGEST = 50  # vectors are scaled by a power of two to below 2**50, so that sums of squares stay within float32
PIECE = {"cpu": 256, "cuda": 4096}  # dimensions of one torch.cdist call; a GPU sums them in a tree


def euclidean_matrix(
    vectors: Float[Tensor, "N D"], out: Float32[Tensor, "N N"] | None = None
) -> Float32[Tensor, "N N"]:
    """Euclidean distances between all rows of `vectors`, the full matrix (row C).

    `vectors` is (N, D) in bfloat16, float16 or float32. `out`, if given, is overwritten and returned: contiguous
    float32 on the same device. `euclidean_blocks` gives the same rows piece by piece.

    A distance is 0 if and only if the two rows are equal in value (−0 equals 0). Every other has a relative error
    below 2.1e-6 in the compiled loops: a difference is rounded once and at most 64 squares are added in float32 before
    float64 takes over, so the bound is (64 + 3) / 2 × 2**-24. The torch formula, used on other devices, is tested
    against 5e-6. Below float32's smallest normal number, 2**-126, the absolute error is up to its spacing there,
    2**-149; distances beyond float32's range are inf. The matrix is symmetric to the bit, and on one device and backend
    its bits depend neither on the order of the rows nor on blocks or threads.

    Raises UserError for another dtype, rank or `out`, and for NaN or infinity, naming token and dimension.
    """
    _check(vectors)
    shape = (len(vectors), len(vectors))
    if out is None:
        out = backends.empty(shape, torch.float32, vectors.device)
    for _ in euclidean_blocks(vectors, out):
        pass
    return out


def euclidean_blocks(
    vectors: Float[Tensor, "N D"], out: Float32[Tensor, "N N"] | None = None, *, height: int = 1024
) -> Iterator[tuple[int, Float32[Tensor, "n N"]]]:
    """Yield (first row, rows) of `euclidean_matrix(vectors)`, `height` rows at a time, from the top; the same bits.

    With `out`, room for the whole matrix, blocks are views of its rows, complete when they are yielded, and each pair
    is computed once. Without, all blocks share one buffer (height, N), overwritten by the next, and each pair is
    computed twice. Memory beside these is 4 bytes a value of `vectors`, and on a GPU a few blocks.

    Raises UserError as `euclidean_matrix` does, when called, before the first block.
    """
    _check(vectors)
    require(height >= 1, f"height is {height}, where at least one row is expected")
    if out is not None:
        require_out(out, (len(vectors), len(vectors)), torch.float32, vectors.device)
    labels = duplicates.labels(vectors)  # and refuses NaN and infinity
    return _blocks(vectors.detach(), labels, out, height)


def _check(vectors: Tensor) -> None:
    require(vectors.dtype in FLOATS, f"vectors are {vectors.dtype}, where bfloat16, float16 or float32 is expected")
    shape = tuple(vectors.shape)
    require(vectors.ndim == 2 and shape[-1] > 0, f"vectors have shape {shape}, where (N, D) is expected")


def _blocks(vectors: Tensor, labels: Tensor, out: Tensor | None, height: int) -> Iterator[tuple[int, Tensor]]:
    N = len(vectors)
    once = out is not None
    fill = (_compiled if backends.compiled(vectors) else _formula)(vectors, labels, once)
    target = backends.empty((min(height, N), N), torch.float32, vectors.device) if out is None else out
    for start in range(0, N, height):
        stop = min(start + height, N)
        fill(start, stop, target)
        yield start, target[start:stop] if once else target[: stop - start]


def _exponent(vectors: Tensor) -> int:
    """Exponent of the power of two by which the largest value ends just below 2**LARGEST.

    Scaling can make only values inexact that are too small to matter beside it; SMALL covers pairs of such values.
    """
    low, high = (x.item() for x in vectors.aminmax()) if vectors.numel() else (0.0, 0.0)
    return LARGEST - math.frexp(max(-low, high))[1]


def _compiled(vectors: Tensor, labels: Tensor, once: bool) -> Callable[[int, int, Tensor], None]:
    N, D = vectors.shape
    factor = 2.0 ** _exponent(vectors)
    kept = vectors.to(torch.float32) if vectors.dtype == torch.float16 else vectors
    source = kept.contiguous().view(torch.int16 if vectors.dtype == torch.bfloat16 else torch.float32).numpy()
    packed = backends.empty(loops.packed_shape(N, D), torch.float32, vectors.device).numpy()
    tiles, same = -(-N // loops.TILE), labels.numpy()
    backends.in_threads(lambda a, b: loops.pack(source, factor, a, b, packed), tiles)

    def fill(start: int, stop: int, out: Tensor) -> None:
        first, base, target = start // loops.TILE if once else 0, 0 if once else start, out.numpy()
        shared = (source, packed, same, factor, start, stop)
        backends.in_threads(
            lambda a, b: loops.distances(*shared, first + a, first + b, once, base, target), tiles - first
        )

    return fill


def _formula(vectors: Tensor, labels: Tensor, once: bool) -> Callable[[int, int, Tensor], None]:
    """The torch formula on any device, PIECE dimensions at a time: a longer float32 sum would lose small squares."""
    exponent = _exponent(vectors)
    halves = (exponent // 2, exponent - exponent // 2)  # 2**exponent itself may be beyond float32
    scaled = vectors.float() * 2.0 ** halves[0] * 2.0 ** halves[1]
    pieces = scaled.split(PIECE.get(vectors.device.type, 256), dim=1)

    def fill(start: int, stop: int, out: Tensor) -> None:
        first = start if once else 0
        squares = torch.zeros(stop - start, len(vectors) - first, device=vectors.device)
        for piece in pieces:
            distances = torch.cdist(piece[start:stop], piece[first:], compute_mode="donot_use_mm_for_euclid_dist")
            squares += distances.square_()
        rows = squares.sqrt() * 2.0 ** -halves[0] * 2.0 ** -halves[1]
        equal = labels[start:stop, None] == labels[first:]
        rows.masked_fill_(equal, 0)
        small = (squares < loops.SMALL).logical_and_(~equal)
        for i in small.any(1).nonzero()[:, 0].tolist():  # hardly ever any
            near = small[i].nonzero()[:, 0]
            differences = vectors[first + near].cpu().double() - vectors[start + i].cpu().double()
            rows[i, near] = differences.square_().sum(1).sqrt_().float().to(vectors.device)
        if once:
            out[start:stop, first:], out[stop:, start:stop] = rows, rows[:, stop - start :].mT
        else:
            out[: stop - start] = rows

    return fill
