"""Graph statistics of a run (row B): components of the graphs that each adjacency makes of every step."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from blackholes.artifacts.histories import History, chunk_length, open_history
from blackholes.artifacts.tensors import TensorWriter
from blackholes.errors import about
from blackholes.kernels import components, neighbours
from blackholes.kernels.chebyshev import cell_matrices
from blackholes.limits import LARGE
from blackholes.runs.distances import matrices

Statistics = tuple[int, int, dict[str, dict[str, Tensor]]]  # first step, steps, graph → statistic → its values
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
        found = _by_vectors if V > LARGE and not distances else _by_matrices
        with TensorWriter(out, layout, metadata) as writer:
            for start, length, statistics in found(source, distances, adjacency, device, budget_gb):
                for name, of_graph in statistics.items():
                    for statistic, dtype in DTYPES.items():
                        writer.append(f"{name}.{statistic}", of_graph[statistic].to(dtype))
                progress(start + length, S)


def _by_matrices(source: History, distances: str | None, adjacency, device, budget_gb: float) -> Iterator[Statistics]:
    """From distance matrices, stored or made a few at a time."""
    needs_cells = any(rule["measure"] == "cells" for rule in adjacency.values())
    length = chunk_length(4 * source.tokens**2, budget_gb, buffers=2)
    for start, snapshots, chebyshev in matrices(source, distances, length, device):
        found, statistics = {"chebyshev": chebyshev}, {}
        if needs_cells:
            with about(source.path):
                found["cells"] = cell_matrices(snapshots, first_step=start)
        for name, rule in adjacency.items():
            with about(distances or source.path):
                statistics[name] = components.graph_statistics(
                    found[rule["measure"]], rule["threshold"], rule["operator"] == "<=", first_step=start
                )
        yield start, len(snapshots), statistics


def _by_vectors(source: History, distances: None, adjacency, device, budget_gb: float) -> Iterator[Statistics]:
    """From the vectors, without matrices: the same numbers."""
    length = chunk_length(2 * source.tokens * source.dimensions, budget_gb)
    for start, snapshots in source.chunks(length):
        snapshots, statistics = snapshots.to(device), {}
        for name, rule in adjacency.items():
            with about(source.path):
                statistics[name] = neighbours.graph_statistics(
                    snapshots, rule["measure"], rule["threshold"], rule["operator"] == "<=", first_step=start
                )
        yield start, len(snapshots), statistics
