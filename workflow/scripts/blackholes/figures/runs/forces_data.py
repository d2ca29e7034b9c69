"""Reads what the figures of forces show: series over the steps of one run, of its dead and its live tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blackholes.figures import data, style

GROUPS = ("dead", "live")


@dataclass
class Series:
    """`values`: the tensors of forces_series.safetensors, a row a step, the first of which is step 1."""

    values: dict[str, np.ndarray]
    token: str  # the text of the token that has series of its own
    numbers: dict[str, int]  # tokens of each group

    @property
    def steps(self) -> np.ndarray:
        return np.arange(1, len(self.values["movers"]) + 1)


def read(inputs) -> Series:
    """inputs: series (forces_series.safetensors), tokens (tokens.csv)."""
    values, metadata = data.read_tensors(Path(inputs.series))
    tokens = data.read_tokens(Path(inputs.tokens))
    dead = int((tokens["status"] == "dead").sum())
    text = str(tokens["character"].iloc[int(metadata["token"])])
    return Series(values, text, {"dead": dead, "live": len(tokens) - dead})


def title(inputs, options: Mapping, shown: str) -> str:
    """`qwen, run 001: what is shown`"""
    run = str(options.get("run") or Path(inputs.series).parent.name).replace("_", " ")
    return style.titled(", ".join([*filter(None, [options.get("experiment")]), run]), shown)


def heading(series: Series, group: str) -> str:
    """`95 dead tokens`"""
    number = series.numbers[group]
    return f"{number:,} {group} token{'s' * (number != 1)}"
