"""Graph statistics of a run (row B): components of the graphs that each adjacency makes of every step."""

from collections.abc import Mapping

import torch
from jaxtyping import BFloat16, Float32
from torch import Tensor

from blackholes.kernels import components, neighbours
from blackholes.kernels.chebyshev import cell_matrices

DTYPES = {
    "n_components": torch.int32,
    "largest_component_size": torch.int32,
    "n_isolated": torch.int32,
    "n_edges": torch.int32,
    "global_density": torch.float32,
    "largest_component_density": torch.float32,
    "labels": torch.int32,
}


def layout(adjacency: Mapping[str, Mapping], S: int, V: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """The tensors of graph_statistics.safetensors: `<name>.<statistic>` for every named adjacency."""
    return {
        f"{name}.{statistic}": (dtype, (S, V) if statistic == "labels" else (S,))
        for name in adjacency
        for statistic, dtype in DTYPES.items()
    }


def statistics(
    adjacency: Mapping[str, Mapping],
    snapshots: BFloat16[Tensor, "s V D"],
    chebyshev: Float32[Tensor, "s V V"] | None,
    first_step: int = 0,
) -> dict[str, Tensor]:
    """`<name>.<statistic>` of some steps, for every named adjacency: labels (s, V), all others (s,).

    Args:
        adjacency: name → `measure` (chebyshev | cells), `operator` (< | <=), `threshold`.
        chebyshev: the distances of `snapshots`; None: no matrix of any measure is made, the numbers are the same.
        first_step: the number of the first step, for errors.

    Raises:
        UserError: a distance that is NaN or negative; a threshold that is not a number, or not whole for cells.
    """
    matrices: dict[str, Tensor] = {} if chebyshev is None else {"chebyshev": chebyshev}
    if chebyshev is not None and any(rule["measure"] == "cells" for rule in adjacency.values()):
        matrices["cells"] = cell_matrices(snapshots, first_step=first_step)
    tensors: dict[str, Tensor] = {}
    for name, rule in adjacency.items():
        measure, edges = rule["measure"], (rule["threshold"], rule["operator"] == "<=")
        if chebyshev is None:
            graph = neighbours.graph_statistics(snapshots, measure, *edges, first_step=first_step)
        else:
            graph = components.graph_statistics(matrices[measure], *edges, first_step=first_step)
        tensors |= {f"{name}.{statistic}": graph[statistic].to(dtype) for statistic, dtype in DTYPES.items()}
    return tensors
