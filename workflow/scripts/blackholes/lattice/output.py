"""The output files of a history's motion (row E): their names, and a writer for the two large ones."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from blackholes.artifacts.histories import History
from blackholes.artifacts.tensors import TensorReader, TensorWriter
from blackholes.kernels import lattice
from blackholes.lattice.integers import INTEGERS

KEPT = ("delta_ordinal", "delta_W_prime", "U", "exponent_crossings")  # the large tensors, each optional
BYTES = {"delta_ordinal": 4, "delta_W_prime": 8, "U": 2, "exponent_crossings": 1}  # of a value, at most


@dataclass
class Outputs:
    """Paths of all output files."""

    displacements: str  # lattice_displacements.safetensors
    norms: str  # displacement_norms.safetensors
    raster: str  # raster.safetensors: one token's displacements
    steps: str  # displacement_per_step.csv
    overall: str  # displacement_overall.csv
    validation: str  # validation.csv
    integers: str  # integer_types.csv
    samples: str  # odd_samples.csv
    lifecycle: str  # lifecycle.csv
    medians: str  # lifecycle_medians.csv


class LargeFiles:
    """The displacements and the norms, written in the background while the next piece is computed.

    `types` names the integer types of `delta_ordinal` and `delta_W_prime`. Tensors have a row a step; `U` has one a
    snapshot, so one more.
    """

    def __init__(self, outputs: Outputs, source: History, keep, types, dead: Tensor | None, metadata: dict):
        shape = (source.steps - 1, source.tokens, source.dimensions)
        dtypes = {name: INTEGERS[integer] for name, integer in types.items()}
        dtypes |= {"U": torch.bfloat16, "exponent_crossings": torch.bool}
        self._large = {name: dtypes[name] for name in KEPT if name in keep}
        layout: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            name: (dtype, (source.steps, *shape[1:]) if name == "U" else shape) for name, dtype in self._large.items()
        }
        self._row = shape[1:]
        small: dict[str, int | Tensor] = {"n_steps": shape[0], "n_tokens": shape[1], "n_dims": shape[2]}
        if dead is not None:
            small |= {"dead_mask": dead, "dead_token_ids": dead.nonzero()[:, 0], "n_dead": int(dead.sum())}
        self._small = {name: torch.as_tensor(value) for name, value in small.items()}
        layout |= {name: (value.dtype, tuple(value.shape)) for name, value in self._small.items()}
        self._displacements = TensorWriter(outputs.displacements, layout, metadata)
        norms = dict.fromkeys(lattice.NORMS, (torch.float32, shape[:2]))
        self._norms = TensorWriter(outputs.norms, norms, metadata)
        self._buffers: list[dict[str, Tensor]] = [{}, {}]
        self._waiting: Future = Future()
        self._waiting.set_result(None)
        self._stack = ExitStack()

    def __enter__(self):
        with ExitStack() as stack:
            for writer in (self._displacements, self._norms):
                stack.enter_context(writer)
            for name, value in self._small.items():
                self._displacements.append(name, value)
            self._background = stack.enter_context(ThreadPoolExecutor(1))
            self._stack = stack.pop_all()
        return self

    @property
    def kept(self) -> tuple[str, ...]:
        return tuple(self._large)

    def buffers(self, steps: int) -> dict[str, Tensor]:
        """Buffers for the next piece, other than those being written. The first piece must be the longest."""
        self._buffers.reverse()
        if not self._buffers[0]:
            self._buffers[0] = {name: torch.empty((steps, *self._row), dtype=t) for name, t in self._large.items()}
        return {name: buffer[:steps] for name, buffer in self._buffers[0].items()}

    def append(self, pieces: dict[str, Tensor], norms: Tensor | None = None) -> None:
        self._waiting.result()  # raises if the last write failed
        self._waiting = self._background.submit(self._write, pieces, norms)

    def _write(self, pieces: dict[str, Tensor], norms: Tensor | None) -> None:
        for name, piece in pieces.items():
            self._displacements.append(name, piece)
        if norms is not None:
            for name, values in zip(lattice.NORMS, norms, strict=True):
                self._norms.append(name, values)

    @contextmanager
    def stored(self) -> Iterator[TensorReader]:
        """The complete file of displacements, read back from the disk before it gets its final name."""
        self._waiting.result()
        self._buffers = [{}, {}]  # their memory is free for the reader
        with self._displacements.written() as file:
            yield file

    def __exit__(self, kind, error, trace) -> bool | None:
        with ExitStack() as stack:
            stack.push(self._stack)
            if kind is None:
                self._waiting.result()
            stack.pop_all()
        return self._stack.__exit__(kind, error, trace)
