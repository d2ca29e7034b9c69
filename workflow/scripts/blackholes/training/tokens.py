"""The corpus as training reads it: token ids and windows.

Apart from corpus.py, so that a change of the preparation alone does not retrain every model.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError


@dataclass(frozen=True)
class Tokens:
    """The contents of `tokens.safetensors`; token ids are uint8, or uint16 where V > 256."""

    token_ids: Shaped[Tensor, "n"]
    token_counts: Int64[Tensor, "V"]
    dead_mask: Bool[Tensor, "V"]


def load(path: str) -> Tokens:
    """Read a corpus' tokens.

    Raises:
        UserError: a key is missing or has the wrong dtype or shape.
    """
    with open_tensors(path) as file:
        (size,) = file.expect("token_counts", torch.int64, ("V",))
        file.expect("token_ids", torch.uint8 if size <= 256 else torch.uint16, ("n",))
        file.expect("dead_mask", torch.bool, (size,))
        return Tokens(*(file.rows(key) for key in ("token_ids", "token_counts", "dead_mask")))


def windows(n_tokens: int, context: int) -> int:
    """Number of training windows: of start positions with `context` tokens and one more to predict."""
    return max(0, n_tokens - context)


def check(n_tokens: int, context: int, batch_size: int, origin: str) -> int:
    """The number of windows of a corpus, checked to fill a batch.

    Raises:
        UserError: naming `origin`: the corpus is shorter than one window, or has fewer windows than a batch.
    """
    count = windows(n_tokens, context)
    if not count:
        raise UserError(
            f"{origin}: {n_tokens:,} tokens are less than one window; expected at least {context + 1:,} "
            f"(model.context {context} and one to predict)"
        )
    if batch_size > count:
        raise UserError(
            f"{origin}: batch_size: {batch_size:,} is not allowed; expected at most {count:,}, the corpus' windows"
        )
    return count
