"""Graph statistics of a run (row B): components of the graphs that each adjacency makes of every step."""

from collections.abc import Callable

import torch

from blackholes.analysis.distances import matrices
from blackholes.analysis.histories import chunk_length, open_history
from blackholes.artifacts.tensors import TensorWriter
from blackholes.errors import about
from blackholes.kernels.chebyshev import cell_matrices
from blackholes.kernels.components import graph_statistics

DTYPES = {
    "n_components": torch.int32,
    "largest_component_size": torch.int32,
    "n_isolated": torch.int32,
    "n_edges": torch.int32,
    "global_density": torch.float32,
    "largest_component_density": torch.float32,
    "labels": torch.int32,
}


def write_graph_statistics(
    history: str,
    distances: str | None,
    adjacency: dict[str, dict],
    out: str,
    metadata: dict[str, str] | None = None,
    device: torch.device | str = "cpu",
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> None:
    """Write graph_statistics.safetensors: `<name>.<statistic>` for every named adjacency.

    Args:
        distances: pairwise_distances.safetensors of the same run, or nothing to compute and discard the matrices.
        adjacency: name → `measure` (chebyshev | cells), `operator` (< | <=), `threshold`.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    with open_history(history) as source:
        S, V = source.steps, source.tokens
        layout = {
            f"{name}.{statistic}": (dtype, (S, V) if statistic == "labels" else (S,))
            for name in adjacency
            for statistic, dtype in DTYPES.items()
        }
        needs_cells = any(rule["measure"] == "cells" for rule in adjacency.values())
        with TensorWriter(out, layout, metadata) as writer:
            length = chunk_length(4 * V**2, budget_gb, buffers=2)
            for start, snapshots, chebyshev in matrices(source, distances, length, device):
                found = {"chebyshev": chebyshev}
                if needs_cells:
                    with about(history):
                        found["cells"] = cell_matrices(snapshots, first_step=start)
                for name, rule in adjacency.items():
                    inclusive = rule["operator"] == "<="
                    with about(distances or history):
                        statistics = graph_statistics(
                            found[rule["measure"]], rule["threshold"], inclusive, first_step=start
                        )
                    for statistic, dtype in DTYPES.items():
                        writer.append(f"{name}.{statistic}", statistics[statistic].to(dtype))
                progress(start + len(snapshots), source.steps)
