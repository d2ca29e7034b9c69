"""Whether a file can be loaded, and has what its kind has to have: keys, types, shapes, finite numbers."""

import csv
import fnmatch
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from blackholes.artifacts.safetensors_header import Header, read_header
from blackholes.errors import UserError
from blackholes.verify.kinds import COLUMNS, MAY_BE_INFINITE, TENSORS

Sizes = dict[tuple[str, str], int]  # (folder, letter) → the size that it stands for there
# type → (of the same bits as an integer, those that are all 1 where a number is NaN or infinite)
_BITS = {"BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00), "F32": ("<u4", 0x7F800000), "F64": ("<u8", 0x7FF << 52)}
# of libraries that read a damaged file; JSON's own are ValueErrors
_ERRORS = (OSError, ValueError, LookupError, SyntaxError, RecursionError, OverflowError, csv.Error, struct.error)
_PIECE = 1 << 19  # numbers looked at at once


def problem(path: Path, sizes: Sizes) -> str:
    """What is wrong with a file, empty if nothing is. `sizes` takes note of the sizes that letters stand for."""
    try:
        return _LOADERS.get(path.suffix, _anything)(path, sizes)
    except _ERRORS as error:
        text = str(error).removeprefix(f"{path}: ")
        return f"cannot be loaded: {text}" if not isinstance(error, UserError) else text


def _tensors(path: Path, sizes: Sizes) -> str:
    header = read_header(path)
    for line in TENSORS.get(path.name, ()):
        pattern, kinds, *letters = line.split()
        keys = fnmatch.filter(header.tensors, pattern)
        if not keys:
            return f"no tensor '{pattern}'"
        for key in keys:
            entry = header.tensors[key]
            if entry["dtype"] not in kinds.split("|") or len(entry["shape"]) != len(letters):
                return f"tensor '{key}' is {entry['dtype']} {entry['shape']}, expected {' '.join([kinds, *letters])}"
            for size, letter in zip(entry["shape"], letters, strict=True):
                if size != (expected := sizes.setdefault((str(path.parent), letter), size)):
                    return f"tensor '{key}' is {entry['shape']}, expected {letter} to be {expected:,}, as beside it"
    allowed = MAY_BE_INFINITE.get(path.name, ())
    for key, entry in header.tensors.items():
        if entry["dtype"] not in _BITS or any(fnmatch.fnmatch(key, name) for name in allowed):
            continue
        if (at := _first_not_finite(path, header, entry)) is not None:
            return f"tensor '{key}' has NaN or infinity, the first at {at}"
    return ""


def _first_not_finite(path: Path, header: Header, entry: dict) -> tuple[int, ...] | None:
    kind, ones = _BITS[entry["dtype"]]
    start, stop = (len(header.raw) + offset for offset in entry["data_offsets"])
    width = np.dtype(kind).itemsize
    with open(path, "rb") as file:
        file.seek(start)
        for first in range(0, (stop - start) // width, _PIECE):
            bits = np.fromfile(file, kind, min(_PIECE, (stop - start) // width - first))
            bad = (bits & bits.dtype.type(ones)) == ones
            if bad.any():
                at = np.unravel_index(first + int(bad.argmax()), entry["shape"] or (1,))
                return tuple(map(int, at))
    return None


def _table(path: Path, sizes: Sizes) -> str:
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        for column in COLUMNS.get(path.name, "").split():
            if column not in header:
                return f"no column '{column}'"
        for number, row in enumerate(rows, 1):
            if len(row) != len(header):
                return f"row {number} has {len(row)} fields, expected {len(header)}"
    return ""


def _json(path: Path, sizes: Sizes) -> str:
    json.loads(path.read_text(encoding="utf-8"))
    return ""


def _png(path: Path, sizes: Sizes) -> str:
    data, at = path.read_bytes(), 8
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return "not a PNG picture"
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunk = data[at + 4 : at + 8 + length]
        if struct.unpack_from(">I", data, at + 8 + length) != (zlib.crc32(chunk),):
            return "a part of the picture has another checksum than it says"
        at += 12 + length
        if chunk[:4] == b"IEND":
            return "" if at == len(data) else "there are bytes after the picture"
    return "the picture has no end"


def _svg(path: Path, sizes: Sizes) -> str:
    return "" if ElementTree.parse(path).getroot().tag.endswith("svg") else "not an SVG picture"


def _hdf5(path: Path, sizes: Sizes) -> str:
    import h5py

    with h5py.File(path, "r") as file:
        history = file.get("W")
        fits = isinstance(history, h5py.Dataset) and history.ndim == 3 and history.dtype == np.uint16
        return "" if fits else "no dataset 'W', uint16 (S, V, D)"


def _anything(path: Path, sizes: Sizes) -> str:
    return "" if path.stat().st_size else "the file is empty"


_LOADERS: dict[str, Callable[[Path, Sizes], str]] = {
    ".safetensors": _tensors,
    ".csv": _table,
    ".json": _json,
    ".png": _png,
    ".svg": _svg,
    ".h5": _hdf5,
}
