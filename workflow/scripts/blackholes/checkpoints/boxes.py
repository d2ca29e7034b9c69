"""Boxes on the sphere of a checkpoint: the automatic one, and hints on one that misses the holes (row C)."""

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
SHARE, LEAST = 8, 16  # an eighth of the vocabulary, and tokens: what an automatic box is to hold besides holes

Box = dict[str, tuple[float, float] | None]


def automatic_box(
    latitude: Float[np.ndarray, "V"],
    longitude: Float[np.ndarray, "V"],
    radius: Float[np.ndarray, "V"],
    holes: Sequence[Int[np.ndarray, "n"]],
    most: int,
) -> tuple[Box, str]:
    """The densest region: (limits, in words what they are around).

    Its centre is the largest hole, of equals the one with the smallest token; without holes, the token whose sixteenth
    neighbour in the projection is the nearest. Around it the tokens are taken in by their distance from the centre,
    and the box is the smallest with them inside: its limits are rounded outwards, to 0.01° and three digits of the
    largest radius. Of these boxes, each within the next, it is the largest with no more tokens than there are in holes
    and an eighth of the vocabulary (at least 16) together, and no more than `most`. Tokens at the centre are always
    inside.
    """
    V = len(radius)
    places = _cartesian(latitude, longitude, radius)
    centre, words = _centre(places, holes)
    order = np.argsort(np.linalg.norm(places - centre, axis=1), kind="stable")
    target = min(sum(map(len, holes)) + max(V // SHARE, LEAST), V, most)

    def box(tokens: int) -> Box:
        return _around(*(values[order[:tokens]] for values in (latitude, longitude, radius)), unit=_unit(radius.max()))

    fits, beyond = 1, V + 1  # boxes grow with their tokens
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        if count(latitude, longitude, radius, box(middle)) <= target:
            fits = middle
        else:
            beyond = middle
    return box(fits), words


def count(latitude, longitude, radius, box: Box) -> int:
    """Tokens in a box."""
    values = (torch.from_numpy(each) for each in (latitude, longitude, radius))
    return int(sphere.in_box(*values, **box).sum())


def mirrored(places: Sequence[Tensor], found: Sequence[np.ndarray], box: Box, basis: Mapping[str, int]) -> str:
    """Hint: the fewest axes to turn round so that the largest hole lies in a box that no hole is in. A box from another
    machine may be for other signs."""
    if not found or any(sphere.in_box(*(each[group].double() for each in places), **box).any() for group in found):
        return ""
    latitude, longitude, radius = (each[found[0][:1]].double() for each in places)
    for north, meridian, equinox in sorted(product((1, -1), repeat=3), key=sum, reverse=True)[1:]:
        turned = longitude * equinox if meridian > 0 else 180 - longitude * equinox
        if sphere.in_box(latitude * north, (turned + 180) % 360 - 180, radius, **box).any():
            signs = {"north": north, "meridian": meridian, "equinox": equinox}
            words = ", ".join(f"{name}: {axis * signs[name]}" for name, axis in basis.items())
            return f"; with basis {{{words}}} the largest hole would lie in the box"
    return ""


def spans(latitude, longitude, radius) -> str:
    """From where to where tokens lie, in words."""
    named = (("lat", latitude), ("lon", longitude), ("r", radius))
    return ", ".join(f"{key} {values.min():.4g} to {values.max():.4g}" for key, values in named)


def _cartesian(latitude, longitude, radius) -> Float[np.ndarray, "V 3"]:
    lat, lon = np.radians(latitude), np.radians(longitude)
    flat = radius * np.cos(lat)
    return np.stack([flat * np.cos(lon), flat * np.sin(lon), radius * np.sin(lat)], 1)


def _centre(places: Float[np.ndarray, "V 3"], holes: Sequence[np.ndarray]) -> tuple[Float[np.ndarray, "3"], str]:
    if holes:
        largest = max(holes, key=lambda group: (len(group), -group[0]))
        return places[largest[0]], f"around the largest hole, of {len(largest):,} tokens"
    near = min(LEAST, len(places) - 1)
    distance = cKDTree(places).query(places, k=[near + 1])[0][:, 0]  # the nearest is the token itself
    return places[distance.argmin()], "around the densest region, since there is no hole"


def _unit(largest: float) -> float:
    """Three digits of the largest radius."""
    return 10.0 ** (math.floor(math.log10(largest)) - 2) if largest > 0 else 1.0


def _around(latitude, longitude, radius, unit: float) -> Box:
    """The smallest box of round limits with these tokens inside."""
    west, east = _arc(longitude)
    return {
        "lat": (max(_down(latitude.min(), 0.01), -90.0), min(_up(latitude.max(), 0.01), 90.0)),
        "lon": (max(_down(west, 0.01), -180.0), min(_up(east, 0.01), 180.0)),
        "r": (max(_down(radius.min(), unit), 0.0), _up(radius.max(), unit)),
    }


def _arc(longitude: np.ndarray) -> tuple[float, float]:
    """West and east end of the shortest arc with all of these on it: the largest gap is left out."""
    ordered = np.sort(longitude)
    gaps = np.append(np.diff(ordered), ordered[0] + 360 - ordered[-1])
    widest = len(gaps) - 1 - gaps[::-1].argmax()  # of equal gaps the last: an arc that does not go over 180°
    return float(ordered[(widest + 1) % len(ordered)]), float(ordered[widest])


def _down(value: float, unit: float) -> float:
    return round(math.floor(value / unit) * unit, 12)


def _up(value: float, unit: float) -> float:
    return -_down(-value, unit)
