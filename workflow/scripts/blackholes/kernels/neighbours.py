"""Graphs of vocabularies too large for a matrix of all distances (docs/definitions.md)."""

import numpy as np
import torch
from jaxtyping import BFloat16
from torch import Tensor

from blackholes.kernels import backends, bf16, components, duplicates
from blackholes.kernels.checks import require
from blackholes.kernels.compiled import neighbours as loops

MEASURES = ("chebyshev", "cells")


def graph_statistics(
    vectors: BFloat16[Tensor, "S V D"],
    measure: str,
    threshold: float | int,
    inclusive: bool = False,
    *,
    first_step: int = 0,
) -> dict[str, Tensor]:
    """As `components.graph_statistics` of the distance matrices of `vectors`, to the bit, without making these.

    Edges join tokens whose distance by `measure` ("chebyshev", or "cells": the same in lattice steps) is < `threshold`
    (or <=, if `inclusive`). Memory on the CPU: a few numbers for each coordinate of one step, in every thread. The work
    grows with the number of pairs that are near in the coordinate of largest variance; equal vectors count as one.

    Raises UserError for another dtype, shape or measure, a threshold that is NaN (or, for cells, not whole), and for
    NaN or infinity, naming step (counted from `first_step`), token and dimension.
    """
    require(vectors.dtype == torch.bfloat16, f"vectors are {vectors.dtype}, where torch.bfloat16 is expected")
    shape = tuple(vectors.shape)
    require(vectors.ndim == 3 and 0 not in shape[1:], f"vectors have shape {shape}, where (S, V, D) is expected")
    require(measure in MEASURES, f"measure is {measure!r}, where {' or '.join(MEASURES)} is expected")
    cells = measure == "cells"
    limit = components.inclusive_limit(threshold, inclusive, torch.int32 if cells else torch.float32)
    first = duplicates.labels(vectors, first_step=first_step)
    S, V, _ = shape
    label, counts, densities = (
        torch.empty(shape, dtype=dtype, device=vectors.device)
        for shape, dtype in (((S, V), torch.int64), ((S, 4), torch.int64), ((S, 2), torch.float32))
    )
    if backends.compiled(vectors):
        bits = vectors.detach().contiguous().view(torch.int16).numpy()
        equals = first.numpy() if limit >= 0 else np.tile(np.arange(V), (S, 1))
        targets = [tensor.numpy() for tensor in (label, counts, densities)]
        backends.in_threads(
            lambda a, b: loops.graph_statistics(
                bits[a:b], equals[a:b], cells, np.float32(limit), *(target[a:b] for target in targets)
            ),
            S,
        )
    else:
        for s in range(S):
            values = (bf16.ordinal(vectors[s]) if cells else vectors[s]).float()
            label[s], counts[s], densities[s] = _formula(values, float(limit))
    return components.named_statistics(label, counts, densities)


def _formula(values: Tensor, limit: float) -> tuple[Tensor, Tensor, Tensor]:
    """One step: values (V, D) → label (V,), counts (4,), densities (2,), a block of the matrix's rows at a time."""
    V, D = values.shape
    height = backends.block_length(4 * V * 3, values.device)
    rows = [slice(top, top + height) for top in range(0, V, height)]

    def near(block: slice) -> Tensor:
        largest = values.new_zeros(len(values[block]), V)
        for k in range(D):
            torch.maximum(largest, (values[block, k, None] - values[None, :, k]).abs_(), out=largest)
        hits = largest <= limit
        hits.diagonal(block.start)[: len(hits)] = False
        return hits

    degree = torch.cat([near(block).sum(1) for block in rows])
    label = torch.arange(V, device=values.device)
    while True:  # as components._labels_formula, in blocks
        nearby = torch.cat([torch.where(near(block), label, V).amin(1) for block in rows])
        hooked = label.scatter_reduce(0, label, nearby, "amin")
        while not torch.equal(hooked, jumped := hooked[hooked]):
            hooked = jumped
        if torch.equal(hooked, label):
            break
        label = hooked
    counts, densities = (table[0] for table in components.counted(label[None], degree[None]))
    return label, counts, densities
