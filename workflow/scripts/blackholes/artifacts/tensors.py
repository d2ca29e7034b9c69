"""safetensors files, written and read in pieces: a history or a matrix never has to fit in memory.

The format is 8 bytes of header length, a JSON header, then the tensors' bytes. The library writes whole tensors
only, so the writer here lays out the header itself; reading, with all its checks, is the library's.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from blackholes.artifacts.files import atomic, resumable
from blackholes.errors import UserError

_NAMES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_FLUSH = 64 << 20  # bytes written between two flushes in the background


class TensorWriter:
    """Write tensors row by row into one safetensors file that appears, complete, when the context ends.

    A large file goes to the disk while it is written: the kernel slows down a process that leaves it hundreds of
    megabytes to write back at the end (655 MB: 0.4 to 1.7 s without, 0.4 s with).

    Args:
        path: the file's final name.
        layout: key → (dtype, shape) of every tensor.
        metadata: text → text, kept in the header.
        mark: of a file that is gone on with after a kill (see `files.resumable`): its rows stay, and `skip` passes
            over those that are known to be there.

    Raises:
        UserError: the disk has no room for the file, or fills while it is written; another job took a marked file.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        layout: Mapping,
        metadata: Mapping[str, str] | None = None,
        mark: str | None = None,
    ):
        self.path, self._mark = Path(path), mark
        header, offset = {"__metadata__": dict(sorted((metadata or {}).items()))}, 0
        self._rows: dict[str, list[int]] = {}  # key → [offset of its next byte, bytes a row, bytes left]
        # wide numbers first, as the library lays them out: every tensor starts at a multiple of its item's size
        for key, (dtype, shape) in sorted(layout.items(), key=lambda item: -item[1][0].itemsize):
            size = math.prod(shape) * dtype.itemsize
            header[key] = {
                "dtype": _NAMES[dtype],
                "shape": list(shape),
                "data_offsets": [offset, offset + size],
            }
            self._rows[key] = [offset, math.prod(shape[1:]) * dtype.itemsize, size]
            offset += size
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # tensors start aligned
        self._head = len(text).to_bytes(8, "little") + text
        self._layout = layout
        self._size = offset
        self._unflushed, self._flush = 0, Future()
        self._flush.set_result(None)
        self._stack = ExitStack()

    def __enter__(self) -> "TensorWriter":
        temporary = atomic(self.path) if self._mark is None else resumable(self.path, self._mark)
        self._temporary = self._stack.enter_context(temporary)
        with ExitStack() as undo:
            undo.push(self._stack)
            fresh = os.O_TRUNC if self._mark is None else 0  # a marked file stays, and is written over
            handle = os.open(self._temporary, os.O_RDWR | os.O_CREAT | fresh, 0o666)
            self._file = self._stack.enter_context(open(handle, "r+b", buffering=0))
            self._there = 0  # bytes of this very file that were there before
            if os.pread(handle, len(self._head), 0) == self._head:
                self._there = os.fstat(handle).st_size
            need, free = len(self._head) + self._size - self._there, shutil.disk_usage(self.path.parent).free
            if need > free:
                raise UserError(f"{self.path}: needs {need / 1e6:,.1f} MB, but the disk has {free / 1e6:,.1f} MB left")
            self._flusher = self._stack.enter_context(ThreadPoolExecutor(1))
            self._write(self._head, 0)
            undo.pop_all()
        return self

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        while data:  # the disk may take a part of it
            written = os.pwrite(self._file.fileno(), data, offset)
            data, offset = data[written:], offset + written

    def append(self, key: str, rows: Tensor | np.ndarray) -> None:
        """Write the next rows (leading dimension) of tensor `key`; they must have its dtype and trailing shape."""
        rows = torch.as_tensor(rows)
        dtype, shape = self._layout[key]
        if rows.dtype != dtype or (shape and tuple(rows.shape[1:]) != tuple(shape[1:])):
            raise ValueError(f"{key}: rows of {rows.dtype} {tuple(rows.shape)} do not fit {dtype} {shape}")
        rows = rows.detach().cpu().contiguous()
        flat = rows.as_strided((rows.numel(),), (1,))  # contiguous may still be stride 0, for one item or none
        data = memoryview(flat.view(torch.uint8).numpy())
        state = self._rows[key]
        if len(data) > state[2]:
            raise ValueError(f"{key}: more rows than {shape}")
        self._write(data, len(self._head) + state[0])
        state[0], state[2] = state[0] + len(data), state[2] - len(data)
        self._unflushed += len(data)
        if self._unflushed >= _FLUSH and self._flush.done():
            self._flush.result()  # an error of the disk is this writer's error
            self._flush, self._unflushed = self._flusher.submit(os.fsync, self._file.fileno()), 0

    def holds(self, key: str, rows: int) -> bool:
        """Whether an earlier writer of this marked file got so far that `rows` more rows of tensor `key` are there."""
        offset, width, left = self._rows[key]
        return rows * width <= left and len(self._head) + offset + rows * width <= self._there

    def skip(self, key: str, rows: int) -> None:
        """Go on after `rows` more rows of tensor `key`, which the file `holds`."""
        if not self.holds(key, rows):
            raise ValueError(f"{key}: {rows} more rows are not there")
        offset, width, left = self._rows[key]
        self._rows[key] = [offset + rows * width, width, left - rows * width]

    def flush(self) -> None:
        """Wait until all that was appended is on the disk."""
        os.fsync(self._file.fileno())

    def check_owner(self) -> Path:
        """The name that a marked file has by now: the final one, if who writes the same at the same time was faster.

        Raises:
            UserError: another job writes something else under this name.
        """
        own = os.fstat(self._file.fileno())
        for name in (self._temporary, self.path):
            with suppress(FileNotFoundError):
                if os.path.samestat(own, name.stat()):
                    return name
        raise UserError(f"{self.path}: another job has begun to write it anew; this one stops")

    def __exit__(self, kind, error, trace) -> bool | None:
        with ExitStack() as stack:
            stack.push(self._stack)
            left = [key for key, state in self._rows.items() if state[2]]
            if kind is None and left:
                raise ValueError(f"{self.path}: rows are missing in {', '.join(left)}")
            if kind is None:
                self._flush.result()
                if self._mark is not None:
                    self.flush()
                    os.replace(self.check_owner(), self.path)
            stack.pop_all()
        return self._stack.__exit__(kind, error, trace)


def write_tensors(
    path: str | os.PathLike,
    tensors: Mapping[str, Tensor | np.ndarray | float],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write whole tensors, arrays or numbers to one safetensors file, atomically."""
    tensors = {key: torch.as_tensor(value) for key, value in tensors.items()}
    layout = {key: (value.dtype, tuple(value.shape)) for key, value in tensors.items()}
    with TensorWriter(path, layout, metadata) as writer:
        for key, value in tensors.items():
            writer.append(key, value)


class TensorReader:
    """What `open_tensors` yields. Tensors are read from the file when asked for, never before."""

    def __init__(self, path: Path, file):
        self.path, self._file = path, file
        self.metadata: dict[str, str] = dict(file.metadata() or {})

    def keys(self) -> list[str]:
        return list(self._file.keys())

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._slice(key).get_shape())

    def dtype(self, key: str) -> torch.dtype:
        return _DTYPES[self._slice(key).get_dtype()]

    def rows(self, key: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows start … stop − 1 along the leading dimension."""
        piece = self._slice(key)
        return piece[start:stop] if piece.get_shape() else self._file.get_tensor(key)

    def expect(self, key: str, dtype: torch.dtype, shape: Sequence[int | str]) -> tuple[int, ...]:
        """The shape of tensor `key`, once it is known to be there with this dtype and shape (letters fit any size).

        Raises:
            UserError: naming the file, the key, what was found and what was expected.
        """
        wanted = f"{_NAMES[dtype]} ({', '.join(map(str, shape))})"
        if key not in self.keys():
            raise UserError(f"{self.path}: no tensor '{key}' ({wanted}); the file has {', '.join(self.keys())}")
        found = self.shape(key)
        sizes: dict[str, int] = {}
        fits = len(found) == len(shape) and all(
            size == (want if isinstance(want, int) else sizes.setdefault(want, size))
            for size, want in zip(found, shape, strict=True)
        )
        kind = self._slice(key).get_dtype()
        if kind != _NAMES[dtype] or not fits or 0 in found:
            have = f"{kind} ({', '.join(map(str, found))})"
            raise UserError(f"{self.path}: tensor '{key}' is {have}, expected {wanted}")
        return found

    def _slice(self, key: str):
        return self._file.get_slice(key)


@contextmanager
def open_tensors(path: str | os.PathLike) -> Iterator[TensorReader]:
    """Open a safetensors file for reading in pieces.

    Raises:
        UserError: the file is missing, truncated, or no safetensors file.
    """
    path = Path(path)
    try:
        file = safe_open(path, framework="pt")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a complete safetensors file: {error}") from error
    with file:
        yield TensorReader(path, file)
