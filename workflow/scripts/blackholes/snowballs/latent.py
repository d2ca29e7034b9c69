"""The point and the noise that a checkpoint's hole was rounded from, and which tokens belong to it (row D)."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import about
from blackholes.kernels import cells, latent, permutation
from blackholes.snowballs.source import number

COPIED = ("epsilon", "sigma_within", "sigma_global")  # from black_hole_centroid.safetensors


def write(centroid: str, embedding: str, out: str, metadata: Mapping[str, str] | None = None) -> str:
    """Write latent.safetensors, what the snowballs of a checkpoint are made from. Returns a one-line summary.

    Args:
        centroid: black_hole_centroid.safetensors. embedding: W.safetensors.

    `token_ids` int64 (n,): members of the checkpoint's holes, with which a sweep is compared; `n_tokens`: their number.
    `mean` float32 (D,) is their centroid; `sigma_within`, `sigma_global` and `epsilon` are as measured there.
    `component_ids` int64 (m,): the tokens of the component, of cells ≤ 1, that holds the largest of these holes, its
    singletons included; empty if there is no hole. `centroid` float32 (D,), `sigma_latent`, `sigma_latent_low` and
    `sigma_latent_high` (float64) are estimated from those: see kernels.latent. Without a hole tokens are many cells
    apart: it is the mean then, and the spread less the variance of rounding, a twelfth of a squared cell.

    The metadata's `untestable` says why no permutation of the component can tell anything; empty if one can.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    with open_tensors(centroid) as file:
        file.expect("centroid", torch.float32, ("D",))
        file.expect("token_ids", torch.int64, ("n",))
        mean, ids = file.rows("centroid"), file.rows("token_ids")
        measured = {key: number(file, key) for key in COPIED}
        members = file.metadata.get("members", "")
        has_holes = bool(file.rows("populations").numel())
    with open_tensors(embedding) as file, about(embedding):
        W = file.rows("W")
        component = cells.component(W, int(ids[0])).nonzero()[:, 0] if has_holes else ids[:0]
        tokens = W[component] if has_holes else W[ids]
        found = latent.fit(tokens) if has_holes else _unrounded(tokens, measured["sigma_within"])
    reason = _untestable(tokens) if has_holes else "the checkpoint has no hole"
    facts = {"centroid": found.centroid.float(), "mean": mean, "token_ids": ids, "component_ids": component}
    numbers = measured | {
        "n_tokens": len(ids),
        "sigma_latent": found.sigma,
        "sigma_latent_low": found.low,
        "sigma_latent_high": found.high,
    }
    facts |= {key: torch.tensor(value, dtype=torch.float64) for key, value in numbers.items()}
    write_tensors(out, facts, {**(metadata or {}), "members": members, "untestable": reason})
    kind = f"{len(component):,} tokens in the largest hole's component" if has_holes else "no hole"
    interval = "" if math.isnan(found.low) else f" (95 %: {found.low:.3g} to {found.high:.3g})"
    return (
        f"{kind}; σ latent {found.sigma:.3g}{interval}, within {measured['sigma_within']:.3g}, global "
        f"{measured['sigma_global']:.3g}" + (f"; {reason}" if reason and has_holes else "")
    )


def _unrounded(tokens: Float[Tensor, "n D"], within: float) -> latent.Latent:
    """Estimates by moments. Noise of many cells makes the error of rounding uniform, and independent of the noise."""
    centre = tokens.double().mean(0)
    degrees = len(tokens) / max(len(tokens) - 1, 1)
    place = cells.ordinals(centre.to(tokens.dtype)[None])
    cell = (cells.values(place + 1, tokens.dtype).double() - cells.values(place - 1, tokens.dtype).double()) / 2
    sigma = float(max(within**2 * degrees - float(cell.square().mean()) / 12, 0.0)) ** 0.5
    return latent.Latent(centre, sigma, math.nan, math.nan)


def _untestable(tokens: Float[Tensor, "m D"]) -> str:
    """Why permutations of these tokens all have the statistics of the tokens themselves, if they do."""
    varies = int(permutation.varying(tokens).sum())
    if varies == 0:
        return f"all {len(tokens):,} tokens of the component are equal, so no permutation can differ"
    if varies == 1:
        return f"the {len(tokens):,} tokens of the component vary in one dimension only, so no permutation can differ"
    return ""
