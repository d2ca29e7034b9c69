"""When each live token left the dead for good (docs/definitions.md)."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Int, Int64

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tables import read_tokens
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError

COLUMNS = ["token_id", "text", "count", "escape_step", "censored", "first_input", "first_target"]


def last_with_the_dead(labels: Int[np.ndarray, "s V"], dead: Bool[np.ndarray, "V"]) -> Int64[np.ndarray, "V"]:
    """For every token the last of these steps at which a dead token has its vector; −1: none."""
    steps, V = labels.shape
    has_dead = np.zeros((steps, V), bool)  # by label
    np.put_along_axis(has_dead, labels[:, dead], True, axis=1)
    shared = np.take_along_axis(has_dead, labels, axis=1)
    return np.where(shared.any(0), steps - 1 - shared[::-1].argmax(0), -1)


def write(
    counts: str,
    tokens: str,
    first: tuple[Int64[np.ndarray, "V"], Int64[np.ndarray, "V"]],
    out: str,
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> None:
    """Write escapes.csv, a row for each live token.

    `escape_step` is the first step from which on, to the end, no dead token has the token's vector. If one still has
    at the last step, the token is censored (1), and `escape_step` is the last step.

    Args:
        counts: black_hole_counts.safetensors.
        tokens: tokens.csv of the corpus.
        first: for every token the first step with it among the inputs and among the targets, 0: at none; empty fields.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    table = read_tokens(tokens)
    dead = table["status"] == "dead"
    with open_tensors(counts) as file:
        S, V = file.expect("labels", torch.int32, ("S", "V"))
        if len(dead) != V:
            raise UserError(f"{counts}: labels has {V} tokens; expected {len(dead)}, as in {tokens}")
        last = np.full(V, -1)
        length = max(1, int(1e9 * budget_gb) // (16 * V))
        for start in range(0, S, length):
            stop = min(start + length, S)
            of_piece = last_with_the_dead(file.rows("labels", start, stop).numpy(), dead)
            last = np.where(of_piece >= 0, start + of_piece, last)
            progress(stop, S)
    steps, censored = np.minimum(last + 1, S - 1), last == S - 1
    write_table(
        out,
        COLUMNS,
        (
            (k, table["character"][k], table["count"][k], steps[k], int(censored[k]), *(of[k] or "" for of in first))
            for k in np.flatnonzero(~dead)
        ),
    )
