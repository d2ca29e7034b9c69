"""Training windows: their order, inputs and targets."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor


def window_order(count: int, batch: int, seed: int, epoch: int = 0) -> Iterator[np.ndarray]:
    """Endless batches (B,) of window indices, without replacement within a pass; every pass is shuffled anew.

    Windows left at the end of a pass, too few for a batch, come first in the next one, so none is dropped.
    """
    left = np.empty(0, dtype=np.int64)
    while True:
        order = np.concatenate([left, np.random.default_rng([seed, epoch]).permutation(count)])
        full = len(order) // batch * batch
        yield from order[:full].reshape(-1, batch)
        left, epoch = order[full:], epoch + 1


def split_targets(chunk: Tensor, target_offset: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (…, T) of windows (…, T + 1): the target of position t is the token `target_offset` later.

    Offset 1 is the next token. Offset 2 is what the notebooks trained on (labels shifted twice): the last position then
    has no target, which is marked by −1.
    """
    length = chunk.shape[-1]
    targets = chunk.new_full((*chunk.shape[:-1], length - 1), -1)
    targets[..., : length - target_offset] = chunk[..., target_offset:]
    return chunk[..., :-1].contiguous(), targets
