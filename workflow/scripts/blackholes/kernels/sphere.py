"""An embedding on a sphere: principal axes, and every token's coordinates along three of them (row C)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from blackholes.kernels import backends
from blackholes.kernels.checks import refuse_non_finite, require

FLOATS = (torch.bfloat16, torch.float16, torch.float32)
_ROWS = 4096  # converted to float64 at once
_BLOCKS = 16  # of the covariance's columns; blocks left of the diagonal are not computed
_AXES = ("token", "dimension")


def principal_axes(W: Float[Tensor, "V D"]) -> tuple[Float64[Tensor, "D D"], Float64[Tensor, "D"]]:
    """(eigenvectors as columns, eigenvalues) of the covariance of the rows of `W`, the largest eigenvalue first.

    Rows are centred and the covariance divides by V (not V − 1), as in the notebook; all in float64. An eigenvector's
    sign is arbitrary: here its component of largest magnitude, the first of equals, is positive, so that a box means
    the same on every machine.

    Raises UserError for another dtype, and for NaN or infinity, naming token and dimension.
    """
    _check(W)
    V, D = W.shape
    pieces = range(0, V, _ROWS)
    mean = sum((_double(W[start : start + _ROWS]).sum(0) for start in pieces), _double(W.new_zeros(D))) / V
    _finite(W, mean)
    covariance = mean.new_zeros(D, D)
    blocks = list(pairwise(D * block // _BLOCKS for block in range(_BLOCKS + 1)))
    threads = torch.get_num_threads()
    # a thread for each product: on some processors MKL's own threads divide a product's sums, and so change last bits
    with backends.one_thread(), ThreadPoolExecutor(threads) as pool:
        for start in pieces:
            rows = _double(W[start : start + _ROWS]) - mean

            def add(block: tuple[int, int], rows: Tensor = rows) -> None:
                left, right = block
                covariance[left:right, left:] += rows[:, left:right].T @ rows[:, left:]

            list(pool.map(add, blocks))  # the list, so that an error is raised
        covariance = covariance.triu() + covariance.triu(1).T
        values, vectors = torch.linalg.eigh(covariance / V)
    values, vectors = values.flip(0), vectors.flip(1)
    largest = vectors.abs().argmax(0, keepdim=True)  # the first of equals
    vectors *= torch.where(vectors.gather(0, largest) < 0, -1.0, 1.0)
    return vectors, values


def coordinates(
    W: Float[Tensor, "V D"],
    north: int,
    meridian: int,
    equinox: int,
    eigenvectors: Float64[Tensor, "D k"] | None = None,
) -> tuple[Float64[Tensor, "V"], Float64[Tensor, "V"], Float64[Tensor, "V"]]:
    """(latitude, longitude, radius) of every token, in degrees and in the embedding's unit, as float64.

    `north`, `meridian` and `equinox` are the principal components, counted from 1, that point to the pole, to longitude
    0° and to longitude 90°; a negative number reverses one. With the *uncentred* row w and these unit vectors,
    x = w·meridian, y = w·equinox, z = w·north: the radius is √(x² + y² + z²), of the projection, not of w itself; the
    latitude is asin(z / radius); the longitude is atan2(y, x), in (−180°, 180°]. Where the radius is 0, both are 0.

    `eigenvectors`, if given, are those of `principal_axes(W)`, all or the first k.
    Raises UserError as `principal_axes`, and for components that are 0, equal in magnitude, or beyond D (or k).
    """
    _check(W)
    basis = (meridian, equinox, north)
    vectors = principal_axes(W)[0] if eigenvectors is None else eigenvectors
    D, k = vectors.shape
    require(W.shape[1] == D, f"eigenvectors have {D} rows, where {W.shape[1]}, the dimensions of W, are expected")
    possible = len({abs(axis) for axis in basis}) == 3 and all(1 <= abs(axis) <= k for axis in basis)
    words = f"north {north}, meridian {meridian} and equinox {equinox}"
    require(possible, f"basis: {words}, where three different components from 1 to {k} are expected (or negatives)")
    axes = torch.stack([vectors[:, abs(axis) - 1] * (1 if axis > 0 else -1) for axis in basis], 1)
    places = torch.cat([_double(W[start : start + _ROWS]) @ axes for start in range(0, len(W), _ROWS)])  # (V, 3)
    _finite(W, places)
    x, y, z = places.unbind(1)
    radius = (x * x + y * y + z * z).sqrt()
    latitude = torch.where(radius > 0, (z / radius).clamp(-1, 1), 0).asin().rad2deg()
    longitude = torch.where(radius > 0, torch.atan2(y + 0.0, x), 0).rad2deg()  # + 0.0 turns −0 into 0: no −180°
    return latitude, longitude, radius


def in_box(
    latitude: Float[Tensor, "V"],
    longitude: Float[Tensor, "V"],
    radius: Float[Tensor, "V"],
    lat: Sequence[float | int] | None = None,
    lon: Sequence[float | int] | None = None,
    r: Sequence[float | int] | None = None,
) -> Bool[Tensor, "V"]:
    """Which tokens lie in a box, limits included; None is no limit. `lon` is (west, east) and may cross 180°."""
    inside = torch.ones_like(latitude, dtype=torch.bool)
    for values, limits in ((latitude, lat), (longitude, lon), (radius, r)):
        if limits is not None:
            above, below = values >= limits[0], values <= limits[1]
            inside &= (above & below) if limits[0] <= limits[1] else (above | below)
    return inside


def _check(W: Tensor) -> None:
    shape = tuple(W.shape)
    require(W.dtype in FLOATS, f"W is {W.dtype}, where bfloat16, float16 or float32 is expected")
    require(W.ndim == 2 and 0 not in shape, f"W has shape {shape}, where (V, D) is expected")


def _finite(W: Tensor, sums: Tensor) -> None:
    """Refuse NaN and infinity in `W`, if `sums` over it show that there are any."""
    if not sums.isfinite().all():
        refuse_non_finite(W, _AXES)


def _double(rows: Tensor) -> Tensor:
    """As float64; on the CPU if the device has no float64."""
    return (rows.cpu() if rows.device.type == "mps" else rows).double()
