"""What the page's explorer shows of one run: at some of its steps, each token's hole and its place in a plane."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from blackholes.artifacts.histories import open_history
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError, about
from blackholes.kernels import lineage as kernel

STEPS = 240  # steps that are kept at most
PLACES = 480_000  # tokens × steps that are kept at most, but at least LEAST steps
LEAST = 24
_PIECE = 1 << 26  # bytes of labels that are read at once
_GRID = 0.4  # part of the steps that a regular grid takes, so that events do not take all


def write(history: str, counts: str, out: str, metadata: Mapping[str, str]) -> str:
    """Write explorer.safetensors of a run. Returns a one-line summary.

    Keys: `steps` int32 (K,), see `chosen_steps`; `identities` int32 (K, V), the number of the token's hole as in
    lineage.csv, 0 for a singleton; `plane` float32 (K, V, 2), see `plane`; `axes` float32 (2, D), `centre` (D,) and
    `shares` (2,), its axes, its origin, and the part of the variance along each.

    Args:
        counts: black_hole_counts.safetensors, of which `labels` is read.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    with open_tensors(counts) as file:
        S, V = file.expect("labels", torch.int32, ("S", "V"))
        length = max(1, _PIECE // (4 * V))
        # pieces share a row, so that the change from one to the next is seen
        rows = (file.rows("labels", start, start + length + 1) for start in range(0, S, length))
        changed = np.concatenate([(labels[1:] != labels[:-1]).any(1).numpy() for labels in rows])
        steps = chosen_steps(S - 1, 1 + np.flatnonzero(changed), max(LEAST, min(STEPS, PLACES // V)))
        with about(counts):
            pieces = (file.rows("labels", start, start + length) for start in range(0, S, length))
            holes = 1 + kernel.identities(pieces, steps)
    with open_history(history) as source:
        if (source.steps, source.tokens) != (S, V):
            found = f"{source.steps:,} snapshots of {source.tokens:,} tokens"
            raise UserError(f"{history}: has {found}; {counts} is of {S:,} snapshots of {V:,}")
        snapshots = torch.cat([source.rows(step, step + 1) for step in steps.tolist()])
    places, axes, centre, shares = plane(snapshots)
    tensors = {"steps": torch.from_numpy(steps), "identities": torch.from_numpy(holes)}
    write_tensors(out, {**tensors, "plane": places, "axes": axes, "centre": centre, "shares": shares}, metadata)
    return f"{len(steps):,} of {S:,} steps; the plane has {float(shares.sum()):.0%} of the variance"


def chosen_steps(last: int, changes: Int[np.ndarray, "n"], most: int) -> Int32[np.ndarray, "K"]:
    """Up to `most` steps of 0 … last, in order: both ends, a logarithmic grid, and those at which holes change.

    Of more changes than there is room for, those on a logarithmic grid of their own numbers: the early ones are closer.
    """
    ends = {0, last}
    grid = _spread(np.arange(last + 1), max(2, int(_GRID * most)))
    kept = ends | set(grid.tolist())
    others = np.array(sorted(set(changes.tolist()) - kept), int)
    kept |= set(_spread(others, most - len(kept)).tolist()) if len(others) else set()
    room = most - len(kept)
    rest = np.array(sorted(set(range(last + 1)) - kept), int) if room > 0 else np.array([], int)
    kept |= set(_spread(rest, room).tolist()) if len(rest) else set()
    return np.array(sorted(kept), np.int32)


def _spread(steps: np.ndarray, number: int) -> np.ndarray:
    """Up to `number` of these steps, which rise, spread evenly over the logarithm of 1 + step; all, if they are few."""
    if number >= len(steps):
        return steps
    if number < 1:
        return steps[:0]
    low, high = np.log1p(steps[0]), np.log1p(steps[-1])
    column = np.minimum(((np.log1p(steps) - low) / (high - low) * number).astype(int), number - 1)
    return steps[np.append(True, np.diff(column) > 0)]  # the first in each column


def plane(
    snapshots: Float[Tensor, "K V D"],
) -> tuple[Float[Tensor, "K V 2"], Float[Tensor, "2 D"], Float[Tensor, "D"], Float[Tensor, "2"]]:
    """The plane of the first two principal components of all tokens at all snapshots together, float32.

    Returns places in it; its axes, of length 1, whose coordinate with the largest magnitude is positive; their origin,
    the mean; and the part of the variance along each. Sums are in float64, so they are exact to about 1e-15 of the
    largest variance; where two variances are equal the axes are any two.
    """
    K, V, D = snapshots.shape
    total, square = torch.zeros(D, dtype=torch.float64), torch.zeros(D, D, dtype=torch.float64)
    for snapshot in snapshots:
        total += snapshot.double().sum(0)
    centre = total / (K * V)
    for snapshot in snapshots:
        centred = snapshot.double() - centre
        square += centred.T @ centred
    values, vectors = torch.linalg.eigh(square)
    axes = vectors[:, -2:].flip(1).T if D > 1 else torch.cat([vectors.T, torch.zeros(1, D, dtype=torch.float64)])
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    variance = torch.cat([values.flip(0), torch.zeros(2, dtype=torch.float64)])[:2]
    shares = variance / values.sum().clamp(min=torch.finfo(torch.float64).tiny)
    places = torch.stack([(snapshot.double() - centre) @ axes.T for snapshot in snapshots])
    return places.float(), axes.float(), centre.float(), shares.float()
