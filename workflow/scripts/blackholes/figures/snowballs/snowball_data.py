"""The tables of a snowball, as its figures read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from blackholes.figures import data

PERMUTATION = "permutation"
HOLES, BOX = "checkpoint's holes", "checkpoint's box (no hole)"


def trials(file: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """trials.csv as (trials of every σ, permutations), with these columns beside `sigma`."""
    table = data.read_table(file, ["sigma", "label", *columns], dtype={"label": str})
    permuted = table["label"] == PERMUTATION
    return table[~permuted], table[permuted]


def scores(file: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """z_scores.csv as (rows of every σ, rows of the permutations), with these columns beside `label`."""
    table = data.read_table(file, ["label", *columns], dtype={"label": str, "note": str})
    permuted = table["label"] == PERMUTATION
    return table[~permuted], table[permuted]


def facts(file: Path) -> dict[str, str]:
    """permutation_test.csv: quantity → value."""
    table = data.read_table(file, ["quantity", "value"], dtype=str)
    return dict(zip(table["quantity"], table["value"], strict=True))


def compared(inputs) -> str:
    """Which tokens of its checkpoint a snowball is compared with: those of its holes, or, where it has none, those of
    the box of the overdensity.
    """
    file = data.optional(inputs, "latent")
    if file is None:
        return HOLES  # there is no checkpoint, and nothing is named
    tensors, _ = data.read_tensors(file)
    return HOLES if len(tensors["component_ids"]) else BOX


def latent_interval(inputs) -> tuple[float, float] | None:
    """The 95 % interval of the latent σ of a checkpoint, if it has one."""
    file = data.optional(inputs, "latent")
    if file is None:
        return None
    tensors, _ = data.read_tensors(file)
    low, high = (float(tensors[f"sigma_latent_{end}"]) for end in ("low", "high"))
    return None if np.isnan(low) or high == 0 else (low, high)
