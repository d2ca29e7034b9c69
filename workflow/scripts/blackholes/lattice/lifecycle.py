"""Lifecycle of tokens on the lattice (row E): the first step at which each moves, and the last."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

PHASES = ("early", "midlife", "late")
COLUMNS = ("token_id", "status", "first_motion", *PHASES)
MEDIANS = ("tokens", "number", "never_moved", "moving_at_the_end", "first_motion", *PHASES)


class Lifecycle:
    """First and last steps of motion of every token, from norms added piece by piece.

    Steps count from 1, the first update of the optimizer; 0 means never. `early` is the last step whose displacement
    has an L2 norm above √D, `midlife` the last at which a coordinate moves more than one ULP, `late` the last with
    any motion, after which the token is frozen. early ≤ midlife ≤ late.
    """

    def __init__(self, tokens: int, dimensions: int):
        self._steps = 0
        self._limit = torch.tensor(math.sqrt(dimensions), dtype=torch.float32)  # rounded as the norms are
        self.first = torch.zeros(tokens, dtype=torch.int64)
        self.last = torch.zeros((len(PHASES), tokens), dtype=torch.int64)

    def add(self, norms: Float32[Tensor, "4 s V"]) -> None:
        """Add the next steps' norms, in the order of kernels.lattice.NORMS."""
        l1, l2, largest, _ = norms
        steps = torch.arange(self._steps + 1, self._steps + 1 + l1.shape[0])[:, None]
        for phase, active in enumerate((l2 > self._limit, largest > 1, l1 > 0)):
            torch.maximum(self.last[phase], (steps * active).amax(0), out=self.last[phase])
        never = l1.shape[0] + self._steps + 1
        begins = steps.where(l1 > 0, never).amin(0)
        self.first = torch.where((self.first == 0) & (begins < never), begins, self.first)
        self._steps += l1.shape[0]

    def rows(self, status: list[str]) -> Iterator[tuple]:
        """Rows of COLUMNS, one per token."""
        yield from zip(range(len(status)), status, self.first.tolist(), *self.last.tolist(), strict=True)

    def medians(self, groups: dict[str, Bool[Tensor, "V"]]) -> Iterator[tuple]:
        """Rows of MEDIANS, one per group of tokens: lower medians, with "never" as step 0."""
        for name, mask in groups.items():
            first, last = self.first[mask], self.last[:, mask]
            never, moving = (first == 0).sum().item(), (last[-1] == self._steps).sum().item()
            yield name, len(first), never, moving, *(steps.median().item() for steps in (first, *last))
