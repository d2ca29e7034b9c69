"""Identities of black holes over steps (docs/definitions.md), from labels of equal vectors."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Int, Int32
from torch import Tensor

from blackholes.kernels.checks import require
from blackholes.kernels.compiled import lineage as loops

NONE = -1  # in place of a hole: singletons
STAYS, MOVES, EVAPORATION, DISSOLUTION, CAPTURE, FORMATION = range(6)  # kinds of a flow
FLOW = ("step", "kind", "from_segment", "to_segment", "from_hole", "to_hole", "tokens", "flicker")
POPULATION = ("hole", "segment", "step", "label", "population")
_ROWS = 1 << 15  # rows of an output's buffer beyond those that it must hold


def flows(
    pieces: Iterable[Int[Tensor, "s V"]], flicker: int
) -> Iterator[tuple[Int32[np.ndarray, "n 5"], Int32[np.ndarray, "m 8"]]]:
    """Follow the identities of holes through labels that come a few steps at a time, from step 0 on.

    `pieces` are labels (s, V) as `duplicates.labels` returns them. A hole is a label that two tokens or more have. From
    a step to the next an identity passes to the hole that holds the largest part of its tokens; of several identities
    that would pass to one hole the one that gives it the largest part does, and the others end; ties go to the smallest
    label. All other holes begin an identity. Identities are numbered from 0, in order of their first step and label.

    A segment is a stretch of an identity in which all of its tokens that are in a hole a step later are in one hole,
    which takes tokens of no other; at a fission or fusion new segments begin. They are numbered from 0, too.

    Yields (populations, flows), both in order of time, a few steps at a time; where a flow is, its populations have
    been. The columns of populations are `POPULATION`: a row for the first step of a segment, for every step at which
    its population changes, and one with population 0 for the first step without the identity. The columns of flows are
    `FLOW`: the tokens that go from a segment or from singletons (−1) to another. Kinds: `STAYS` in the identity,
    `MOVES` to another; to singletons: `EVAPORATION` of a part, `DISSOLUTION` of all; from singletons: `CAPTURE` into
    an identity that other tokens come from, `FORMATION` of one from singletons alone. Left out is what goes on within a
    segment.

    `flicker` of a flow is 1 if it undoes another or is undone: two flows undo each other if the second is the next of
    the same tokens, all of them together, at most `flicker` steps later, and takes them back: to the identity that
    they left, to singletons if they were singletons, or into a new identity if the one that they left has ended.

    A flow is held back until no later one can undo it. Memory is that of a piece and of the flows of `flicker` steps.
    Labels on another device are copied to the CPU: a step depends on the one before.

    Raises UserError for labels that are not those of `duplicates.labels`, or change their number of tokens.
    """
    state: _State | None = None
    step = 0
    for piece in pieces:
        labels = _checked(piece, step, state)
        state = state or _State(labels.shape[1], flicker)
        done = 0
        while done < len(labels):
            done += state.follow(labels[done:], step + done)
            yield state.take(last=step + done - 1)
        step += len(labels)
    if state:
        yield state.take(last=None)


def identities(pieces: Iterable[Int[Tensor, "s V"]], steps: Int[np.ndarray, "K"]) -> Int32[np.ndarray, "K V"]:
    """The identity of each token's hole at some steps, as `flows` numbers them; `NONE` for a singleton.

    Args:
        pieces: as of `flows`.
        steps: of them, in order, each once.

    Raises UserError as `flows` does.
    """
    state: _State | None = None
    found: list[np.ndarray] = []
    step = 0
    for piece in pieces:
        labels = _checked(piece, step, state)
        state = state or _State(labels.shape[1], 0)
        inside = steps[(steps >= step) & (steps < step + len(labels))] - step + 1
        done = 0
        for stop in dict.fromkeys([*inside.tolist(), len(labels)]):
            while done < stop:
                done += state.follow(labels[done:stop], step + done)
                state.take(last=step + done - 1)
            if stop in inside:
                found.append(state.identities())
        step += len(labels)
    V = len(state.last_flow) if state else 0
    return np.array(found, np.int32).reshape(len(steps), V)


class _State:
    """What `loops.follow` keeps between its calls, and the rows that it has written since the last `take`."""

    def __init__(self, V: int, flicker: int):
        self.flicker = flicker
        self.before = np.zeros((4, V), np.int32)
        self.last_flow = np.full(V, NONE, np.int64)
        self.alive = np.zeros(2 * V, np.uint8)
        self.counters = np.zeros(5, np.int64)
        self.flows = np.empty((_ROWS + V, len(FLOW)), np.int32)
        self.populations = np.empty((_ROWS + V, len(POPULATION)), np.int32)

    def follow(self, labels: Int32[np.ndarray, "s V"], first_step: int) -> int:
        """Take at least one of these steps; returns how many were taken."""
        V = labels.shape[1]
        if self.counters[1] + V > len(self.flows):  # most of it is held back
            self.flows = np.concatenate([self.flows, np.empty_like(self.flows)])
        if self.counters[3] + V > len(self.alive):
            self.alive = np.concatenate([self.alive, np.zeros_like(self.alive)])
        state = self.before, self.last_flow, self.alive, self.counters, self.flows, self.populations
        return loops.follow(labels, first_step, self.flicker, *state)

    def identities(self) -> Int32[np.ndarray, "V"]:
        """Of each token's hole at the last step that was taken."""
        labels, population, hole, _ = self.before
        return np.where(population[labels] > 0, hole[labels], NONE).astype(np.int32)

    def take(self, last: int | None) -> tuple[np.ndarray, np.ndarray]:
        """(populations, flows) that no step after `last` can change; None: all."""
        populations = self.populations[: self.counters[2]].copy()
        rows = self.flows[: self.counters[1]]
        done = len(rows) if last is None else int(np.searchsorted(rows[:, 0], last - self.flicker, side="right"))
        final, held = rows[:done].copy(), rows[done:].copy()
        self.flows[: len(held)] = held
        self.counters[:3] = self.counters[0] + done, len(held), 0
        return populations, final


def _checked(piece: Tensor, step: int, state: _State | None) -> Int32[np.ndarray, "s V"]:
    dtype, shape = piece.dtype, tuple(piece.shape)
    require(dtype in (torch.int32, torch.int64), f"labels are {dtype}, where int32 or int64 is expected")
    require(len(shape) == 2 and shape[1] > 0, f"labels have shape {shape}, where (S, V) is expected")
    V = len(state.last_flow) if state else shape[1]
    require(shape[1] == V, f"labels have {shape[1]} tokens from step {step} on, where {V} are expected")
    labels = piece.cpu()
    inside = (labels >= 0) & (labels <= torch.arange(V))
    named = labels.clamp(0, V - 1).long()
    wrong = ~(inside & (labels.gather(1, named) == labels)).all(1)
    if wrong.any():
        at = step + int(wrong.int().argmax())
        require(False, f"labels of step {at} do not name the smallest token with an equal vector")
    return np.ascontiguousarray(labels.numpy(), np.int32)
