"""safetensors files, written and read in pieces: a history or a matrix never has to fit in memory.

The format is 8 bytes of header length, a JSON header, then the tensors' bytes. The library writes whole tensors only,
and for torch it maps a whole file as memory that may be written to, which the system refuses for a file larger than
its memory. So the writer here lays out the header itself, and the reader maps the rows that are asked for.
"""

import json
import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blackholes.artifacts.inputs import open_regular
from blackholes.artifacts.rows import DIGEST_LENGTH, RowWriter
from blackholes.artifacts.safetensors_header import PAYLOAD, Header, parse_header
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
_COPIED = 2**20  # bytes: less is read into memory, since a process may have some 65,000 maps only


class TensorWriter(RowWriter):
    """Write tensors row by row into one safetensors file (see RowWriter).

    Args:
        layout: key → (dtype, shape) of every tensor.
        metadata: text → text, kept in the header beside the digest of the tensors' bytes.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        layout: Mapping,
        metadata: Mapping[str, str] | None = None,
        mark: str | None = None,
    ):
        facts = dict(metadata or {}) | {PAYLOAD: "0" * DIGEST_LENGTH}
        header: dict[str, Any] = {"__metadata__": dict(sorted(facts.items()))}
        offset = 0
        # wide numbers first, as the library lays them out: every tensor starts at a multiple of its item's size
        for key, (dtype, shape) in sorted(layout.items(), key=lambda item: -item[1][0].itemsize):
            size = math.prod(shape) * dtype.itemsize
            header[key] = {
                "dtype": _NAMES[dtype],
                "shape": list(shape),
                "data_offsets": [offset, offset + size],
            }
            offset += size
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # tensors start aligned
        head = len(text).to_bytes(8, "little") + text
        starts = {key: len(head) + header[key]["data_offsets"][0] for key in layout}
        digest_at = head.index(b'"%s":"' % PAYLOAD.encode()) + len(PAYLOAD) + 4
        super().__init__(path, layout, starts, head, digest_at, mark)

    @contextmanager
    def written(self) -> Iterator["TensorReader"]:
        """Read back what was appended, once all rows are there: from the disk, before the file gets its final name.

        The digest in the file's head is not there yet.
        """
        self.flush()
        with open_tensors(self._temporary) as file:
            yield file


def write_tensors(
    path: str | os.PathLike,
    tensors: Mapping[str, Tensor | np.ndarray | float],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write whole tensors, arrays or numbers to one safetensors file, atomically."""
    whole = {key: torch.as_tensor(value) for key, value in tensors.items()}
    layout = {key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in whole.items()}
    with TensorWriter(path, layout, metadata) as writer:
        for key, tensor in whole.items():
            writer.append(key, tensor)


class TensorReader:
    """What `open_tensors` yields. Tensors are read from the file when asked for, never before."""

    def __init__(self, path: Path, handle: int, header: Header):
        self.path, self._handle, self._header = path, handle, header
        self.metadata: dict[str, str] = dict(header.metadata)  # as it was given to the writer
        self.payload: str | None = self.metadata.pop(PAYLOAD, None)  # digest of the tensors' bytes when written

    def keys(self) -> list[str]:
        return sorted(self._header.tensors)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._header.tensors[key]["shape"])

    def dtype(self, key: str) -> torch.dtype:
        """Raises UserError for numbers that torch does not have."""
        name = self._header.tensors[key]["dtype"]
        if name not in _DTYPES:
            raise UserError(f"{self.path}: tensor '{key}' is {name}, a type of number that is not read here")
        return _DTYPES[name]

    def rows(self, key: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows start … stop − 1 along the leading dimension; a number if the tensor has none.

        What is done to them reaches neither the file nor another reader.
        """
        dtype, shape = self.dtype(key), self.shape(key)
        first = len(self._header.raw) + self._header.tensors[key]["data_offsets"][0]
        if shape:
            start, stop, _ = slice(start, stop).indices(shape[0])
            shape = (max(0, stop - start), *shape[1:])
            first += start * math.prod(shape[1:]) * dtype.itemsize
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return torch.empty(shape, dtype=dtype)
        if size < _COPIED or first % dtype.itemsize:
            copy = bytearray(size)
            if os.preadv(self._handle, [copy], first) != size:
                raise UserError(f"{self.path}: was cut off while it was read")
            return torch.frombuffer(copy, dtype=dtype).view(shape)
        over = first % mmap.ALLOCATIONGRANULARITY
        view = mmap.mmap(self._handle, over + size, access=mmap.ACCESS_COPY, offset=first - over)
        return torch.frombuffer(view, dtype=dtype, count=math.prod(shape), offset=over).view(shape)

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
        kind = self._header.tensors[key]["dtype"]
        if kind != _NAMES[dtype] or not fits or 0 in found:
            have = f"{kind} ({', '.join(map(str, found))})"
            raise UserError(f"{self.path}: tensor '{key}' is {have}, expected {wanted}")
        return found


@contextmanager
def open_tensors(path: str | os.PathLike) -> Iterator[TensorReader]:
    """Open a safetensors file for reading in pieces.

    Raises:
        UserError: the file is missing, truncated, or no safetensors file.
    """
    path = Path(path)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path))
            header = parse_header(file, path)
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file") from error
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        # header and tensors are of one file, even if another takes its name meanwhile
        yield TensorReader(path, file.fileno(), header)
