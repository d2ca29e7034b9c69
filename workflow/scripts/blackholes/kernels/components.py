"""Connected components of many graphs at once, and their statistics (docs/definitions.md)."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped
from torch import Tensor

from blackholes.errors import UserError
from blackholes.kernels import backends
from blackholes.kernels.checks import require
from blackholes.kernels.compiled import components as loops


def labels(adjacency: Bool[Tensor, "*S V V"]) -> Int64[Tensor, "*S V"]:
    """For every token of every step, the smallest index in its component.

    `adjacency` is bool, (S, V, V) or (V, V). The graph is undirected: an entry in either half is an edge. The diagonal
    is ignored. Raises UserError for another dtype or shape.
    """
    require(adjacency.dtype == torch.bool, f"adjacency is {adjacency.dtype}, where torch.bool is expected")
    _require_square(adjacency, "adjacency")
    steps = adjacency if adjacency.ndim == 3 else adjacency[None]
    result = torch.empty(steps.shape[:2], dtype=torch.int64, device=steps.device)
    if backends.compiled(steps):
        source, target = steps.numpy(), result.numpy()
        backends.in_threads(
            lambda a, b: loops.component_labels(np.ascontiguousarray(source[a:b]), target[a:b]), len(source)
        )
    else:
        for start, stop in _blocks(steps):
            block = steps[start:stop]
            result[start:stop] = _labels_formula(block | block.mT)
    return result if adjacency.ndim == 3 else result[0]


def graph_statistics(
    distances: Shaped[Tensor, "S V V"], threshold: float | int, inclusive: bool = False, *, first_step: int = 0
) -> dict[str, Tensor]:
    """Labels and statistics of the graphs whose edges are the distances < `threshold` (or <=, if `inclusive`).

    `distances` is float32 or int32 (cells), (S, V, V); only the upper triangles are read. `threshold` is in the
    distances' unit and is rounded to float32 as they are. On the CPU no adjacency matrix is made.

    Returns `labels` int64 (S, V), as `labels` here; int64 (S,): `n_components` (isolated tokens included),
    `largest_component_size`, `n_isolated`, `n_edges`; float32 (S,): `global_density` = edges / (V(V-1)/2) and
    `largest_component_density`, the same within the largest component, 1 where that is a single token, as the notebooks
    have it (networkx says 0). On a tie the largest component is the one with the smallest label.

    Raises UserError for another dtype or shape, a threshold that is NaN (or, for int32, not whole), and distances
    that are NaN or negative, naming step (counted from `first_step`) and tokens.
    """
    require(
        distances.dtype in (torch.float32, torch.int32),
        f"distances are {distances.dtype}, where float32 or int32 is expected",
    )
    require(distances.ndim == 3, f"distances have shape {tuple(distances.shape)}, where (S, V, V) is expected")
    _require_square(distances, "distances")
    limit = inclusive_limit(threshold, inclusive, distances.dtype)
    S, V, _ = distances.shape
    label, counts, densities = (
        torch.empty(shape, dtype=dtype, device=distances.device)
        for shape, dtype in (((S, V), torch.int64), ((S, 4), torch.int64), ((S, 2), torch.float32))
    )
    if backends.compiled(distances):
        source, targets = distances.numpy(), [tensor.numpy() for tensor in (label, counts, densities)]
        bad = any(
            backends.in_threads(
                lambda a, b: loops.graph_statistics(
                    np.ascontiguousarray(source[a:b]), limit, *(target[a:b] for target in targets)
                ),
                S,
            )
        )
    else:
        bad = False
        for start, stop in _blocks(distances):
            block = distances[start:stop].triu(1)
            bad = bad or not bool((block >= 0).all())
            hits = (block <= limit.item()).triu(1)
            label[start:stop], counts[start:stop], densities[start:stop] = _statistics_formula(hits)
    if bad:
        _refuse_bad_distance(distances, first_step)
    return named_statistics(label, counts, densities)


def named_statistics(
    label: Int64[Tensor, "S V"], counts: Int64[Tensor, "S 4"], densities: Float32[Tensor, "S 2"]
) -> dict[str, Tensor]:
    """The dict that `graph_statistics` returns, from `counts` and `densities` as `counted` returns them."""
    names = ("n_components", "largest_component_size", "n_isolated", "n_edges")
    return {
        "labels": label,
        **{name: column.contiguous() for name, column in zip(names, counts.unbind(-1), strict=True)},
        "global_density": densities[:, 0].contiguous(),
        "largest_component_density": densities[:, 1].contiguous(),
    }


def _require_square(matrices: Tensor, name: str) -> None:
    shape = tuple(matrices.shape)
    square = matrices.ndim in (2, 3) and shape[-1] == shape[-2] > 0
    require(square, f"{name}: shape {shape}, where (S, V, V) is expected")


def inclusive_limit(threshold: float | int, inclusive: bool, dtype: torch.dtype) -> np.number:
    """The largest distance that is an edge: `d <= inclusive_limit(…)` is `d < threshold`, or <= if `inclusive`.

    `dtype` is the distances', float32 or int32. Raises UserError for a threshold that is NaN (for int32: or not whole).
    """
    if dtype == torch.int32:
        require(
            math.isfinite(threshold) and threshold == int(threshold) and abs(threshold) < 2**31,
            f"threshold is {threshold}, where a whole number is expected for distances in cells",
        )
        return np.int32(max(int(threshold) - (not inclusive), -(2**31)))
    require(not math.isnan(threshold), "threshold is nan, where a number is expected")
    limit = np.float32(threshold)
    return limit if inclusive else np.nextafter(limit, np.float32(-np.inf))


def _refuse_bad_distance(distances: Tensor, first_step: int) -> None:
    for s, matrix in enumerate(distances):
        for i, j in (~(matrix >= 0)).triu(1).nonzero()[:1].tolist():
            raise UserError(
                f"distance {matrix[i, j].item()} at step {s + first_step} between tokens {i} and {j}, "
                "where a number that is not negative is expected"
            )


def _blocks(matrices: Tensor):
    """Ranges of steps for the formulas, whose temporaries are a few int64 a pair."""
    S, V, _ = matrices.shape
    length = backends.block_length(16 * V * V, matrices.device)
    return [(start, min(start + length, S)) for start in range(0, S, length)]


def _labels_formula(adjacency: Tensor) -> Tensor:
    """Label propagation: each tree's root takes the smallest label next to any member, then pointers jump to roots."""
    s, V, _ = adjacency.shape
    tokens = torch.arange(V, device=adjacency.device).expand(s, V)
    label = tokens.clone()
    while True:
        nearby = torch.where(adjacency, label[:, None, :], V).amin(-1)  # (s, V)
        hooked = label.scatter_reduce(1, label, nearby, "amin")
        while not torch.equal(hooked, jumped := hooked.gather(1, hooked)):
            hooked = jumped
        if torch.equal(hooked, label):
            return label
        label = hooked


def _statistics_formula(hits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """hits bool (s, V, V), strictly upper triangle → labels (s, V), counts (s, 4), densities (s, 2)."""
    adjacency = hits | hits.mT
    label = _labels_formula(adjacency)
    return label, *counted(label, adjacency.sum(-1))


def counted(
    label: Int64[Tensor, "S V"], degree: Int64[Tensor, "S V"]
) -> tuple[Int64[Tensor, "S 4"], Float32[Tensor, "S 2"]]:
    """(Components, size of the largest, isolated tokens, edges), (density of the graph, of its largest component)."""
    V = label.shape[-1]
    zeros = torch.zeros_like(label)
    size = zeros.scatter_add(1, label, torch.ones_like(label))  # (s, V), of the component with this label
    edges = zeros.scatter_add(1, label, degree) // 2
    largest = size.argmax(-1, keepdim=True)  # the first on a tie
    counts = [(size > 0).sum(-1), size.gather(1, largest)[:, 0], (size == 1).sum(-1), edges.sum(-1)]
    pairs = torch.full_like(counts[1], V), counts[1]
    within = counts[3], edges.gather(1, largest)[:, 0]
    densities = [
        torch.where(n > 1, e.double() / (n * (n - 1) / 2).double().clamp(min=1), alone).float()
        for n, e, alone in zip(pairs, within, (0, 1), strict=True)
    ]
    return torch.stack(counts, -1), torch.stack(densities, -1)
