"""Exact distances between the tokens in the box, and statistics of them: pairs, graph, cluster, cells (row C)."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import TensorWriter, open_tensors, write_tensors
from blackholes.checkpoints.embedding import read_embedding
from blackholes.errors import UserError
from blackholes.kernels import backends, bit_graphs, cells, duplicates, pairs
from blackholes.kernels.euclidean import euclidean_blocks, euclidean_matrix

KEY = "distances"
HEIGHT = 1024  # rows of a block
DRAWN = 1024  # vectors of the cluster whose mutual distances are stored, for the figure

Blocks = Iterator[tuple[int, Float32[Tensor, "n N"]]]


def write(
    W: str,
    sphere: str,
    distances: str,
    table: str,
    statistics: str,
    threshold: float | Literal["auto"],
    metadata: dict[str, str] | None = None,
    device: torch.device | str = "cpu",
    budget_gb: float = 4.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> str:
    """Write overdensity_distances.safetensors, overdensity.csv and distance_statistics.safetensors.

    Args:
        W: W.safetensors. sphere: sphere.safetensors, of which `in_box` is read.
        distances: output with `distances` float32 (N, N) and `spike_token_ids` int64 (N,), ascending: the tokens in
            the box.
        table: output with columns `statistic, value`.
        statistics: output with the tensors that `describe` returns.
        threshold: largest Euclidean distance of adjacent tokens; `auto`: that of `auto_threshold`.
        budget_gb: working memory, in GB of 10⁹ bytes. If the whole matrix fits, each pair is computed once; otherwise
            the matrix is written in blocks of rows and each pair is computed twice, with bit-equal results.

    Returns a one-line summary.

    Raises:
        UserError: naming the file and what is wrong with it; an empty box; a box that needs more memory than the budget
            or more disk than is free (found before anything is computed).
    """
    tokens, vectors = _in_box(W, sphere)
    N = len(tokens)
    whole = _fits(sphere, vectors, budget_gb)
    vectors = vectors.to(device)
    matrix = backends.empty((N, N), torch.float32, vectors.device) if whole else None
    layout = {KEY: (torch.float32, (N, N)), "spike_token_ids": (torch.int64, (N,))}
    with TensorWriter(distances, layout, metadata) as writer, ThreadPoolExecutor(1) as background:
        writer.append("spike_token_ids", tokens)
        waiting: Future = Future()
        waiting.set_result(None)
        for start, block in euclidean_blocks(vectors, matrix, height=HEIGHT):
            waiting.result()
            waiting = background.submit(writer.append, KEY, block)
            if matrix is None:
                waiting.result()  # the next block overwrites these rows
            progress(start + len(block), N)
        waiting.result()

    def stored() -> Blocks:
        if matrix is not None:
            yield from ((start, matrix[start : start + HEIGHT]) for start in range(0, N, HEIGHT))
            return
        with open_tensors(distances) as file:
            yield from ((start, file.rows(KEY, start, min(start + HEIGHT, N))) for start in range(0, N, HEIGHT))

    rows, tensors = describe(
        stored, vectors, tokens, auto_threshold(vectors) if threshold == "auto" else float(threshold)
    )
    write_tensors(statistics, tensors, metadata)
    write_table(table, ["statistic", "value"], rows.items())
    summary = ("tokens", "pairs", "zeros", "lower median", "edges", "components", "largest component")
    return ", ".join(f"{name} {rows[name]:,}" for name in summary)


def auto_threshold(vectors: Float[Tensor, "N D"]) -> float:
    """The threshold by the vectors' own scale: 2⁻⁸ of the lower median of their norms.

    To round a vector to bfloat16 moves it by 2⁻⁹ of its norm at most, so this is the most that rounding can put
    between two copies of one vector.
    """
    return 2.0**-8 * float(vectors.double().norm(dim=1).median())


def describe(
    blocks: Callable[[], Blocks], vectors: Float[Tensor, "N D"], tokens: Int64[Tensor, "N"], threshold: float
) -> tuple[dict[str, object], dict[str, Tensor]]:
    """Statistics of the distances: rows of overdensity.csv, and tensors for the figures.

    `blocks()` yields (first row, rows) of the matrix of distances between `vectors`, the rows of W of `tokens`.

    The **graph** joins tokens at most `threshold` apart. Its **cluster** is the component with most tokens in black
    holes (of several, the largest, then the one with the smallest token id). Tensors about the cluster's vectors list
    each distinct vector once, those shared by most tokens first.

    Tensors (indices count the tokens in the box):
        `histogram`, `edges`, `nearest`, `nearest_different`: as kernels.pairs; `nearest_token_ids` (N,), −1 for none.
        `degrees` (N,); `component_labels` (N,): index of the component's first token; `hole_labels` (N,): index of the
        first token with an equal vector.
        For each component of two or more tokens, the largest first: `component_token_ids` (C,), its smallest token id;
        `component_populations`, `component_edges`, `component_hole_tokens`; `component_diameters` (C, 2), a lower and
        an upper bound, in hops (equal unless the graph is too large for the exact diameter; see kernels.bit_graphs).
        `cluster_token_ids` (n,): all its tokens. For its K distinct vectors: `cluster_vectors` (K, D);
        `cluster_vector_token_ids` (K,), the smallest token id with this vector; `cluster_populations` (K,), the number
        of tokens with it; `cluster_varies` bool (D,), whether they differ in this dimension; `cluster_extent` (D,),
        largest minus smallest value, in cells.
        `cluster_touching` (K,): label of the component in the graph that joins vectors at most one cell apart.
        For the first k ≤ 1,024 of them: `cluster_distances` float32 (k, k); `cluster_cells` (k, k), Chebyshev in cells;
        `cluster_tree` (k − 1, 2): edges of the minimum spanning tree.
    """
    pair_statistics = pairs.pair_statistics(blocks)
    graph = bit_graphs.adjacency(blocks(), threshold)
    equal = duplicates.labels(vectors).cpu()
    degrees, labels = bit_graphs.degrees(graph), bit_graphs.components(graph)
    components = _components(graph, degrees, labels, equal)
    in_cluster = labels == _cluster(labels, equal)
    cluster = _cluster_vectors(vectors, equal, in_cluster.nonzero()[:, 0])
    largest = int(components["populations"][0]) if len(components["populations"]) else 1
    isolated = int((degrees == 0).sum())
    rows: dict[str, object] = {
        "tokens": len(tokens),
        "pairs": pair_statistics["pairs"],
        "min": pair_statistics["min"],
        "least above zero": pair_statistics["smallest"],
        "lower median": pair_statistics["median"],
        "mean": pair_statistics["mean"],
        "max": pair_statistics["max"],
        "zeros": pair_statistics["zeros"],
        "threshold": threshold,
        "edges": int(degrees.sum()) // 2,
        "components": isolated + len(components["populations"]),
        "isolated": isolated,
        "largest component": largest,
        "diameter of the largest": _diameter_text(components["diameters"][0]) if len(components["diameters"]) else 0,
        "cluster tokens": int(in_cluster.sum()),
        "cluster tokens in holes": int((in_cluster & _in_hole(equal)).sum()),
        "cluster vectors": len(cluster["vectors"]),
        "cluster dimensions that vary": int(cluster["varies"].sum()),
        "cluster extent in cells": int(cluster["extent"].max()),
        "cluster parts that touch": len(cluster["touching"].unique()),
    }
    nearest_token = pair_statistics["nearest_token"]
    tensors: dict[str, Tensor] = {
        "spike_token_ids": tokens,
        "histogram": pair_statistics["histogram"],
        "edges": pair_statistics["edges"],
        "nearest": pair_statistics["nearest"],
        "nearest_different": pair_statistics["nearest_different"],
        "nearest_token_ids": torch.where(nearest_token < 0, -1, tokens[nearest_token]),
        "degrees": degrees,
        "component_labels": labels,
        "hole_labels": equal,
        "component_token_ids": tokens[components.pop("labels")],
        "cluster_token_ids": tokens[in_cluster],
        "cluster_vector_token_ids": tokens[cluster.pop("first")],
    }
    tensors |= {f"component_{name}": values for name, values in components.items()}
    tensors |= {f"cluster_{name}": values for name, values in cluster.items()}
    return rows, tensors


def _in_box(W: str, sphere: str) -> tuple[Int64[Tensor, "N"], Float[Tensor, "N D"]]:
    """Ids of the tokens in the box, ascending, and their vectors."""
    embedding = read_embedding(W)
    with open_tensors(sphere) as file:
        file.expect("in_box", torch.bool, (len(embedding),))
        tokens = file.rows("in_box").nonzero()[:, 0]
    if not len(tokens):
        raise UserError(f"{sphere}: in_box: no token lies in the box; expected at least one")
    vectors = embedding[tokens]
    for token in tokens[~torch.isfinite(vectors).all(1)][:1].tolist():
        raise UserError(f"{W}: token {token} has a NaN or infinity; expected finite numbers")
    return tokens, vectors


def _fits(sphere: str, vectors: Tensor, budget_gb: float) -> bool:
    """Whether the whole matrix fits into the memory budget.

    Raises:
        UserError: not even computing it block by block would fit.
    """
    N, D = vectors.shape
    matrix, graphs = 4 * N * N, N * N // 4
    need = N * D * (vectors.element_size() + 4) + 12 * N * min(N, HEIGHT) + graphs
    if need > budget_gb * 1e9:
        raise UserError(
            f"{sphere}: distances between {N:,} tokens of {D:,} dimensions need {need / 1e9:,.2f} GB of memory (and "
            f"{matrix / 1e9:,.2f} GB of disk); expected up to memory_budget_gb ({budget_gb:g}): make the box smaller "
            "or the budget larger"
        )
    return need + matrix <= budget_gb * 1e9


def _components(graph: Tensor, degrees: Tensor, labels: Tensor, equal: Tensor) -> dict[str, Tensor]:
    """Components of two or more tokens, the largest first: label, population, edges, tokens in holes, diameter."""
    N = len(labels)
    sizes = torch.bincount(labels, minlength=N)
    edges = torch.bincount(labels, weights=degrees.double(), minlength=N).long() // 2
    hole_tokens = torch.bincount(labels[_in_hole(equal)], minlength=N)
    first = (sizes > 1).nonzero()[:, 0]
    first = first[sizes[first].argsort(descending=True, stable=True)]
    groups = labels.argsort(stable=True).split(sizes[sizes > 0].tolist())  # in ascending order of label
    members = dict(zip(labels.unique().tolist(), groups, strict=True))
    diameters = [bit_graphs.diameter(graph, members[label]) for label in first.tolist()]
    return {
        "labels": first,
        "populations": sizes[first],
        "edges": edges[first],
        "hole_tokens": hole_tokens[first],
        "diameters": torch.tensor(diameters, dtype=torch.int64).view(-1, 2),
    }


def _in_hole(equal: Int64[Tensor, "N"]) -> Tensor:
    return torch.bincount(equal, minlength=len(equal))[equal] > 1


def _cluster(labels: Int64[Tensor, "N"], equal: Int64[Tensor, "N"]) -> int:
    """Label of the component with most tokens in holes."""
    sizes = torch.bincount(labels).tolist()
    holes = torch.bincount(labels[_in_hole(equal)], minlength=len(sizes)).tolist()
    return max(labels.unique().tolist(), key=lambda label: (holes[label], sizes[label], -label))


def _cluster_vectors(vectors: Tensor, equal: Tensor, members: Tensor) -> dict[str, Tensor]:
    """Tensors about a cluster's distinct vectors: see `describe`; `first` is the index of each one's first token."""
    first, populations = equal[members].unique(return_counts=True)
    order = populations.argsort(descending=True, stable=True)
    first, populations = first[order], populations[order]
    distinct = vectors[first.to(vectors.device)].cpu()
    ends = [cells.ordinals(piece).aminmax(dim=0) for piece in distinct.split(HEIGHT)]
    extent = torch.stack([high for _, high in ends]).amax(0) - torch.stack([low for low, _ in ends]).amin(0)
    drawn = distinct[:DRAWN]
    varying = extent > 0
    varying[0] |= not varying.any()  # at least one dimension to compare
    ordinals = cells.ordinals(distinct[:, varying])
    touching = ((start, (~rows).float()) for start, rows in cells.near(ordinals, 1))
    distances = euclidean_matrix(drawn)
    tree = minimum_spanning_tree(distances.double().numpy()).tocoo()
    return {
        "first": first,
        "populations": populations,
        "vectors": distinct,
        "varies": extent > 0,
        "extent": extent,
        "distances": distances,
        "cells": cells.chebyshev(ordinals[:DRAWN]),
        "touching": bit_graphs.components(bit_graphs.adjacency(touching, 0)),
        "tree": torch.from_numpy(np.sort(np.stack([tree.row, tree.col], 1), 1)).long(),
    }


def _diameter_text(diameter: Int64[Tensor, "2"]) -> int | str:
    least, most = diameter.tolist()
    return least if least == most else f"{least} to {most}"
