"""Reads what the figures of a checkpoint draw, except the distance matrix, which none of them needs. No torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from blackholes.artifacts import provenance
from blackholes.errors import UserError

_TEXTS = ("text", "script", "hole", "merge_rank", "round_trip", "round_trip_spaced", "round_trip_context")
WORDS = {"byte": "single byte", "partial_utf8": "partial UTF-8", "padding": "row without a token"}  # for categories


def tensors(file: str | Path, *keys: str) -> dict[str, np.ndarray]:
    """Some tensors of a file. They must not be bfloat16, which NumPy lacks."""
    try:
        with safe_open(file, framework="numpy") as reader:
            return {key: reader.get_tensor(key) for key in keys}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: {error}; expected a complete file with {', '.join(keys)}") from error


def facts(file: str | Path) -> dict[str, str]:
    """The metadata of a tensor file."""
    with safe_open(file, framework="numpy") as reader:
        return dict(reader.metadata() or {})


def read_tokens(file: str | Path) -> pd.DataFrame:
    """tokens.csv of a checkpoint, ordered by token_id; `hole` is −1 for singletons, texts like `NA` stay text."""
    try:
        table = pd.read_csv(file, dtype=dict.fromkeys(_TEXTS, str), keep_default_na=False)
        table["hole"] = table["hole"].replace("", "-1").astype(int)
        return table.sort_values("token_id", ignore_index=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{file}: {error}; expected a table of tokens") from error


def box(sphere: str | Path) -> dict[str, tuple[float, float] | None]:
    """Limits of the box for `lat`, `lon` and `r`; None if not limited."""
    known = facts(sphere)
    limits = provenance.mapping(sphere, known, "box") if known.get("box") else {}
    return {key: tuple(limits[key]) if limits.get(key) else None for key in ("lat", "lon", "r")}
