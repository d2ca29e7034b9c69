"""The header of a safetensors file: 8 bytes of length, then JSON. Imports no torch, since rules read headers too."""

import json
import os
from typing import NamedTuple

from blackholes.errors import UserError

LIMIT = 100_000_000  # bytes of JSON, by the format
PAYLOAD = "payload_digest"  # key of our metadata: digest of the tensors' bytes (see artifacts.rows)


class Header(NamedTuple):
    """Where each tensor lies; offsets count from the end of `raw`."""

    raw: bytes  # the file up to its first tensor
    tensors: dict[str, dict]  # name → dtype, shape, data_offsets
    metadata: dict[str, str]


def read_header(path: str | os.PathLike) -> Header:
    """The header of a safetensors file whose tensors are all there; their bytes are not read.

    Raises:
        UserError: the file cannot be read, is truncated, or is no safetensors file.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(8)
            length = int.from_bytes(head, "little")
            text = file.read(length) if 0 < length <= min(size - 8, LIMIT) else b""
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        tensors = json.loads(text)
        metadata = tensors.pop("__metadata__", {})
        ends = [entry["data_offsets"][1] for entry in tensors.values() if entry["dtype"] and entry["shape"] is not None]
        complete = all(8 + length + end <= size for end in ends)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise UserError(f"{path}: not a complete safetensors file")
    return Header(head + text, tensors, metadata)
