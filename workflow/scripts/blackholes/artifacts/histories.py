"""Histories on disk: safetensors files are written and read, HDF5 files read and, for the notebooks, made as copies.

Both are read in pieces within a memory budget. h5py is imported where an HDF5 file is written, and by the process that
reads one (see `artifacts.hdf5`): most jobs need none.
"""

import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import xxhash
from jaxtyping import BFloat16, Bool
from torch import Tensor

from blackholes.artifacts import digests
from blackholes.artifacts.files import atomic
from blackholes.artifacts.hdf5 import open_reader
from blackholes.artifacts.inputs import open_regular
from blackholes.artifacts.tensors import TensorReader, TensorWriter, open_tensors
from blackholes.errors import DamagedFile, UserError

KEY = "embedding_history"  # in safetensors files, bfloat16
HDF5_KEY = "W"  # in HDF5 files, uint16: the bits of bfloat16, which that format does not have

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # the first bytes of such a file


def history_writer(
    path: str | os.PathLike, shape: tuple[int, int, int], metadata: Mapping[str, str], mark: str | None = None
) -> TensorWriter:
    """A writer of a safetensors file with bfloat16 (S, V, D) under `KEY`."""
    return TensorWriter(path, {KEY: (torch.bfloat16, shape)}, metadata, mark)


def write_hdf5(history: str | os.PathLike, out: str | os.PathLike, dead_mask: Bool[Tensor, "V"] | None = None) -> None:
    """Copy a history into an HDF5 file, for the notebooks, in pieces and atomically.

    The file has `W`, uint16 (S, V, D), the bits of bfloat16, a chunk for each step and not compressed; `dead_mask`,
    bool (V,), where it is given or the history's file has one; and the history's metadata as attributes. No times are
    recorded, so a copy of the same history has the same bytes.

    Raises:
        UserError: the history cannot be read, as `open_history` says; `dead_mask` is for another number of tokens; the
            disk is full.
    """
    import h5py

    with open_history(os.fspath(history)) as source:
        mask = source.dead_mask if dead_mask is None else dead_mask
        if mask is not None and len(mask) != source.tokens:
            raise UserError(f"{history}: has {source.tokens:,} tokens, but dead_mask is for {len(mask):,}")
        step = (source.tokens, source.dimensions)
        with atomic(out) as temporary, _DeferredErrors(temporary, "w+") as raw:
            with h5py.File(raw, "w", libver=("v110", "v110")) as file:
                file.attrs.update(dict(sorted(source.metadata.items())))
                if mask is not None:
                    file.create_dataset("dead_mask", data=mask.numpy(), track_times=False)
                shape = (source.steps, *step)
                copy = file.create_dataset(HDF5_KEY, shape, np.uint16, chunks=(1, *step), track_times=False)
                for start, rows in source.chunks(chunk_length(2 * math.prod(step), budget_gb=1.0)):
                    copy[start : start + len(rows)] = rows.view(torch.uint16).numpy()
                    if raw.error:
                        break
            if raw.error:
                raise raw.error


class _DeferredErrors(io.FileIO):
    """A file whose first failed write is kept in `error` and not raised: h5py cannot close a file after a failure."""

    error: OSError | None = None

    def write(self, data) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and not self.error:  # the disk may take a part of it
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell()


@dataclass
class History:
    """An open history: S snapshots of V tokens in D dimensions."""

    path: str
    steps: int  # S, step 0 included
    tokens: int  # V
    dimensions: int  # D
    _rows: Callable[[int, int], BFloat16[Tensor, "s V D"]]
    metadata: dict[str, str] = field(default_factory=dict)  # provenance: safetensors' metadata, HDF5's attributes
    dead_mask: Bool[Tensor, "V"] | None = None  # where the file has one

    def rows(self, start: int, stop: int) -> BFloat16[Tensor, "s V D"]:
        """Snapshots start … stop − 1."""
        return self._rows(start, stop)

    def chunks(self, length: int) -> Iterator[tuple[int, BFloat16[Tensor, "s V D"]]]:
        """(first step, its snapshots and the following ones), `length` snapshots at a time."""
        for start in range(0, self.steps, length):
            yield start, self.rows(start, min(start + length, self.steps))


@contextmanager
def open_history(path: str, key: str | None = None) -> Iterator[History]:
    """Open a history for reading in pieces: a safetensors or an HDF5 file, whatever its name.

    A safetensors file that was made here says the digest of its tensors. They are compared with it while the snapshots
    are read in their order; what was not read by the end is read then, to be compared too.

    Args:
        key: of the history in the file; by default `embedding_history` (safetensors) or `W` (HDF5).

    Raises:
        DamagedFile: with the last snapshot, or at the end: the tensors are not those that were written.
        UserError: missing, truncated, incomplete, or without such a tensor (S, V, D): bfloat16 in a safetensors file,
            uint16, the bits of bfloat16, in an HDF5 file, stored whole in the file itself: contiguous or in chunks,
            plain or through gzip, shuffle, fletcher32 or lzf.
    """
    try:
        with open_regular(path) as file:
            begins = file.read(len(_HDF5_SIGNATURE))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if begins == _HDF5_SIGNATURE or Path(path).suffix in (".h5", ".hdf5"):
        with _open_hdf5(path, key or HDF5_KEY) as history:
            yield history
        return
    with open_tensors(path) as tensors:
        key = key or KEY
        S, V, D = tensors.expect(key, torch.bfloat16, ("S", "V", "D"))
        mask = tensors.rows("dead_mask") if "dead_mask" in tensors.keys() else None  # noqa: SIM118 - no mapping
        mask = mask if mask is not None and mask.dtype == torch.bool and mask.shape == (V,) else None
        check = _PayloadCheck(path, tensors, key)

        def rows(start: int, stop: int) -> Tensor:
            return check.seen(start, tensors.rows(key, start, stop))

        yield History(path, S, V, D, rows, tensors.metadata, mask)
        check.finish()


class _PayloadCheck:
    """Compares a file's tensors with the digest that it says, while the rows of one tensor are read in their order.

    What is left in the end, or was read in another order, is read once more. A file without a digest passes.
    """

    def __init__(self, path: str, file: TensorReader, key: str):
        self._path, self._file, self._key = path, file, key
        self._hash, self._next, self._length = xxhash.xxh3_128(), 0, file.shape(key)[0]
        self._done = file.payload is None or not digests.checking

    def seen(self, start: int, rows: Tensor) -> Tensor:
        """Take note of rows `start` … of the tensor; they are returned.

        Raises:
            DamagedFile: these were the last, and the file's tensors are not those that were written.
        """
        if not self._done and start <= self._next < start + len(rows):
            self._hash.update(_bytes(rows[self._next - start :]))
            self._next = start + len(rows)
            if self._next == self._length:
                self.finish()
        return rows

    def finish(self) -> None:
        """Read what is left.

        Raises:
            DamagedFile: as `seen`.
        """
        if self._done:
            return
        self._done = True
        while self._next < self._length:
            rows = self._file.rows(self._key, self._next, self._next + 1)
            self._hash.update(_bytes(rows))
            self._next += 1
        found = {self._key: self._hash.hexdigest()}
        for key in set(self._file.keys()) - {self._key}:
            found[key] = xxhash.xxh3_128(_bytes(self._file.rows(key))).hexdigest()
        if digests.of_keys(found) != self._file.payload:
            raise DamagedFile(self._path, "damaged: its tensors are not those that were written")


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


@contextmanager
def _open_hdf5(path: str, key: str) -> Iterator[History]:
    with open_reader(path, key) as reader:
        facts = reader.facts()
        S, V, D = facts["shape"]

        def rows(start: int, stop: int) -> Tensor:
            return torch.from_numpy(reader.rows(start, stop, (V, D))).view(torch.bfloat16)

        mask = facts["dead_mask"]
        yield History(path, S, V, D, rows, facts["metadata"], None if mask is None else torch.tensor(mask).bool())


def chunk_length(bytes_a_step: int, budget_gb: float, buffers: int = 1) -> int:
    """How many steps to take at once so that `buffers` pieces of this size stay within a small part of the budget.

    Pieces larger than 64 MB gain nothing: they no longer fit any cache, and less is done side by side.
    """
    piece = min(64e6, budget_gb * 1e9 / 4 / buffers)
    return max(1, int(piece / bytes_a_step))
