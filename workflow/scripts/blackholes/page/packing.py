"""Data inside the page: JSON or text, compressed, as base64. The browser unpacks it when it is looked at (core.js)."""

import base64
import gzip
import json
from typing import Any

import numpy as np


def pack(content: Any) -> str:
    """Bytes, text, or what JSON can hold → base64 of gzip. The same content gives the same text."""
    if isinstance(content, str):
        content = content.encode()
    if not isinstance(content, bytes):
        content = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def array(values: np.ndarray) -> dict[str, Any]:
    """An array as core.js reads it: its type, shape and little-endian bytes in base64, to be compressed with others."""
    kinds = {"uint8": "Uint8Array", "uint16": "Uint16Array", "int16": "Int16Array", "int32": "Int32Array"}
    kinds["float32"] = "Float32Array"
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    text = base64.b64encode(little.tobytes()).decode()
    return {"type": kinds[values.dtype.name], "shape": list(values.shape), "bytes": text}


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
