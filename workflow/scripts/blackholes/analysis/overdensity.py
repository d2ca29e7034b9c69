"""Where a checkpoint's black holes lie: the sphere, a box around them, their centroid and spread (row C)."""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from blackholes.analysis.census import read_holes
from blackholes.analysis.checkpoints import read_embedding
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError, about
from blackholes.kernels import bf16, sphere

LIMITS = ("lat", "lon", "r")
KEPT = 10  # principal axes that are written
SHARE, LEAST = 8, 16  # an eighth of the vocabulary, and tokens: what an automatic box is to hold besides holes

Box = dict[str, tuple[float, float] | None]
Coordinates = tuple[Float[np.ndarray, "V"], Float[np.ndarray, "V"], Float[np.ndarray, "V"]]


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


def statistics(members: Float[Tensor, "n D"]) -> dict[str, Tensor]:
    """What snowballs are made of: the `centroid` of some tokens, and how far they spread, in float64.

    `sigma_within` is √mean((w − centroid)²) over tokens and dimensions: their spread. `sigma_global` is the standard
    deviation of all their numbers about one mean, of which most is the centroid's own: the notebook's σ. `epsilon` is
    bfloat16's spacing at the centroid's largest coordinate, which is what decides a Chebyshev distance.
    """
    vectors = members.double()
    centroid = vectors.mean(0)
    largest = centroid.abs().max().to(torch.bfloat16)
    return {
        "centroid": centroid.float(),
        "epsilon": bf16.ulp(largest).double(),
        "sigma_within": (vectors - centroid).square().mean().sqrt(),
        "sigma_global": vectors.std(correction=0),
    }


def write(
    W: str,
    holes: str,
    out: str,
    centroid: str,
    settings: Mapping,
    metadata: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
) -> str:
    """Write sphere.safetensors and black_hole_centroid.safetensors. Returns one line that says what lies in the box.

    Args:
        holes: black_holes.csv.
        settings: `basis`, `box` (limits; None in all three: automatic) and `disk_budget_gb`.

    The centroid is that of the tokens in holes, each counted once: of the holes in the box, a part of which may lie
    outside it; if none does, of all; without any hole, of the tokens in the box.

    Raises:
        UserError: naming the file and what is wrong with it; a basis that W has not got; a box without tokens, or with
            more than the budget has room for.
    """
    found = list(read_holes(holes).values())
    with about(W):
        embedding = read_embedding(W)
        there = embedding.to(device)
        vectors, values = sphere.principal_axes(there)
        places = sphere.coordinates(there, **settings["basis"], eigenvectors=vectors)
    places = [each.float().cpu() for each in places]  # what is written is what the limits are compared with
    latitude, longitude, radius = (each.numpy().astype(np.float64) for each in places)
    most = math.isqrt(int(settings["disk_budget_gb"] * 1e9 / 4))
    box, rule = {key: settings["box"][key] and tuple(settings["box"][key]) for key in LIMITS}, "as configured"
    if not any(box.values()):
        box, rule = automatic_box(latitude, longitude, radius, found, most)
    inside = sphere.in_box(*(each.double() for each in places), **box)
    N = int(inside.sum())
    shown = ", ".join(f"{key} {limits[0]:g} to {limits[1]:g}" for key, limits in box.items() if limits)
    if N == 0:
        raise UserError(f"box: {shown}: no token lies in it; expected some of {_spans(latitude, longitude, radius)}")
    if most < N:
        need = 4e-9 * N * N
        raise UserError(
            f"box: {shown}: the distances of {N:,} tokens take {need:,.3g} GB; expected up to disk_budget_gb "
            f"({settings['disk_budget_gb']:g}): a smaller box, or more"
        )
    members, whose = _members(found, inside.numpy())
    norm = torch.cat([rows.double().norm(dim=1) for rows in embedding.split(4096)])
    metadata = {**(metadata or {}), "basis": json.dumps(settings["basis"])}
    kept = min(len(values), max(KEPT, *map(abs, settings["basis"].values())))
    sphere_tensors = dict(zip(("latitude", "longitude", "radius"), places, strict=True)) | {
        "norm": norm.float(),
        "in_box": inside,
        "eigenvectors": vectors[:, :kept].cpu(),
        "eigenvalues": values.cpu(),
    }
    write_tensors(out, sphere_tensors, {**metadata, "box": json.dumps(box), "box_rule": rule})
    ids = torch.from_numpy(np.concatenate(members))
    facts = statistics(embedding[ids]) | {
        "populations": torch.tensor([len(group) for group in members] if found else [], dtype=torch.int64),
        "n_tokens": torch.tensor(len(ids)),
        "token_ids": ids,
    }
    write_tensors(centroid, facts, {**metadata, "members": whose})
    return f"{N:,} of {embedding.shape[0]:,} tokens in the box ({rule}: {shown}); {len(ids):,} {whose}"


def _members(found: list[np.ndarray], inside: np.ndarray) -> tuple[list[np.ndarray], str]:
    """Groups of token ids that the centroid is of, and what they are."""
    if not found:
        return [np.flatnonzero(inside)], "tokens of the box, since there is no hole"
    here = [group for group in found if inside[group].any()]
    return (here, "tokens of the holes in the box") if here else (found, "tokens of all holes, none in the box")


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


def _spans(latitude, longitude, radius) -> str:
    spans = (("lat", latitude), ("lon", longitude), ("r", radius))
    return ", ".join(f"{key} {values.min():.4g} to {values.max():.4g}" for key, values in spans)
