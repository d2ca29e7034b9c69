"""Lifecycle of tokens on the lattice (row E): the first step at which each moves, and the last."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from blackholes.kernels.lattice import NORMS

PHASES = ("early", "midlife", "late")
WITHOUT = "_without_tiny"  # ends the names of norms and columns that leave tiny coordinates out
COORDINATES = {"all": "", "without tiny": WITHOUT}
COLUMNS = ("token_id", "status", "first_motion", *PHASES, *(phase + WITHOUT for phase in PHASES))
MEDIANS = ("tokens", "coordinates", "number", "never_moved", "moving_at_the_end", "first_motion", *PHASES)


class Lifecycle:
    """First and last steps of motion of every token, from norms of `delta_ordinal` added piece by piece.

    Steps count from 1, the first update of the optimizer; 0 means never. `early` is the last step whose motion has an
    L2 norm above √D, `midlife` the last at which a coordinate moves by more than one representable value, `late` the
    last with any motion, after which the token is frozen. early ≤ midlife ≤ late. All of them once for all coordinates
    and once without tiny ones (see `kernels.lattice.transitions`).
    """

    def __init__(self, tokens: int, dimensions: int):
        self._steps = 0
        self._limit = torch.tensor(math.sqrt(dimensions), dtype=torch.float32)  # rounded as the norms are
        self.first = torch.zeros((len(COORDINATES), tokens), dtype=torch.int64)
        self.last = torch.zeros((len(COORDINATES), len(PHASES), tokens), dtype=torch.int64)

    def add(self, norms: Float32[Tensor, "n s V"]) -> None:
        """Add the next steps' norms, in the order of kernels.lattice.NORMS."""
        named = dict(zip(NORMS, norms, strict=True))
        s = norms.shape[1]
        steps = torch.arange(self._steps + 1, self._steps + 1 + s)[:, None]
        never = self._steps + s + 1
        for first, last, end in zip(self.first, self.last, COORDINATES.values(), strict=True):
            length, largest = named[f"L2{end}"], named[f"Linf{end}"]
            for phase, active in zip(last, (length > self._limit, largest > 1, largest > 0), strict=True):
                torch.maximum(phase, (steps * active).amax(0), out=phase)
            begins = steps.where(largest > 0, never).amin(0)
            first.copy_(torch.where((first == 0) & (begins < never), begins, first))
        self._steps += s

    def rows(self, status: list[str]) -> Iterator[tuple]:
        """Rows of COLUMNS, one per token."""
        columns = self.first[0].tolist(), *self.last.flatten(0, 1).tolist()
        yield from zip(range(len(status)), status, *columns, strict=True)

    def medians(self, groups: dict[str, Bool[Tensor, "V"]]) -> Iterator[tuple]:
        """Rows of MEDIANS, two per group of tokens: lower medians, with "never" as step 0."""
        for name, mask in groups.items():
            for first, last, coordinates in zip(self.first, self.last, COORDINATES, strict=True):
                begins, ends = first[mask], last[:, mask]
                never, moving = (begins == 0).sum().item(), (ends[-1] == self._steps).sum().item()
                steps = (each.median().item() for each in (begins, *ends))
                yield name, coordinates, len(begins), never, moving, *steps
