"""Tensors of a safetensors file as NumPy arrays, read from the file when they are asked for. Imports no torch."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from blackholes.artifacts.safetensors_header import Header, read_header
from blackholes.errors import UserError

_BFLOAT16 = "BF16"  # which NumPy does not have
_TYPES = {
    "BOOL": "?",
    **{f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "ui" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    _BFLOAT16: "<u2",
}


class Array:
    """A tensor of a file: `array[10]` reads row 10 alone, `array[5:8]` three rows, `np.asarray(array)` everything.

    What it gives are arrays of their own, as NumPy's indexing would. bfloat16 comes as float32, which has
    every value of it. The bytes are not compared with the digest in the file; `snakemake verify` does that.
    """

    def __init__(self, path: str | os.PathLike, key: str, header: Header):
        entry = header.tensors[key]
        if entry["dtype"] not in _TYPES:
            raise UserError(f"{path}: tensor '{key}' is {entry['dtype']}, a type of number that is not read here")
        self.path, self.key, self.stored = os.fspath(path), key, entry["dtype"]
        self.shape: tuple[int, ...] = tuple(entry["shape"])
        self._start = len(header.raw) + entry["data_offsets"][0]

    @property
    def dtype(self) -> np.dtype:
        """Of the arrays that it gives; the format's own name for what is in the file is `stored`."""
        return np.dtype(np.float32) if self.stored == _BFLOAT16 else np.dtype(_TYPES[self.stored])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._values(self._mapped()[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._values(self._mapped()).astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"<{self.key} of {self.path}: {self.stored} {self.shape}>"

    def _mapped(self) -> np.ndarray:
        """The numbers as they lie in the file, none of which is read yet."""
        if 0 in self.shape:  # nothing can be mapped
            return np.empty(self.shape, _TYPES[self.stored])
        return np.memmap(self.path, _TYPES[self.stored], "r", self._start, self.shape or (1,)).reshape(self.shape)

    def _values(self, part: np.ndarray) -> np.ndarray:
        if self.stored == _BFLOAT16:
            return (np.asarray(part).astype(np.uint32) << 16).view(np.float32)
        return np.array(part)


def arrays(path: str | os.PathLike) -> dict[str, Array]:
    """Key → tensor, of all tensors of a file, in the order of their names.

    Raises:
        UserError: the file cannot be read, is no complete safetensors file, or has numbers that NumPy has not.
    """
    header = read_header(path)
    return {key: Array(path, key, header) for key in sorted(header.tensors)}
