"""Digests of tensors' bytes and of whole files: XXH3 of 128 bits, at the speed of memory. Imports no torch."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import xxhash

from blackholes.artifacts.safetensors_header import PAYLOAD, Header, read_header
from blackholes.errors import UserError

LENGTH = 32  # hexadecimal digits of 128 bits
checking = True  # whether readers compare digests; `open_job` sets it to the configuration's `check_inputs`
_PIECE = 1 << 20  # bytes read at once: what fits a core's cache is hashed twice as fast as what does not


def of_keys(hashes: Mapping[str, str]) -> str:
    """The digest of several tensors, of each one's own, whatever their order."""
    lines = "\n".join(f"{key}:{hashes[key]}" for key in sorted(hashes))
    return xxhash.xxh3_128(lines.encode()).hexdigest()


def of_text(text: str) -> str:
    return xxhash.xxh3_128(text.encode()).hexdigest()


def of_file(path: str | os.PathLike) -> str:
    """The digest of all bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    hashed = xxhash.xxh3_128()
    for piece in _pieces(path, 0, None):
        hashed.update(piece)
    return hashed.hexdigest()


def of_tensors(path: str | os.PathLike, header: Header) -> str:
    """The digest of the bytes of a safetensors file's tensors, read from the file (see `artifacts.rows`)."""
    hashes = {}
    for key, entry in header.tensors.items():
        hashed = xxhash.xxh3_128()
        for piece in _pieces(path, *(len(header.raw) + offset for offset in entry["data_offsets"])):
            hashed.update(piece)
        hashes[key] = hashed.hexdigest()
    return of_keys(hashes)


def own_header(path: str | os.PathLike) -> Header | None:
    """The header of a safetensors file that says its tensors' digest, as all that are made here do; else None."""
    if Path(path).suffix != ".safetensors":
        return None
    try:
        header = read_header(path)
    except UserError:  # not a safetensors file, whatever its name
        return None
    return header if PAYLOAD in header.metadata else None


def _pieces(path: str | os.PathLike, start: int, stop: int | None) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_PIECE))
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        left = float("inf") if stop is None else stop - start
        while left and (count := file.readinto(buffer[: int(min(left, _PIECE))])):
            yield buffer[:count]
            left -= count
