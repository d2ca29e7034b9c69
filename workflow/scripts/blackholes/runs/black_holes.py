"""Black holes of a run (row B): their number and sizes at every step, and the events between steps."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

COUNTS = ("counts", "populations", "largest_bh_size", "n_unique", "n_singletons")
EVENT_COLUMNS = ["step", "kind", "parents", "children", "tokens"]


def layout(S: int, V: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """The tensors of black_hole_counts.safetensors."""
    return dict.fromkeys(COUNTS, (torch.int32, (S,))) | {"labels": (torch.int32, (S, V))}


def counts(labels: Int[Tensor, "S V"]) -> dict[str, Int[Tensor, "S"]]:
    """Statistics of every step from labels that are equal where vectors are.

    Returns int32 tensors: `counts` (holes), `populations` (tokens inside holes), `largest_bh_size` (0 without a
    hole), `n_unique` (different vectors), `n_singletons`.
    """
    S, V = labels.shape
    flat = labels.long() + V * torch.arange(S)[:, None]
    sizes = torch.bincount(flat.flatten(), minlength=S * V).view(S, V)  # tokens with each label
    holes = sizes.where(sizes >= 2, 0)
    series = {
        "counts": (holes > 0).sum(1),
        "populations": holes.sum(1),
        "largest_bh_size": holes.amax(1),
        "n_unique": (sizes > 0).sum(1),
        "n_singletons": (sizes == 1).sum(1),
    }
    return {name: values.int() for name, values in series.items()}


def increases(holes: Int[np.ndarray, "S"]) -> list[tuple[int, int, int]]:
    """(step, holes before, holes at it) for the steps on which the number of holes rose."""
    steps = np.flatnonzero(np.diff(holes.astype(np.int64)) > 0) + 1
    return [(int(step), int(holes[step - 1]), int(holes[step])) for step in steps]


def events(
    labels: Int[np.ndarray, "S V"], first_step: int = 0
) -> Iterator[tuple[int, str, list[int], list[int], list[int]]]:
    """(step, kind, parents, children, tokens) of every event between a step and the one before.

    `first_step` is the number of the first step in `labels`, for callers that stream.
    Parents are holes of the step before, children holes of the step, each named by its smallest token; tokens are
    those that the event moved. Kinds (docs/definitions.md): `fission`, `fusion`, `evaporation`, `capture`,
    `formation`, `dissolution`. A dissolution is also an evaporation of every token: it gives two rows.
    """
    for row in np.flatnonzero((labels[1:] != labels[:-1]).any(1)) + 1:
        step, before, after = first_step + row, _holes(labels[row - 1]), _holes(labels[row])
        moved = before != after  # a hole has an event only if the label of one of its tokens changed
        for parent in np.unique(before[moved & (before >= 0)]):
            members = np.flatnonzero(before == parent)
            hole_after = after[members]  # -1: a singleton
            children = np.unique(hole_after[hole_after >= 0])
            evaporated = members[hole_after < 0]
            if len(children) >= 2:
                yield _event(step, "fission", [parent], children, members[hole_after >= 0])
            if len(evaporated):
                yield _event(step, "evaporation", [parent], children, evaporated)
            if not len(children):
                yield _event(step, "dissolution", [parent], [], members)
        for child in np.unique(after[moved & (after >= 0)]):
            members = np.flatnonzero(after == child)
            hole_before = before[members]
            parents = np.unique(hole_before[hole_before >= 0])
            captured = members[hole_before < 0]
            if len(parents) >= 2:
                yield _event(step, "fusion", parents, [child], members[hole_before >= 0])
            if len(captured) and len(parents):
                yield _event(step, "capture", parents, [child], captured)
            if not len(parents):
                yield _event(step, "formation", [], [child], members)


def _holes(labels: np.ndarray) -> np.ndarray:
    """Labels with −1 for singletons."""
    sizes = np.bincount(labels, minlength=len(labels))
    return np.where(sizes[labels] >= 2, labels, -1)


def _event(step, kind, parents, children, tokens):
    return int(step), kind, [int(p) for p in parents], [int(c) for c in children], [int(t) for t in tokens]
