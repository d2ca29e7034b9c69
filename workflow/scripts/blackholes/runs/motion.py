"""When tokens moved, of a history read in pieces."""

import numpy as np
from jaxtyping import Int64

from blackholes.artifacts.histories import History, chunk_length


def last_moves(history: History, budget_gb: float = 1.0) -> Int64[np.ndarray, "V"]:
    """The last step at which each token's vector changed; 0: never.

    Args:
        budget_gb: memory for snapshots, in GB (10⁹ bytes).
    """
    last, before = np.zeros(history.tokens, np.int64), None
    for start, rows in history.chunks(chunk_length(2 * history.tokens * history.dimensions, budget_gb, buffers=4)):
        moved = (rows[1:] != rows[:-1]).any(2).numpy()
        first = start + 1  # step of the first row of `moved`
        if before is not None:
            moved, first = np.concatenate([(rows[0] != before).any(1).numpy()[None], moved]), start
        steps = np.arange(first, start + len(rows))
        np.maximum(last, np.where(moved, steps[:, None], 0).max(0, initial=0), out=last)
        before = rows[-1].clone()  # the next piece may take this one's memory
    return last
