"""When training first sees each token: the windows of every step are known from the seed alone."""

import numpy as np
from jaxtyping import Int64, Shaped

from blackholes.training import tokens as corpus_tokens
from blackholes.training.settings import RunSettings
from blackholes.training.windows import window_order

NEVER = 0  # in place of a step


def first_steps(
    token_ids: Shaped[np.ndarray, "n"], settings: RunSettings, origin: str = "corpus"
) -> tuple[Int64[np.ndarray, "V"], Int64[np.ndarray, "V"]]:
    """For every token the first step (from 1) with it among the inputs, and among the targets; 0: at none.

    Step t's windows move snapshot t − 1 to snapshot t, so a token's own gradient shows at its first step at the
    earliest.

    Raises:
        UserError: the corpus is too short for a window or for one batch.
    """
    context, batch = settings.model.context, settings.batch_size
    count = corpus_tokens.check(len(token_ids), context, batch, origin)
    order = window_order(count, batch, settings.seed)
    ids = np.asarray(token_ids).astype(np.int64)
    V = settings.model.vocabulary_size
    first = {"input": np.full(V, NEVER), "target": np.full(V, NEVER)}
    to_come = len(np.unique(ids))
    for step in range(1, settings.steps + 1):
        windows = ids[next(order)[:, None] + np.arange(context + 1)]  # (B, T + 1), as the engines read them
        for kind, seen in (("input", windows[:, :-1]), ("target", windows[:, settings.target_offset :])):
            first[kind][seen[first[kind][seen] == NEVER]] = step
        if min((steps != NEVER).sum() for steps in first.values()) == to_come:
            break
    return first["input"], first["target"]
