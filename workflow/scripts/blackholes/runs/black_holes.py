"""Black holes of a run (row B): who is in which, how many and how large at every step, and what becomes of them."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.histories import chunk_length, open_history
from blackholes.artifacts.tensors import TensorWriter
from blackholes.errors import about
from blackholes.kernels import duplicates

COUNTS = ("counts", "populations", "largest_bh_size", "n_unique", "n_singletons")


def counts(labels: Int[Tensor, "S V"]) -> dict[str, Int[Tensor, "S"]]:
    """Statistics of every step from labels that are equal where vectors are.

    Returns int32 tensors: `counts` (holes), `populations` (tokens inside holes), `largest_bh_size` (0 without a
    hole), `n_unique` (different vectors), `n_singletons`.
    """
    S, V = labels.shape
    flat = labels.long() + V * torch.arange(S)[:, None]
    sizes = torch.bincount(flat.flatten(), minlength=S * V).view(S, V)  # of the group that each label names
    holes = sizes.where(sizes >= 2, 0)
    found = {
        "counts": (holes > 0).sum(1),
        "populations": holes.sum(1),
        "largest_bh_size": holes.amax(1),
        "n_unique": (sizes > 0).sum(1),
        "n_singletons": (sizes == 1).sum(1),
    }
    return {name: series.int() for name, series in found.items()}


def increases(holes: Int[np.ndarray, "S"]) -> list[tuple[int, int, int]]:
    """(step, holes before, holes at it) for the steps on which the number of holes rose."""
    steps = np.flatnonzero(np.diff(holes.astype(np.int64)) > 0) + 1
    return [(int(step), int(holes[step - 1]), int(holes[step])) for step in steps]


def events(
    labels: Int[np.ndarray, "S V"], first_step: int = 0
) -> Iterator[tuple[int, str, list[int], list[int], list[int]]]:
    """(step, kind, parents, children, tokens) for all that happens to holes between a step and the one before.

    `first_step` is the number of the first step in `labels`, for callers that stream.
    Parents are holes of the step before, children holes of the step, each named by its smallest token; tokens are
    those the event moved. Kinds, as DESIGN section 2 defines them: `fission`, `fusion`, `evaporation`, `capture`,
    `formation`, `dissolution`. A dissolution is an evaporation of every token and has a row as each.
    """
    for row in np.flatnonzero((labels[1:] != labels[:-1]).any(1)) + 1:
        step, before, after = first_step + row, _holes(labels[row - 1]), _holes(labels[row])
        moved = before != after  # a hole none of whose tokens has another label has no event
        for parent in np.unique(before[moved & (before >= 0)]):
            members = np.flatnonzero(before == parent)
            went = after[members]
            children = np.unique(went[went >= 0])
            loose = members[went < 0]
            if len(children) >= 2:
                yield _event(step, "fission", [parent], children, members[went >= 0])
            if len(loose):
                yield _event(step, "evaporation", [parent], children, loose)
            if not len(children):
                yield _event(step, "dissolution", [parent], [], members)
        for child in np.unique(after[moved & (after >= 0)]):
            members = np.flatnonzero(after == child)
            came = before[members]
            parents = np.unique(came[came >= 0])
            new = members[came < 0]
            if len(parents) >= 2:
                yield _event(step, "fusion", parents, [child], members[came >= 0])
            if len(new) and len(parents):
                yield _event(step, "capture", parents, [child], new)
            if not len(parents):
                yield _event(step, "formation", [], [child], members)


def write(
    history: str,
    out: str,
    table: str,
    metadata: dict[str, str] | None = None,
    device: torch.device | str = "cpu",
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> None:
    """Write black_hole_counts.safetensors and events.csv of a history. No distances are needed: equal is equal.

    Raises:
        UserError: naming the history and what is wrong with it.
    """
    with open_history(history) as source:
        S, V = source.steps, source.tokens
        layout = dict.fromkeys(COUNTS, (torch.int32, (S,))) | {"labels": (torch.int32, (S, V))}
        length = chunk_length(2 * V * source.dimensions, budget_gb)

        def rows() -> Iterator[tuple]:
            """Of the table of events; the tensors are written on the way."""
            before = np.empty((0, V), np.int32)
            for start, snapshots in source.chunks(length):
                with about(history):
                    labels = duplicates.labels(snapshots.to(device), first_step=start).to("cpu", torch.int32)
                for name, values in (counts(labels) | {"labels": labels}).items():
                    writer.append(name, values)
                joined = np.concatenate([before, labels.numpy()])
                for step, kind, *lists in events(joined, start - len(before)):
                    yield step, kind, *(" ".join(map(str, ids)) for ids in lists)
                before = joined[-1:]
                progress(start + len(snapshots), S)

        with TensorWriter(out, layout, metadata) as writer:
            write_table(table, ["step", "kind", "parents", "children", "tokens"], rows())


def _holes(labels: np.ndarray) -> np.ndarray:
    """Labels with −1 for singletons."""
    sizes = np.bincount(labels, minlength=len(labels))
    return np.where(sizes[labels] >= 2, labels, -1)


def _event(step, kind, parents, children, tokens):
    return int(step), kind, [int(p) for p in parents], [int(c) for c in children], [int(t) for t in tokens]
