"""The header of a safetensors file: 8 bytes of length, then JSON. Read without torch, where only the facts matter."""

import json
from pathlib import Path

from blackholes.errors import UserError

PAYLOAD = "payload_digest"  # key of the metadata: digest of the tensors' bytes (see artifacts.tensors)
LONGEST = 100_000_000  # bytes of a header; the format's limit


def read_header(path: str | Path) -> dict:
    """Key → {dtype, shape, data_offsets} of every tensor, and `__metadata__` → text → text.

    Raises:
        UserError: missing, unreadable, or no safetensors file.
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= LONGEST:
                raise ValueError(f"a header of {length:,} bytes")
            header = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a safetensors file: {error}") from error
    if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        raise UserError(f"{path}: not a safetensors file: its header is no mapping of tensors")
    return header
