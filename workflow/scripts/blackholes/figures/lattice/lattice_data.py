"""Reads what the figures of row E draw: tables per step and per token, and one token's raster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from blackholes.errors import UserError
from blackholes.figures import curves, data, style

GROUPS = {"dead": "dead tokens", "live": "live tokens", "all": "all tokens, not told apart"}
PHASES = ("early", "midlife", "late")


@dataclass
class Raster:
    """Displacements of one token in cells, (S − 1, D); row 0 is step 1."""

    token: int
    displacement: np.ndarray


def colour(group: str) -> str:
    return style.COLOURS.get(group, style.COLOURS["components"])


def title(options: Mapping, text: str) -> str:
    return ", ".join(filter(None, [options.get("lattice"), text]))


def read_steps(file: str) -> dict[str, pd.DataFrame]:
    """displacement_per_step.csv → a table for each group of tokens, dead before live."""
    table = data.read_table(Path(file), ["step", "tokens", "number", "percentile_50", "exponent_crossings"])
    return _grouped(table, table["tokens"])


def read_lifecycle(file: str) -> dict[str, pd.DataFrame]:
    """lifecycle.csv → a table for each group of tokens."""
    table = data.read_table(Path(file), ["token_id", "status", "first_motion", *PHASES])
    return _grouped(table, table["status"].replace("unknown", "all"))


def read_raster(file: str) -> Raster:
    """raster.safetensors. Raises UserError, also if the metadata lacks the token."""
    tensors, metadata = data.read_tensors(Path(file))
    if "delta_ordinal" not in tensors or "raster_token" not in metadata:
        raise UserError(f"{file}: no raster in it; expected a tensor 'delta_ordinal', and raster_token in the metadata")
    return Raster(int(metadata["raster_token"]), tensors["delta_ordinal"])


def running_median(steps: np.ndarray, values: np.ndarray, spread: float = curves.SPREAD) -> np.ndarray:
    """Median over the steps t / 1.1 to 1.1 t for every step t: unlike the mean, not moved by a few far jumps."""
    first = np.searchsorted(steps, steps / spread, side="left")
    end = np.searchsorted(steps, steps * spread, side="right")
    return np.array([np.median(values[a:b]) for a, b in zip(first, end, strict=True)])


def _grouped(table: pd.DataFrame, names: pd.Series) -> dict[str, pd.DataFrame]:
    groups = {name: table[names == name].reset_index(drop=True) for name in GROUPS}
    return {name: rows for name, rows in groups.items() if len(rows)}
