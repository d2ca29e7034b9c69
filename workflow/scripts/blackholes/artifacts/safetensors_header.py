"""The header of a safetensors file: 8 bytes of length, then JSON. Imports no torch, since rules read headers too."""

import json
import os
from typing import Any, BinaryIO, NamedTuple

from blackholes.artifacts.inputs import open_regular
from blackholes.errors import UserError

LIMIT = 100_000_000  # bytes of JSON, by the format
LONGEST = 2_000_000  # commas in it: a header of a million tensors is refused before it takes a gigabyte of memory
PAYLOAD = "payload_digest"  # key of our metadata: digest of the tensors' bytes (see artifacts.rows)
BITS = {  # of one element, by the format's names
    **dict.fromkeys(["F4"], 4),
    **dict.fromkeys(["F6_E2M3", "F6_E3M2"], 6),
    **dict.fromkeys(["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 8),
    **dict.fromkeys(["U16", "I16", "F16", "BF16"], 16),
    **dict.fromkeys(["U32", "I32", "F32"], 32),
    **dict.fromkeys(["U64", "I64", "F64", "C64"], 64),
}
_WORD = 2**64  # sizes and offsets are below


class Header(NamedTuple):
    """Where each tensor lies; offsets count from the end of `raw`."""

    raw: bytes  # the file up to its first tensor
    tensors: dict[str, dict]  # name → dtype, shape, data_offsets
    metadata: dict[str, str]


def read_header(path: str | os.PathLike) -> Header:
    """The header of a safetensors file whose tensors are all there; their bytes are not read.

    As strict as the safetensors library: tensors fill the file from the header to its end, without gaps and without
    overlap, in sizes that their shapes say. It also refuses what the library passes over: a name that occurs twice,
    and fields beside dtype, shape and data_offsets.

    Raises:
        UserError: the file cannot be read, is truncated, or is no safetensors file.
    """
    try:
        with open_regular(path) as file:
            return parse_header(file, path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def parse_header(file: BinaryIO, path: str | os.PathLike) -> Header:
    """The header of an open file, as `read_header`; `path` is what errors name.

    Raises:
        UserError: the file is truncated, or no safetensors file.
        OSError: as `read`.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(8)
    length = int.from_bytes(head, "little")
    text = file.read(length) if 0 < length <= min(size - 8, LIMIT) else b""
    try:
        tensors, metadata = _parse(text)
        _check(tensors, size - 8 - length)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: not a complete safetensors file") from None
    return Header(head + text, tensors, metadata)


def _parse(text: bytes) -> tuple[dict[str, dict], dict[str, str]]:
    """(tensors, metadata) of a header; raises ValueError and its like where it is none."""
    if text.count(b",") > LONGEST:
        raise ValueError
    # not json.loads(text) itself, which also reads UTF-16 and passes over a byte order mark
    tensors = json.loads(
        text.decode("utf-8"),
        object_pairs_hook=_once,
        parse_int=_whole,
        parse_float=_refuse,
        parse_constant=_refuse,
    )
    metadata = tensors.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    for name in (*tensors, *metadata, *metadata.values()):
        name.encode("utf-8")  # raises for half of a surrogate pair, and for what is no text
    return tensors, metadata


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _whole(digits: str) -> int:
    number = int(digits) if len(digits) <= 20 else _WORD
    if digits[0] == "-" or number >= _WORD:
        raise ValueError
    return number


def _refuse(text: str) -> None:
    raise ValueError(text)


def _check(tensors: dict[str, dict], size: int) -> None:
    """Raise ValueError or its like unless the tensors fill `size` bytes one after the other."""
    end = 0
    for entry in sorted(tensors.values(), key=lambda entry: tuple(entry["data_offsets"])):
        start, stop = entry["data_offsets"]
        bits = BITS[entry["dtype"]]
        if len(entry) > 3 or type(entry["shape"]) is not list or type(start) is not int or type(stop) is not int:
            raise ValueError
        for length in entry["shape"]:
            bits *= length
            if type(length) is not int or bits >= _WORD:
                raise ValueError
        if start != end or stop < start or 8 * (stop - start) != bits:
            raise ValueError
        end = stop
    if end != size:
        raise ValueError
