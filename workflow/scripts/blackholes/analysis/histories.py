"""Histories read in pieces: what every analysis starts from, within a memory budget."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import BFloat16
from torch import Tensor

from blackholes.artifacts.tensors import TensorReader, open_tensors

KEY = "embedding_history"


@dataclass
class History:
    """An open history: S snapshots of V tokens in D dimensions."""

    path: str
    steps: int  # S, step 0 included
    tokens: int  # V
    dimensions: int  # D
    _file: TensorReader

    def chunks(self, length: int) -> Iterator[tuple[int, BFloat16[Tensor, "s V D"]]]:
        """(first step, its snapshots and the following ones), `length` snapshots at a time."""
        for start in range(0, self.steps, length):
            yield start, self._file.rows(KEY, start, min(start + length, self.steps))


@contextmanager
def open_history(path: str) -> Iterator[History]:
    """Open embedding_evolution.safetensors.

    Raises:
        UserError: missing, truncated, or without a bfloat16 tensor `embedding_history` (S, V, D).
    """
    with open_tensors(path) as file:
        steps, tokens, dimensions = file.expect(KEY, torch.bfloat16, ("S", "V", "D"))
        yield History(path, steps, tokens, dimensions, file)


def chunk_length(bytes_a_step: int, budget_gb: float, buffers: int = 1) -> int:
    """How many steps to take at once so that `buffers` pieces of this size stay within a small part of the budget.

    Pieces larger than 64 MB gain nothing: they no longer fit any cache, and less is done side by side.
    """
    piece = min(64e6, budget_gb * 1e9 / 4 / buffers)
    return max(1, int(piece / bytes_a_step))
