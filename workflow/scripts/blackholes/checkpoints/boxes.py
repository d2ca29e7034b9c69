"""Boxes in spherical coordinates: the automatic one, and a hint for a configured one that misses the holes (row C)."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from blackholes.kernels import sphere

CONFIGURED = "as configured"
SHARE, LEAST = 8, 16  # an automatic box holds V / 8 tokens, at least 16, besides as many as there are in holes

Box = dict[str, tuple[float, float] | None]


def automatic_box(
    latitude: Float[np.ndarray, "V"],
    longitude: Float[np.ndarray, "V"],
    radius: Float[np.ndarray, "V"],
    holes: Sequence[Int[np.ndarray, "n"]],
    most: int,
) -> tuple[Box, str]:
    """The densest region: (limits, a description of its centre).

    The centre is the largest hole (of several, the one with the smallest token id) or, without holes, the token
    whose sixteenth nearest neighbour in the projection is closest. Tokens are added in order of their distance from the
    centre, and the box is the smallest that contains them, its limits rounded outwards to 0.01° and to three digits of
    the largest radius. It grows until the next token would take it past the number of tokens in holes plus an eighth of
    the vocabulary (at least 16), or past `most`. Tokens at the centre are always inside.
    """
    V = len(radius)
    positions = _cartesian(latitude, longitude, radius)
    centre, description = _centre(positions, holes)
    order = np.argsort(np.linalg.norm(positions - centre, axis=1), kind="stable")
    target = min(sum(map(len, holes)) + max(V // SHARE, LEAST), V, most)

    def box(tokens: int) -> Box:
        inside = order[:tokens]
        return _around(latitude[inside], longitude[inside], radius[inside], unit=_unit(radius.max()))

    fits, too_many = 1, V + 1  # bisection: a box around more tokens contains the box around fewer
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if count(latitude, longitude, radius, box(middle)) <= target:
            fits = middle
        else:
            too_many = middle
    return box(fits), description


def count(latitude, longitude, radius, box: Box) -> int:
    """Tokens in a box."""
    lat, lon, r = (torch.from_numpy(each) for each in (latitude, longitude, radius))
    return int(sphere.in_box(lat, lon, r, **box).sum())


def mirrored(coordinates: Sequence[Tensor], holes: Sequence[np.ndarray], box: Box, basis: Mapping[str, int]) -> str:
    """Hint for a box without a hole: the fewest axes to flip so that the largest hole lies in it; "" if none does.

    The sign of a principal axis is arbitrary, so a box made on another machine may expect other signs.
    """
    lat, lon, r = (each.double() for each in coordinates)
    if not holes or any(sphere.in_box(lat[group], lon[group], r[group], **box).any() for group in holes):
        return ""
    latitude, longitude, radius = (each[holes[0][:1]] for each in (lat, lon, r))
    for north, meridian, equinox in sorted(product((1, -1), repeat=3), key=sum, reverse=True)[1:]:
        flipped = longitude * equinox if meridian > 0 else 180 - longitude * equinox
        if sphere.in_box(latitude * north, (flipped + 180) % 360 - 180, radius, **box).any():
            signs = {"north": north, "meridian": meridian, "equinox": equinox}
            flipped_basis = ", ".join(f"{name}: {axis * signs[name]}" for name, axis in basis.items())
            return f"; with basis {{{flipped_basis}}} the largest hole would lie in the box"
    return ""


def spans(latitude, longitude, radius) -> str:
    """Smallest and largest coordinates of all tokens, as text."""
    named = (("lat", latitude), ("lon", longitude), ("r", radius))
    return ", ".join(f"{key} {values.min():.4g} to {values.max():.4g}" for key, values in named)


def _cartesian(latitude, longitude, radius) -> Float[np.ndarray, "V 3"]:
    lat, lon = np.radians(latitude), np.radians(longitude)
    flat = radius * np.cos(lat)
    return np.stack([flat * np.cos(lon), flat * np.sin(lon), radius * np.sin(lat)], 1)


def _centre(positions: Float[np.ndarray, "V 3"], holes: Sequence[np.ndarray]) -> tuple[Float[np.ndarray, "3"], str]:
    if holes:
        largest = max(holes, key=lambda group: (len(group), -group[0]))
        return positions[largest[0]], f"around the largest hole, of {len(largest):,} tokens"
    neighbour = min(LEAST, len(positions) - 1)
    distance = cKDTree(positions).query(positions, k=[neighbour + 1])[0][:, 0]  # the first is the token itself
    return positions[distance.argmin()], "around the densest region, since there is no hole"


def _unit(largest: float) -> float:
    """What radii are rounded to: the third digit of the largest one."""
    return 10.0 ** (math.floor(math.log10(largest)) - 2) if largest > 0 else 1.0


def _around(latitude, longitude, radius, unit: float) -> Box:
    """The smallest box with rounded limits that contains these tokens."""
    west, east = _arc(longitude)
    return {
        "lat": (max(_down(latitude.min(), 0.01), -90.0), min(_up(latitude.max(), 0.01), 90.0)),
        "lon": (max(_down(west, 0.01), -180.0), min(_up(east, 0.01), 180.0)),
        "r": (max(_down(radius.min(), unit), 0.0), _up(radius.max(), unit)),
    }


def _arc(longitude: np.ndarray) -> tuple[float, float]:
    """West and east end of the shortest arc that contains these longitudes: the complement of the largest gap."""
    ordered = np.sort(longitude)
    gaps = np.append(np.diff(ordered), ordered[0] + 360 - ordered[-1])
    widest = len(gaps) - 1 - gaps[::-1].argmax()  # the last of equal gaps, so that the arc does not cross 180°
    return float(ordered[(widest + 1) % len(ordered)]), float(ordered[widest])


def _down(value: float, unit: float) -> float:
    return round(math.floor(value / unit) * unit, 12)


def _up(value: float, unit: float) -> float:
    return -_down(-value, unit)
