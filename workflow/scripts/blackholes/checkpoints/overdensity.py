"""Where a checkpoint's black holes lie: spherical coordinates, the box, the holes' centroid and spread (row C)."""

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

KEPT = 10  # principal axes written


def statistics(members: Float[Tensor, "n D"]) -> dict[str, Tensor]:
    """The input of snowballs: the `centroid` of some tokens and their spread, computed in float64.

    `sigma_within` is √mean((w − centroid)²) over tokens and dimensions: the tokens' spread. `sigma_global` is the
    standard deviation of all coordinates about one mean, mostly the spread of the centroid's own coordinates; it is the
    notebook's σ. `epsilon` is the ULP of bfloat16 at the centroid's largest coordinate, where the spacing is widest.
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
    """Write sphere.safetensors and black_hole_centroid.safetensors. Returns a one-line summary.

    Args:
        holes: black_holes.csv.
        settings: `basis`, `box` (limits; None for all three: automatic) and `disk_budget_gb`.

    The centroid is the mean of all tokens of the holes in the box, also those of their tokens that lie outside it. If
    no hole is in the box, it is the mean of the tokens of all holes; if there are no holes, of the tokens in the box.

    Raises:
        UserError: naming the file and what is wrong with it; a basis with more axes than W has; a box without tokens,
            or with more than the disk budget allows.
    """
    with about(W):
        embedding = read_embedding(W)
    groups = list(read_holes(holes, len(embedding)).values())
    with about(W):
        on_device = embedding.to(device)
        vectors, values = sphere.principal_axes(on_device)
        projected = sphere.coordinates(on_device, **settings["basis"], eigenvectors=vectors)
    coordinates = [each.float().cpu() for each in projected]  # as written, so that readers find the same box
    most = math.isqrt(int(settings["disk_budget_gb"] * 1e9 / 4))
    latitude, longitude, radius = (each.double() for each in coordinates)
    box: boxes.Box = {key: limits and tuple(limits) for key, limits in settings["box"].items()}
    rule = boxes.CONFIGURED
    if not any(box.values()):
        box, rule = boxes.automatic_box(latitude.numpy(), longitude.numpy(), radius.numpy(), groups, most)
    in_box = sphere.in_box(latitude, longitude, radius, **box)
    N = int(in_box.sum())
    limits_text = ", ".join(f"{key} {limits[0]:g} to {limits[1]:g}" for key, limits in box.items() if limits)
    hint = boxes.mirrored(coordinates, groups, box, settings["basis"]) if rule == boxes.CONFIGURED else ""
    if N == 0:
        raise UserError(
            f"box: {limits_text}: no token lies in it; expected limits within {boxes.spans(*coordinates)}{hint}"
        )
    if most < N:
        need = 4e-9 * N * N
        raise UserError(
            f"box: {limits_text}: the distances of {N:,} tokens take {need:,.3g} GB; expected up to disk_budget_gb "
            f"({settings['disk_budget_gb']:g}): make the box smaller or the budget larger"
        )
    members, members_text = _members(groups, in_box.numpy())
    norm = torch.cat([rows.double().norm(dim=1) for rows in embedding.split(4096)])
    metadata = {**(metadata or {}), "basis": json.dumps(settings["basis"])}
    kept = min(len(values), max(KEPT, *map(abs, settings["basis"].values())))
    sphere_tensors = dict(zip(("latitude", "longitude", "radius"), coordinates, strict=True)) | {
        "norm": norm.float(),
        "in_box": in_box,
        "eigenvectors": vectors[:, :kept].cpu(),
        "eigenvalues": values.cpu(),
    }
    write_tensors(out, sphere_tensors, {**metadata, "box": json.dumps(box), "box_rule": rule})
    ids = torch.from_numpy(np.concatenate(members))
    facts = statistics(embedding[ids]) | {
        "populations": torch.tensor([len(group) for group in members] if groups else [], dtype=torch.int64),
        "n_tokens": torch.tensor(len(ids)),
        "token_ids": ids,
    }
    write_tensors(centroid, facts, {**metadata, "members": members_text})
    return (
        f"{N:,} of {embedding.shape[0]:,} tokens in the box ({rule}: {limits_text}); {len(ids):,} {members_text}{hint}"
    )


def _members(groups: list[np.ndarray], in_box: np.ndarray) -> tuple[list[np.ndarray], str]:
    """The groups of token ids that the centroid is the mean of, and a description of them."""
    if not groups:
        return [np.flatnonzero(in_box)], "tokens of the box, since there is no hole"
    in_the_box = [group for group in groups if in_box[group].any()]
    if in_the_box:
        return in_the_box, "tokens of the holes in the box"
    return groups, "tokens of all holes, none in the box"
