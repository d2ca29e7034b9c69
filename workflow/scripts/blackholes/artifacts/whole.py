"""Small safetensors files, read whole and checked."""

import json
import os
from pathlib import Path

import xxhash
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from blackholes.artifacts import digests
from blackholes.artifacts.safetensors_header import PAYLOAD
from blackholes.errors import UserError


def read_whole(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a file that `write_tensors` made, and its metadata.

    The file is read once, through one descriptor: the library's own reader opens a file twice, and where it is replaced
    in between, takes one file's header and another's data.

    Raises:
        UserError: the file is missing or truncated, is no safetensors file, or its tensors are not those that were
            written.
    """
    try:
        data = Path(path).read_bytes()
        tensors = load(data)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a complete safetensors file: {error}") from error
    start = 8 + int.from_bytes(data[:8], "little")
    header, payload = json.loads(data[8:start]), memoryview(data)[start:]
    metadata = header.pop("__metadata__", None) or {}  # the library takes `null`
    parts = {key: payload[slice(*entry["data_offsets"])] for key, entry in header.items()}
    found = digests.of_keys({key: xxhash.xxh3_128(part).hexdigest() for key, part in parts.items()})
    if metadata.pop(PAYLOAD, None) != found:
        raise UserError(f"{path}: damaged: its tensors are not those that were written")
    return tensors, metadata
