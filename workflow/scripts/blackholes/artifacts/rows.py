"""Files of large arrays written row by row, in place."""

import math
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import torch
import xxhash
from torch import Tensor

from blackholes.artifacts import digests
from blackholes.artifacts.files import atomic, check_guard, resumable
from blackholes.errors import UserError

DIGEST_LENGTH = digests.LENGTH
_PIECE = 1 << 20  # bytes read at once
_FLUSH = 64 << 20  # bytes written between two flushes in the background


class RowWriter:
    """Write tensors row by row into one file that appears, complete, when the context ends.

    A format says what stands before the tensors' bytes. Its `head` has room for a digest of all tensors' bytes, filled
    in at the end: XXH3 (128 bits) over every tensor's key and own XXH3, in the order of the keys. A large file goes to
    the disk while it is written: the kernel slows down a process that leaves it hundreds of megabytes to write back at
    the end (655 MB: 0.4 to 1.7 s without, 0.4 s with).

    Args:
        path: the file's final name.
        layout: key → (dtype, shape) of every tensor.
        starts: key → where in the file its first byte is.
        head: the bytes before the first tensor.
        digest_at: where in `head` the DIGEST_LENGTH hexadecimal digits of the digest go.
        mark: of a file that is gone on with after a kill (see `files.resumable`): its rows stay, and `skip` passes
            over those that are known to be there.

    Raises:
        UserError: the disk has no room for the file, or fills while it is written; another job took a marked file.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        layout: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
        starts: Mapping[str, int],
        head: bytes,
        digest_at: int,
        mark: str | None = None,
    ):
        self.path, self._mark = Path(path), mark
        self._layout, self._head, self._digest_at = layout, head, digest_at
        self._hashes = {key: xxhash.xxh3_128() for key in layout}
        self._rows: dict[str, list[int]] = {}  # key → [offset of its next byte, bytes a row, bytes left]
        for key, (dtype, shape) in layout.items():
            size = math.prod(shape) * dtype.itemsize
            self._rows[key] = [starts[key], math.prod(shape[1:]) * dtype.itemsize, size]
        self._end = max((start + size for start, _, size in self._rows.values()), default=len(head))
        self._unflushed = 0
        self._flush: Future[None] = Future()
        self._flush.set_result(None)
        self._stack = ExitStack()

    @property
    def size(self) -> int:
        """Bytes of the complete file."""
        return self._end

    @property
    def missing(self) -> int:
        """Bytes of the complete file that were not there when this writer began: all, but for a marked file."""
        return self.size - self._there

    def __enter__(self):
        temporary = atomic(self.path) if self._mark is None else resumable(self.path, self._mark)
        self._temporary = self._stack.enter_context(temporary)
        with ExitStack() as undo:
            undo.push(self._stack)
            fresh = os.O_TRUNC if self._mark is None else 0  # a marked file stays, and is written over
            handle = os.open(self._temporary, os.O_RDWR | os.O_CREAT | fresh, 0o666)
            self._file = self._stack.enter_context(open(handle, "r+b", buffering=0))
            self._there = 0  # bytes of this very file that were there before
            if self._without_digest(os.pread(handle, len(self._head), 0)) == self._without_digest(self._head):
                self._there = os.fstat(handle).st_size
            need, free = self.size - self._there, shutil.disk_usage(self.path.parent).free
            if need > free:
                raise UserError(f"{self.path}: needs {need / 1e6:,.1f} MB, but the disk has {free / 1e6:,.1f} MB left")
            self._flusher = self._stack.enter_context(ThreadPoolExecutor(1))
            self._write(self._head, 0)
            undo.pop_all()
        return self

    def _digest(self) -> bytes:
        return digests.of_keys({key: self.digest(key) for key in self._hashes}).encode()

    def _without_digest(self, head: bytes) -> bytes:
        return head[: self._digest_at] + head[self._digest_at + DIGEST_LENGTH :]

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
        data = flat.view(torch.uint8).numpy().data
        state = self._rows[key]
        if len(data) > state[2]:
            raise ValueError(f"{key}: more rows than {shape}")
        self._hashes[key].update(data)
        self._write(data, state[0])
        state[0], state[2] = state[0] + len(data), state[2] - len(data)
        self._unflushed += len(data)
        if self._unflushed >= _FLUSH and self._flush.done():
            self._flush.result()  # an error of the disk is this writer's error
            self._flush, self._unflushed = self._flusher.submit(os.fsync, self._file.fileno()), 0

    def digest(self, key: str) -> str:
        """The digest of the rows of tensor `key` that were appended or skipped so far."""
        return self._hashes[key].hexdigest()

    def holds(self, key: str, rows: int, digest: str | None = None) -> bool:
        """Whether an earlier writer of this marked file got so far that `rows` more rows of tensor `key` are there.

        Args:
            digest: what `digest` has to be with them; None: they are not read.
        """
        offset, width, left = self._rows[key]
        if rows * width > left or offset + rows * width > self._there:
            return False
        return digest is None or self._with_rows(key, rows).hexdigest() == digest

    def _with_rows(self, key: str, rows: int):
        """The running digest of tensor `key`, and of `rows` more rows, which are read from the file."""
        offset, width, _ = self._rows[key]
        hashed, end = self._hashes[key].copy(), offset + rows * width
        for start in range(offset, end, _PIECE):
            hashed.update(os.pread(self._file.fileno(), min(_PIECE, end - start), start))
        return hashed

    def skip(self, key: str, rows: int) -> None:
        """Go on after `rows` more rows of tensor `key`, which the file `holds`."""
        if not self.holds(key, rows):
            raise ValueError(f"{key}: {rows} more rows are not there")
        self._hashes[key] = self._with_rows(key, rows)
        offset, width, left = self._rows[key]
        self._rows[key] = [offset + rows * width, width, left - rows * width]

    def flush(self) -> None:
        """Wait until all that was appended is on the disk."""
        os.fsync(self._file.fileno())

    def check_owner(self) -> Path:
        """The name that a marked file has by now: the final one, if who writes the same at the same time was faster.

        Raises:
            UserError: another job writes something else under this name, or has claimed it (see `files.guarded`).
        """
        check_guard(self.path)
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
                self._write(self._digest(), self._digest_at)
                self._flush.result()
                if self._mark is not None:
                    self.flush()
                    os.replace(self.check_owner(), self.path)
            stack.pop_all()
        return self._stack.__exit__(kind, error, trace)
