"""Chebyshev matrices of a run (row B): computed in pieces from its history, or read where they are stored."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from blackholes.artifacts.histories import History, chunk_length, open_history
from blackholes.artifacts.tensors import TensorWriter
from blackholes.errors import about
from blackholes.kernels.backends import empty
from blackholes.kernels.chebyshev import chebyshev_matrices

KEY = "chebyshev_distances"


def write_chebyshev(
    history: str,
    out: str,
    metadata: dict[str, str] | None = None,
    device: torch.device | str = "cpu",
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> int:
    """Write `chebyshev_distances` float32 (S, V, V) of a history (S, V, D). Returns the bytes of the file.

    A piece is computed while the one before is written; two buffers alternate.

    Raises:
        UserError: naming the history and what is wrong with it, or the output and that the disk is full.
    """
    with open_history(history) as source:
        shape = (source.steps, source.tokens, source.tokens)
        length = chunk_length(4 * source.tokens**2, budget_gb, buffers=2)
        buffers = [empty((min(length, source.steps), *shape[1:]), torch.float32, torch.device("cpu")) for _ in "ab"]
        with (
            TensorWriter(out, {KEY: (torch.float32, shape)}, metadata) as writer,
            ThreadPoolExecutor(1) as background,
        ):
            writing: Future = Future()
            writing.set_result(None)
            for number, (start, snapshots) in enumerate(source.chunks(length)):
                with about(history):
                    piece = _matrices(snapshots, start, buffers[number % 2], device)
                writing.result()
                writing = background.submit(writer.append, KEY, piece)
                progress(start + len(snapshots), source.steps)
            writing.result()
        return writer.size


def storage(size: int, runs: int, experiment: str) -> str:
    """A line for the log: what the distances of a run take on the disk, and those of all runs."""
    return f"distances take {size / 1e6:,.1f} MB; those of all {runs} runs of {experiment} {size * runs / 1e9:,.2f} GB"


def matrices(source: History, length: int, device: torch.device | str = "cpu") -> Iterator[tuple[int, Tensor, Tensor]]:
    """(first step, snapshots, Chebyshev matrices), `length` steps at a time, for statistics that need no file of them.

    Raises:
        UserError: naming the history and what is wrong with it.
    """
    buffer = empty((min(length, source.steps), source.tokens, source.tokens), torch.float32, torch.device(device))
    for start, snapshots in source.chunks(length):
        snapshots = snapshots.to(device)
        with about(source.path):
            chebyshev = chebyshev_matrices(snapshots, out=buffer[: len(snapshots)], first_step=start)
        yield start, snapshots, chebyshev


def _matrices(snapshots: Tensor, start: int, buffer: Tensor, device: torch.device | str) -> Tensor:
    out = buffer[: len(snapshots)]
    if torch.device(device).type == "cpu":
        return chebyshev_matrices(snapshots, out=out, first_step=start)
    return out.copy_(chebyshev_matrices(snapshots.to(device), first_step=start))
