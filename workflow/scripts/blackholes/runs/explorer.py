"""What the page's explorer shows of one run: at some of its steps, each token's hole and its place in a plane."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from blackholes.artifacts.histories import open_history
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError

STEPS = 240  # steps that are kept at most
PLACES = 480_000  # tokens × steps that are kept at most, but at least LEAST steps
LEAST = 24
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
        labels = file.rows("labels").numpy()
    changes = 1 + np.flatnonzero((labels[1:] != labels[:-1]).any(1))
    steps = chosen_steps(S - 1, changes, max(LEAST, min(STEPS, PLACES // V)))
    with open_history(history) as source:
        if (source.steps, source.tokens) != (S, V):
            found = f"{source.steps:,} snapshots of {source.tokens:,} tokens"
            raise UserError(f"{history}: has {found}; {counts} is of {S:,} snapshots of {V:,}")
        snapshots = torch.cat([source.rows(step, step + 1) for step in steps.tolist()])
    places, axes, centre, shares = plane(snapshots)
    tensors = {"steps": torch.from_numpy(steps), "identities": torch.from_numpy(identities(labels, steps))}
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


def identities(labels: Int32[np.ndarray, "S V"], steps: Int[np.ndarray, "K"]) -> Int32[np.ndarray, "K V"]:
    """The number of each token's hole at some steps, as in lineage.csv: from 1, in order of birth; 0: a singleton."""
    wanted = {step: row for row, step in enumerate(steps.tolist())}
    found = np.zeros((len(steps), labels.shape[1]), np.int32)
    for step, of_tokens in enumerate(_followed(labels)):
        if step in wanted:
            found[wanted[step]] = of_tokens
    return found


def _followed(labels: np.ndarray) -> Iterator[np.ndarray]:
    """For every step the identity of each token's hole (docs/definitions.md), 0 for a singleton."""
    V = labels.shape[1]
    known = 0
    now = np.zeros(V, np.int32)
    for step, label in enumerate(labels):
        if step and (label == labels[step - 1]).all():
            yield now
            continue
        held = np.bincount(label, minlength=V)[label] > 1
        before, now = now, np.zeros(V, np.int32)
        both = held & (before > 0)
        pairs, tokens = np.unique(np.stack([before[both], label[both]], 1), axis=0, return_counts=True)
        smallest = {int(hole): int(np.argmax(before == hole)) for hole in np.unique(before[before > 0])}
        heirs: dict[int, tuple[int, int]] = {}  # identity → (tokens that it passes, minus the child), the best so far
        for (hole, child), number in zip(pairs.tolist(), tokens.tolist(), strict=True):
            heirs[hole] = max(heirs.get(hole, (0, -V)), (number, -child))
        passed: dict[int, tuple[int, int, int]] = {}  # child → (tokens, minus the parent's label, its identity)
        for hole, (number, child) in heirs.items():
            passed[-child] = max(passed.get(-child, (0, -V, 0)), (number, -smallest[hole], hole))
        for child in np.unique(label[held]).tolist():
            if child not in passed:
                known += 1
            now[label == child] = passed[child][2] if child in passed else known
        yield now


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
