"""HDF5 files, written row by row like safetensors files: kill-safe, resumable, the same bytes every time.

The library lays out a file of datasets that are allocated at once, and its own few bytes are kept; the rows then go
straight to their places. A dataset of fixed size that is chunked, not compressed and allocated early lies in one piece,
without an index (in the format of HDF5 1.10 and later).
"""

import io
import os
from collections.abc import Mapping

import h5py
import numpy as np
import torch

from blackholes.artifacts.rows import RowWriter

# HDF5 has no bfloat16: its bits are stored
_TYPES = {torch.bfloat16: "<u2", torch.uint16: "<u2", torch.uint8: "u1", torch.int32: "<i4", torch.float32: "<f4"}


class Hdf5Writer(RowWriter):
    """Write one dataset row by row into an HDF5 file (see RowWriter), chunked by rows, not compressed.

    Args:
        layout: key → (dtype, shape) of the dataset; bfloat16 is stored as uint16, its bits.
        metadata: text → text, attributes of the file.
        arrays: key → small arrays that are datasets of their own.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        layout: Mapping,
        metadata: Mapping[str, str] | None = None,
        mark: str | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ):
        ((key, (dtype, shape)),) = layout.items()
        recorder = _Recorder()
        with h5py.File(recorder, "w", libver=("v110", "v110")) as file:
            file.attrs.update(dict(sorted((metadata or {}).items())))
            for name, array in sorted((arrays or {}).items()):
                file.create_dataset(name, data=array, track_times=False)
            made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            made.set_chunk((1, *shape[1:]))
            made.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            made.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            made.set_obj_track_times(False)
            kind = h5py.h5t.py_create(np.dtype(_TYPES[dtype]))
            dataset = h5py.h5d.create(file.id, key.encode(), kind, h5py.h5s.create_simple(shape), made)
            start, step = dataset.get_chunk_info(0).byte_offset, dataset.get_chunk_info(0).size
            last = dataset.get_chunk_info(shape[0] - 1).byte_offset
            if last != start + (shape[0] - 1) * step:
                raise RuntimeError(f"{path}: chunks of {key} are not in one piece")
        head, tail = recorder.around(start, last + step)
        super().__init__(path, layout, {key: start}, head, tail, mark)


class _Recorder(io.RawIOBase):
    """A file for h5py to write to, of which only what it writes takes memory."""

    def __init__(self):
        self._pieces: list[tuple[int, bytes]] = []
        self._size = self._place = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        return self._size

    def write(self, data) -> int:
        data = bytes(data)
        self._pieces.append((self._place, data))
        self._place += len(data)
        self._size = max(self._size, self._place)
        return len(data)

    def readinto(self, buffer) -> int:
        raise io.UnsupportedOperation("what is written here is not read")

    def around(self, start: int, stop: int) -> tuple[bytes, bytes]:
        """What stands before `start` and from `stop` on; nothing was written in between."""
        ends = bytearray(start), bytearray(self._size - stop)
        for place, data in self._pieces:
            piece, offset = (ends[0], place) if place < start else (ends[1], place - stop)
            if offset < 0 or offset + len(data) > len(piece):
                raise RuntimeError("HDF5 wrote among the rows")
            piece[offset : offset + len(data)] = data
        return bytes(ends[0]), bytes(ends[1])
