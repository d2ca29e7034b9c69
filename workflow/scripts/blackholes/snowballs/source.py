"""What a snowball is made around: the centroid, the number of tokens, and what σ its words stand for (row D)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from blackholes.artifacts.tensors import TensorReader, open_tensors
from blackholes.errors import UserError
from blackholes.kernels import bf16, collisions

TOUCHING = 2  # ε, inclusive
MOST = 16384  # tokens in a trial: their distances take 1 GB
WORDS = ("within", "global", "latent")


@dataclass
class Source:
    """What the trials need: the centroid, and how many tokens to draw around it."""

    name: str  # of the file, for messages
    centroid: Float32[Tensor, "D"]
    epsilon: float
    n_tokens: int
    spreads: dict[str, float]  # those of WORDS that the file has

    def sigma(self, value: float | str) -> float:
        """A configured σ as a number: WORDS are looked up, `holes_2of9` is the second of 9 over the range of holes."""
        if not isinstance(value, str):
            return float(value)
        if place := re.fullmatch(r"holes_(\d+)of(\d+)", value):
            number, of = map(int, place.groups())
            first, last = map(math.log, self.range_of_holes)
            return float(f"{math.exp(first + (last - first) * (number - 1) / (of - 1)):.4g}")
        if value not in self.spreads:
            raise UserError(f"{self.name}: no tensor 'sigma_{value}', which sigma: {value} asks for; expected a number")
        return self.spreads[value]

    @cached_property
    def range_of_holes(self) -> tuple[float, float]:
        return collisions.range_of_holes(self.centroid, self.n_tokens)


def source(path: str | None, settings: Mapping) -> Source:
    """The centroid of a file, or a random one, with `auto` settings resolved.

    Args:
        path: a safetensors file with `centroid` float32 (D,) and, if it is made from a checkpoint (see latent.write),
            `epsilon`, `n_tokens` and `sigma_` + WORDS; None: settings["centroid"] is such a path, or has dim, norm
            and seed.
        settings: `centroid`, `n_tokens` and `epsilon`, as configured.

    Raises:
        UserError: naming the file and the key that is missing, of another shape, or out of range.
    """
    stored: dict[str, float] = {}
    given = path or settings["centroid"]
    if isinstance(given, Mapping):
        name, centroid = "centroid", direction(**given)
    else:
        name = str(given)
        with open_tensors(Path(given).expanduser()) as file:
            file.expect("centroid", torch.float32, ("D",))
            centroid = file.rows("centroid")
            for key in {"epsilon", "n_tokens", *(f"sigma_{word}" for word in WORDS)} & set(file.keys()):
                stored[key] = number(file, key)
    if not torch.isfinite(centroid).all():
        dimension = int((~torch.isfinite(centroid)).nonzero()[0])
        value = centroid[dimension].item()
        raise UserError(f"{name}: {value} in dimension {dimension} of the centroid; expected a finite number")
    epsilon = stored.get("epsilon") if settings["epsilon"] == "auto" else settings["epsilon"]
    if epsilon is None:
        epsilon = bf16.ulp(centroid.abs().max().bfloat16()).item()
    n_tokens = stored.get("n_tokens") if settings["n_tokens"] == "auto" else settings["n_tokens"]
    if n_tokens is None or not 1 <= n_tokens <= MOST:
        auto = "there is no tensor 'n_tokens'" if n_tokens is None else f"it has {n_tokens:,.0f} tokens"
        raise UserError(f"{name}: {auto}; expected n_tokens in the configuration, from 1 up to {MOST:,}")
    spreads = {word: stored[f"sigma_{word}"] for word in WORDS if f"sigma_{word}" in stored}
    return Source(name, centroid, float(epsilon), int(n_tokens), spreads)


def direction(dim: int, norm: float, seed: int) -> Float32[Tensor, "D"]:
    """A vector of length `norm` in a random direction."""
    numbers = np.random.Generator(np.random.Philox(key=seed)).standard_normal(dim)
    return torch.from_numpy((norm / np.linalg.norm(numbers) * numbers).astype(np.float32))


def number(file: TensorReader, key: str) -> float:
    """A tensor of one finite number, 0 or greater; UserError for another."""
    value = file.rows(key)
    if value.numel() != 1 or not 0 <= (found := float(value)) < math.inf:
        raise UserError(f"{file.path}: tensor '{key}' is {value.tolist()}, expected one finite number, 0 or greater")
    return found


def rows(embedding: str, ids: list[int]) -> Tensor:
    """These rows of `W` of W.safetensors, (n, D), without reading the others.

    Raises:
        UserError: it has no such token.
    """
    with open_tensors(embedding) as file:
        V = file.shape("W")[0]
        if min(ids) < 0 or max(ids) >= V:
            raise UserError(
                f"{embedding}: has no token {min(ids) if min(ids) < 0 else max(ids)}; expected 0 to {V - 1}"
            )
        return torch.cat([file.rows("W", token, token + 1) for token in ids])
