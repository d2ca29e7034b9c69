"""Histories on disk: read in pieces within a memory budget, and written; safetensors, or HDF5."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import BFloat16, Bool
from torch import Tensor

from blackholes.artifacts.rows import RowWriter
from blackholes.artifacts.tensors import TensorWriter, open_tensors
from blackholes.errors import UserError

KEY = "embedding_history"  # in safetensors files, bfloat16
HDF5_KEY = "W"  # in HDF5 files, uint16: the bits of bfloat16, which that format does not have


_HDF5 = b"\x89HDF\r\n\x1a\n"  # how such a file begins


def is_hdf5(path: str | Path) -> bool:
    """Whether a file of this name is, or is to be, an HDF5 file."""
    return Path(path).suffix in (".h5", ".hdf5")


def key_of(path: str | Path) -> str:
    """The key of the history in a file of this name."""
    return HDF5_KEY if is_hdf5(path) else KEY


def history_writer(
    path: str | Path,
    shape: tuple[int, int, int],
    metadata: Mapping[str, str],
    mark: str | None = None,
    dead_mask: np.ndarray | None = None,
) -> RowWriter:
    """A writer of bfloat16 (S, V, D) under `key_of(path)`; an HDF5 file says which tokens are dead, too."""
    layout = {key_of(path): (torch.bfloat16, shape)}
    if not is_hdf5(path):
        return TensorWriter(path, layout, metadata, mark)
    from blackholes.artifacts.hdf5 import Hdf5Writer  # most histories need no HDF5

    arrays = {} if dead_mask is None else {"dead_mask": dead_mask}
    return Hdf5Writer(path, layout, metadata, mark, arrays)


@dataclass
class History:
    """An open history: S snapshots of V tokens in D dimensions."""

    path: str
    steps: int  # S, step 0 included
    tokens: int  # V
    dimensions: int  # D
    _rows: Callable[[int, int], BFloat16[Tensor, "s V D"]]
    metadata: dict[str, str] = field(default_factory=dict)  # provenance: safetensors' metadata, HDF5's attributes
    dead_mask: Bool[Tensor, "V"] | None = None  # as the file may say it

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

    Args:
        key: of the history in the file; by default `embedding_history` (safetensors) or `W` (HDF5).

    Raises:
        UserError: missing, truncated, incomplete, or without such a tensor (S, V, D): bfloat16 in a safetensors file,
            uint16, the bits of bfloat16, in an HDF5 file.
    """
    try:
        with open(path, "rb") as file:
            begins = file.read(len(_HDF5))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if begins == _HDF5 or is_hdf5(path):
        with _open_hdf5(path, key or HDF5_KEY) as history:
            yield history
        return
    with open_tensors(path) as file:
        key = key or KEY
        S, V, D = file.expect(key, torch.bfloat16, ("S", "V", "D"))
        mask = file.rows("dead_mask") if "dead_mask" in file.keys() else None  # noqa: SIM118 - no mapping
        mask = mask if mask is not None and mask.dtype == torch.bool and mask.shape == (V,) else None
        yield History(path, S, V, D, lambda start, stop: file.rows(key, start, stop), file.metadata, mask)


@contextmanager
def _open_hdf5(path: str, key: str) -> Iterator[History]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path}: not a complete HDF5 file: {error}") from error
    with file:
        dataset, wanted = file.get(key), "uint16 (S, V, D), the bits of bfloat16"
        if not isinstance(dataset, h5py.Dataset):
            raise UserError(f"{path}: no dataset '{key}' ({wanted}); the file has {', '.join(file) or 'none'}")
        if dataset.dtype.kind != "u" or dataset.dtype.itemsize != 2 or dataset.ndim != 3 or 0 in dataset.shape:
            raise UserError(f"{path}: dataset '{key}' is {dataset.dtype} {dataset.shape}, expected {wanted}")
        if dataset.chunks:  # HDF5 reads what was never written as zeros
            pieces = [-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
            if dataset.id.get_num_chunks() < np.prod(pieces):
                raise UserError(f"{path}: dataset '{key}' is incomplete: chunks were never written")

        def rows(start: int, stop: int) -> Tensor:
            bits = np.empty((max(0, stop - start), *dataset.shape[1:]), np.uint16)
            try:
                dataset.read_direct(bits, np.s_[start:stop])
            except OSError as error:
                raise UserError(f"{path}: dataset '{key}' cannot be read at step {start}: {error}") from error
            return torch.from_numpy(bits).view(torch.bfloat16)

        metadata = {name: str(value) for name, value in file.attrs.items()}
        S, V, D = dataset.shape
        yield History(path, S, V, D, rows, metadata, _dead_mask(file, V))


def _dead_mask(file: h5py.File, tokens: int) -> Bool[Tensor, "V"] | None:
    mask = file.get("dead_mask")
    if not isinstance(mask, h5py.Dataset) or mask.shape != (tokens,) or mask.dtype.kind not in "bui":
        return None
    return torch.from_numpy(mask[:].astype(bool))


def chunk_length(bytes_a_step: int, budget_gb: float, buffers: int = 1) -> int:
    """How many steps to take at once so that `buffers` pieces of this size stay within a small part of the budget.

    Pieces larger than 64 MB gain nothing: they no longer fit any cache, and less is done side by side.
    """
    piece = min(64e6, budget_gb * 1e9 / 4 / buffers)
    return max(1, int(piece / bytes_a_step))
