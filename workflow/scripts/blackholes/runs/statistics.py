"""Statistics of a run (row B): black holes, events, geometry and graphs of every step, from one pass over its history.

The formulas are in black_holes.py, geometry.py and graphs.py.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blackholes.artifacts.files import table_writer
from blackholes.artifacts.histories import History, chunk_length, open_history
from blackholes.artifacts.tensors import TensorWriter
from blackholes.errors import about
from blackholes.kernels import duplicates
from blackholes.limits import LARGE
from blackholes.runs import black_holes, geometry, graphs
from blackholes.runs.distances import matrices


@dataclass
class Outputs:
    """The files of `write`."""

    counts: str  # black_hole_counts.safetensors
    events: str  # events.csv
    geometry: str  # geometric_time_series.safetensors
    graphs: str  # graph_statistics.safetensors


def write(
    history: str,
    adjacency: Mapping[str, Mapping],
    outputs: Outputs,
    metadata: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> str:
    """Write the black holes, events, geometry and graphs of a history. Returns what is left at its end, in a line.

    Args:
        adjacency: name → `measure` (chebyshev | cells), `operator` (< | <=), `threshold`, of each graph.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    with open_history(history) as source:
        S, V, D = source.steps, source.tokens, source.dimensions
        with (
            TensorWriter(outputs.counts, black_holes.layout(S, V), metadata) as counts_file,
            TensorWriter(outputs.geometry, geometry.layout(S, D), metadata) as geometry_file,
            TensorWriter(outputs.graphs, graphs.layout(adjacency, S, V), metadata) as graphs_file,
            table_writer(outputs.events, black_holes.EVENT_COLUMNS) as events_table,
        ):
            labels_before = np.empty((0, V), np.int32)
            first_centroid = centroid_before = None
            for start, snapshots, chebyshev in _pieces(source, budget_gb, device):
                with about(history):  # raises for NaN and infinity, so the functions below need not check
                    labels = duplicates.labels(snapshots, first_step=start).to("cpu", torch.int32)
                series = black_holes.counts(labels)
                _append(counts_file, series | {"labels": labels})

                known_labels = np.concatenate([labels_before, labels.numpy()])
                for step, kind, *lists in black_holes.events(known_labels, start - len(labels_before)):
                    events_table.writerow([step, kind, *(" ".join(map(str, ids)) for ids in lists)])
                labels_before = known_labels[-1:]

                cloud = geometry.cloud(snapshots)
                centroid = cloud["centroid"]
                if first_centroid is None or centroid_before is None:
                    first_centroid = centroid_before = centroid[0]
                _append(geometry_file, cloud | geometry.motion(centroid, centroid_before, first_centroid))
                centroid_before = centroid[-1]

                with about(history):
                    graph_statistics = graphs.statistics(adjacency, snapshots, chebyshev, start)
                _append(graphs_file, graph_statistics)
                progress(start + len(snapshots), S)
    holes, held, distinct = (int(series[key][-1]) for key in ("counts", "populations", "n_unique"))
    left = f"{holes:,} hole{'s' * (holes != 1)} with {held:,} of {V:,} tokens"
    return f"step {S - 1:,}: {left}, {distinct:,} distinct vectors"


def _pieces(
    source: History, budget_gb: float, device: torch.device | str
) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """(first step, snapshots, Chebyshev matrices), a piece at a time; None for the matrices where V is large."""
    snapshot, matrix = 2 * source.tokens * source.dimensions, 4 * source.tokens**2  # bytes
    if source.tokens > LARGE:
        for start, snapshots in source.chunks(chunk_length(snapshot, budget_gb)):
            yield start, snapshots.to(device), None
    else:  # one matrix of distances and one in cells
        yield from matrices(source, chunk_length(snapshot + 2 * matrix, budget_gb), device)


def _append(writer: TensorWriter, tensors: Mapping[str, Tensor]) -> None:
    for key, rows in tensors.items():
        writer.append(key, rows)
