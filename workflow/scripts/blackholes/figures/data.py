"""Readers for the figures: safetensors and CSV files into NumPy and pandas. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from blackholes.artifacts import tables
from blackholes.errors import UserError


def paths(value: str | Path | Iterable[str | Path]) -> list[Path]:
    """A rule's named input, one path or several, as a list."""
    return [Path(value)] if isinstance(value, str | Path) else [Path(v) for v in value]


def optional(inputs: object, name: str) -> Path | None:
    """The first file of a named input, or None if the rule has no such input."""
    files = paths(getattr(inputs, name, None) or [])
    return files[0] if files else None


def run_names(files: Sequence[Path], options: Mapping) -> list[str]:
    """`options["runs"]`, or the names of the files' folders: run_001, run_002, …"""
    return list(options.get("runs") or [file.parent.name for file in files])


def read_series(files: Sequence[Path], keys: Sequence[str]) -> dict[str, np.ndarray]:
    """{key: (R, S)} for keys of shape (S,), one row per file; every file must have the same S."""
    runs = [_read(file, keys) for file in files]
    _same_length(files, [len(run[keys[0]]) for run in runs], keys[0])
    return {key: np.stack([run[key] for run in runs]) for key in keys}


def read_rows(files: Sequence[Path], key: str, rows: Sequence[int]) -> np.ndarray:
    """(R, K, V): the rows `rows` of a tensor (S, V) of every file, without reading the rest."""
    return np.stack([_read(file, [key], rows)[key] for file in files])


def length(file: Path, key: str) -> int:
    """S of a tensor (S, …)."""
    return shape(file, key)[0]


def shape(file: Path, key: str) -> tuple[int, ...]:
    """Shape of a tensor, which is not read."""
    with _open(file) as tensors:
        _require(file, tensors, key)
        return tuple(tensors.get_slice(key).get_shape())


def read_losses(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Training logs → steps (N,) and losses (R, N)."""
    runs = [tables.read_training_log(file, ["loss"]) for file in files]
    _same_length(files, [len(run["step"]) for run in runs], "step")
    return runs[0]["step"], np.stack([run["loss"] for run in runs])


def read_tokens(file: Path) -> pd.DataFrame:
    """tokens.csv of a corpus, ordered by token_id: `character`, `count`, `status`."""
    return pd.DataFrame(tables.read_tokens(file))


def read_tensors(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a small file, and its metadata."""
    with _open(file) as tensors:
        return {key: tensors.get_tensor(key) for key in tensors.keys()}, tensors.metadata() or {}  # noqa: SIM118


def key_steps(options: Mapping, last: int) -> list[int]:
    """The configured key steps (numbers or `last`) that the history has, in order; by default 0, 1, 10, … and last."""
    wanted = options.get("key_steps") or [0, *(10**k for k in range(9)), last]
    numbers = {last if step == "last" else int(step) for step in wanted}
    return sorted(step for step in numbers if 0 <= step <= last) or [last]


def _open(file: Path):
    try:
        return safe_open(file, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: cannot be read as safetensors ({error}); expected a complete file") from error


def _require(file: Path, tensors, key: str) -> None:
    if key not in tensors.keys():  # noqa: SIM118  (a reader, not a dict)
        raise UserError(f"{file}: no tensor {key!r}; expected one beside {', '.join(sorted(tensors.keys()))}")


def _read(file: Path, keys: Sequence[str], rows: Sequence[int] | None = None) -> dict[str, np.ndarray]:
    arrays = {}
    with _open(file) as tensors:
        for key in keys:
            _require(file, tensors, key)
            if rows is None:
                arrays[key] = tensors.get_tensor(key)
            else:
                part = tensors.get_slice(key)
                arrays[key] = np.concatenate([part[row : row + 1] for row in rows])
    return arrays


def read_table(file: Path, columns: Sequence[str], **options) -> pd.DataFrame:
    """A CSV table with at least these columns and one row; otherwise UserError."""
    try:
        table = pd.read_csv(file, **options)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{file}: cannot be read as CSV ({error}); expected columns {', '.join(columns)}") from error
    missing = [column for column in columns if column not in table]
    if missing or table.empty:
        what = f"no column {missing[0]!r}" if missing else "no rows"
        raise UserError(f"{file}: {what}; expected columns {', '.join(columns)} and one row per step or token")
    return table


def _same_length(files: Sequence[Path], lengths: Sequence[int], key: str) -> None:
    for file, length in zip(files, lengths, strict=True):
        if length != lengths[0]:
            raise UserError(f"{file}: {key} has {length} rows; expected {lengths[0]}, as in {files[0]}")
