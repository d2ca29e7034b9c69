"""Where a file comes from, in its own metadata: digests of configuration and inputs, seed, device, versions.

Nothing here depends on the time, the host, the path, the number of threads or the text of the code: the same inputs
give the same bytes anywhere, and an edit of the code that changes no value changes no byte. The digest of the code and
the threads are in the job's record (see `artifacts.job`).
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from blackholes.artifacts.safetensors_header import PAYLOAD, read_header
from blackholes.errors import UserError

_PACKAGES = ("torch", "numba", "numpy", "safetensors", "transformers", "matplotlib")


def digest(value) -> str:
    """16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """16 hexadecimal digits that identify a file's contents.

    A safetensors file of ours holds a digest of its tensors' bytes, so a matrix of gigabytes is not read again. Of
    other files every byte counts.
    """
    if Path(path).suffix == ".safetensors":
        with suppress(UserError):  # not a safetensors file, whatever its name: every byte counts
            header = read_header(path)
            if PAYLOAD in header.metadata:
                return digest([header.metadata[PAYLOAD], header.tensors])
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def mapping(path: str | Path, metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """What a file's metadata has under a key, as JSON.

    Raises:
        UserError: there is no such key, or no mapping under it.
    """
    if key not in metadata:
        raise UserError(f"{path}: no '{key}' in its metadata, expected a file made by this workflow")
    with suppress(ValueError, RecursionError):
        if isinstance(found := json.loads(metadata[key]), dict):
            return found
    raise UserError(f"{path}: '{key}' in its metadata is no mapping, expected a file made by this workflow")


def versions() -> dict[str, str]:
    """Of Python and of the packages that enter results, where they are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe(params: dict, inputs: dict[str, str]) -> dict[str, str]:
    """The metadata of a job's outputs: text → text.

    Args:
        params: the rule's parameters but for `code`; a seed in `settings` is recorded as such.
        inputs: name → path of every input file.
    """
    described = {
        "config_digest": digest(params),
        "config": json.dumps(params, sort_keys=True, default=str),
        "input_digests": json.dumps({name: file_digest(path) for name, path in sorted(inputs.items())}),
        "versions": json.dumps(versions(), sort_keys=True),
    }
    seed = params.get("settings", {}).get("seed")
    if seed is not None:
        described["seed"] = str(seed)
    return described
