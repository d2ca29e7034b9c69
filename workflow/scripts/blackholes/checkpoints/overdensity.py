"""Where a checkpoint's black holes lie: the sphere, a box around them, their centroid and spread (row C)."""

import json
import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from blackholes.artifacts.tables import read_holes
from blackholes.artifacts.tensors import write_tensors
from blackholes.checkpoints import boxes
from blackholes.checkpoints.embedding import read_embedding
from blackholes.errors import UserError, about
from blackholes.kernels import bf16, sphere

KEPT = 10  # principal axes that are written


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
    most = math.isqrt(int(settings["disk_budget_gb"] * 1e9 / 4))
    box, rule = {key: limits and tuple(limits) for key, limits in settings["box"].items()}, boxes.CONFIGURED
    if not any(box.values()):
        box, rule = boxes.automatic_box(*(each.double().numpy() for each in places), found, most)
    inside = sphere.in_box(*(each.double() for each in places), **box)
    N = int(inside.sum())
    shown = ", ".join(f"{key} {limits[0]:g} to {limits[1]:g}" for key, limits in box.items() if limits)
    hint = boxes.mirrored(places, found, box, settings["basis"]) if rule == boxes.CONFIGURED else ""
    if N == 0:
        raise UserError(f"box: {shown}: no token lies in it; expected some of {boxes.spans(*places)}{hint}")
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
    return f"{N:,} of {embedding.shape[0]:,} tokens in the box ({rule}: {shown}); {len(ids):,} {whose}{hint}"


def _members(found: list[np.ndarray], inside: np.ndarray) -> tuple[list[np.ndarray], str]:
    """Groups of token ids that the centroid is of, and what they are."""
    if not found:
        return [np.flatnonzero(inside)], "tokens of the box, since there is no hole"
    here = [group for group in found if inside[group].any()]
    return (here, "tokens of the holes in the box") if here else (found, "tokens of all holes, none in the box")
