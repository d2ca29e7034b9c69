"""Snowballs: tokens = centroid + N(0, σ²), rounded to bfloat16, and their statistics (row D)."""

import hashlib
import math
import struct

import numpy as np
import torch
from jaxtyping import BFloat16, Bool, Float, Float32
from torch import Tensor

from blackholes.kernels import backends, chebyshev, components, duplicates
from blackholes.kernels.checks import require
from blackholes.kernels.compiled import snowball as loops

STATISTICS = (
    *("n_tokens", "n_unique", "n_black_holes", "n_singletons", "total_population", "black_hole_population"),
    *("largest_bh", "smallest_bh", "mean_bh_size", "median_bh_size", "top2_population", "gini_coefficient"),
    *("max_l_inf", "mean_l_inf", "median_l_inf"),
    *("n_components", "n_isolated", "largest_component_size", "largest_component_density", "global_density"),
)
REACH = 9.5  # standard deviations; a normal number lies beyond with probability 2**-69
NEAR = 3.0  # standard deviations; 0.3 % lie beyond
_DRAWN = 1 << 18  # numbers drawn from one stream


# ---- tokens -------------------------------------------------------------------------------------------------------


def movable(centroid: Float32[Tensor, "D"], sigma: float, reach: float = REACH) -> Bool[Tensor, "D"]:
    """Dimensions in which noise of up to `reach` σ can change the rounded value.

    Adding and rounding are monotone, so a dimension is fixed if both ends of the noise's range round to one value. At
    σ ≤ 1e-8 nearly all of Qwen's are: only coordinates close to 0, or to the middle of two bfloat16 values, can vary.
    """
    ends = float(np.float32(sigma) * np.float32(reach))  # a float32 number, so nothing is lost
    return (centroid - ends).bfloat16() != (centroid + ends).bfloat16()


def sample(
    centroid: Float32[Tensor, "D"], sigma: float, n_tokens: int, seed: int, trial: int, *, every: bool = False
) -> BFloat16[Tensor, "N M"]:
    """The tokens of one trial, on the CPU, in their `movable` dimensions only: M of D, at least one.

    In the other dimensions all tokens are equal, so `trial_statistics` are those of the whole vectors. Noise, σ times a
    normal number, is added to the centroid in float32, and the sum is rounded to bfloat16. In dimensions that only
    noise beyond NEAR σ can change, only such noise is drawn: how many tokens have it, which, and how much. With
    `every`, all numbers of all dimensions are drawn, from the same distribution: for tests.

    Numbers come from Philox streams, one for each block of tokens, keyed by SHA-256 of seed, σ and trial. For a given
    centroid and number of tokens they depend on nothing else: neither on threads nor on earlier draws.

    Raises UserError for a centroid that is not finite, and for σ or n_tokens out of range.
    """
    require(centroid.numel() > 0 and bool(torch.isfinite(centroid).all()), "centroid: finite numbers are expected")
    require(math.isfinite(sigma) and sigma >= 0, f"sigma is {sigma}, where a finite number from 0 up is expected")
    require(n_tokens > 0, f"n_tokens is {n_tokens}, where a number above 0 is expected")
    centroid = centroid.detach().cpu()
    kept = torch.ones_like(centroid, dtype=torch.bool) if every else movable(centroid, sigma)
    kept[0] |= not kept.any()
    around, scale = centroid[kept].numpy(), np.float32(sigma)
    near = np.ones(len(around), bool) if every else movable(centroid[kept], sigma, NEAR).numpy()
    key = int.from_bytes(hashlib.sha256(struct.pack("<qdq", seed, sigma + 0.0, trial)).digest()[:16], "little")
    noise = np.empty((n_tokens, len(around)), np.float32)
    rounded = torch.empty(noise.shape, dtype=torch.bfloat16)
    bits, compiled = rounded.view(torch.uint16).numpy(), backends.compiled(rounded)
    height = max(1, _DRAWN // len(around))  # tokens of a stream

    def fill(first, last):
        for block in range(first, last):
            rows = noise[block * height : (block + 1) * height]
            random = np.random.Generator(np.random.Philox(key=key, counter=block << 192))
            if near.all():
                random.standard_normal(out=rows, dtype=np.float32)
            else:
                rows[:, near] = random.standard_normal((len(rows), near.sum()), np.float32)
                rows[:, ~near] = _tails(random, len(rows), int((~near).sum()))
            part = slice(block * height, block * height + len(rows))
            if compiled:
                loops.round_sums(rows, scale, around, bits[part])
            else:
                rounded[part] = torch.from_numpy(around + scale * rows).bfloat16()

    backends.in_threads(fill, -(-n_tokens // height))
    return rounded


def _tails(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal numbers, with those within ± NEAR replaced by 0."""
    tail = 0.5 * math.erfc(NEAR / math.sqrt(2))
    numbers = np.zeros(math.prod(shape), np.float32)
    number = random.binomial(numbers.size, 2 * tail)
    place = random.choice(numbers.size, number, replace=False, shuffle=False)
    below = torch.from_numpy(tail * (1 - random.random(number)))  # (0, tail]
    numbers[place] = torch.special.ndtri(below).numpy() * random.choice([-1.0, 1.0], number)
    return numbers.reshape(shape)


# ---- statistics ---------------------------------------------------------------------------------------------------


def trial_statistics(vectors: Float[Tensor, "N D"], epsilon: float, threshold: float) -> dict[str, int | float]:
    """The 20 statistics of one trial, in the order of STATISTICS (row D).

    `vectors` is (N, D), N ≥ 1, in bfloat16, float16 or float32, on any device. Distances are the Chebyshev distances
    between unique vectors, computed in float32. `max_l_inf`, `mean_l_inf` and `median_l_inf` are over all pairs, in
    units of `epsilon`: the median is the lower one; the mean's sum is exact and rounded once, to float64. So none
    depends on order, threads or device. A pair touches if its distance is <= `threshold` (rounded to float32, as
    distances are). Populations are numbers of tokens; `median_bh_size` is the lower median too.

    Conventions, as in the notebook: without a hole, all statistics of holes are 0; with a single unique vector,
    distances are 0 and it is one isolated component of density 1. A largest component of one vector has density 1
    too.

    Memory beside the vectors: a float32 matrix (n, n) of the n unique vectors, and their copy in float32.
    Raises UserError for an epsilon or threshold out of range, and for NaN or infinity, naming token and dimension.
    """
    require(epsilon > 0 and math.isfinite(epsilon), f"epsilon is {epsilon}, where a finite number above 0 is expected")
    require(threshold >= 0, f"threshold is {threshold}, where a number from 0 up is expected")
    require(vectors.shape[0] > 0, "vectors: at least one token is expected")
    counts = torch.bincount(duplicates.labels(vectors), minlength=len(vectors))
    chosen = counts.nonzero()[:, 0]
    values = (
        *populations(counts[chosen].tolist()),
        *_pairs(vectors.detach()[chosen].float(), epsilon, threshold),
    )
    return dict(zip(STATISTICS, values, strict=True))


def populations(counts: list[int]) -> tuple[int | float, ...]:
    """The first twelve statistics, from the number of tokens of every unique vector."""
    holes = sorted(count for count in counts if count > 1)
    n, held, total = len(holes), sum(holes), sum(counts)
    largest, smallest, median = (holes[-1], holes[0], holes[(n - 1) // 2]) if n else (0, 0, 0)
    return (
        *(total, len(counts), n, len(counts) - n, total, held, largest, smallest),
        *(held / max(n, 1), median, sum(holes[-2:]), gini(holes)),
    )


def gini(holes: list[int]) -> float:
    """Gini coefficient of populations in ascending order; 0 for fewer than two."""
    n = len(holes)
    if n < 2:
        return 0.0
    return 2 * sum(i * p for i, p in enumerate(holes, 1)) / (n * sum(holes)) - (n + 1) / n


def _pairs(vectors: Tensor, epsilon: float, threshold: float) -> tuple[int | float, ...]:
    """The last eight statistics, of unique float32 vectors (n, D)."""
    n = len(vectors)
    if n == 1:
        return 0.0, 0.0, 0.0, 1, 1, 1, 1.0, 1.0
    matrix, largest, median, mantissas = _distances(vectors)
    graph = components.graph_statistics(matrix[None], threshold, inclusive=True)
    labels = graph["labels"][0]
    pairs, edges, size = n * (n - 1) // 2, graph["n_edges"].item(), graph["largest_component_size"].item()
    members = (labels == torch.bincount(labels, minlength=n).argmax()).nonzero()[:, 0]  # the smallest label on a tie
    inside = edges if size == n else _edges(matrix, members, threshold)
    return (
        *(largest / epsilon, _exact_sum(mantissas) / pairs / epsilon, median / epsilon),
        *(graph["n_components"].item(), graph["n_isolated"].item(), size),
        *(inside / (size * (size - 1) // 2) if size > 1 else 1.0, edges / pairs),
    )


def _distances(vectors: Tensor) -> tuple[Tensor, float, float, list[int]]:
    """Upper triangle (n, n) of the Chebyshev distances; their maximum, lower median, and mantissas by exponent."""
    n = len(vectors)
    middle = (n * (n - 1) // 2 - 1) // 2
    if not backends.compiled(vectors):
        matrix = chebyshev.chebyshev_matrices(vectors)
        i, j = torch.triu_indices(n, n, 1, device=vectors.device)
        values = matrix[i, j]
        bits = values.view(torch.int32).long()
        exponents = bits >> 23
        mantissas = bits.new_zeros(256).index_add_(0, exponents, (bits & 0x7FFFFF) + (exponents > 0) * 0x800000)
        return matrix, values.max().item(), values.kthvalue(middle + 1).values.item(), mantissas.tolist()

    lanes = -(-n // loops.LANES)
    panels = np.empty((lanes, vectors.shape[1], loops.LANES), np.float32)
    loops.pack(vectors.numpy(), panels)
    distances = np.empty((n, n), np.float32)
    ranges = -(-lanes // 2)
    worth = -(-1_000_000 // (n * loops.LANES * vectors.shape[1]))
    backends.in_threads(lambda a, b: loops.upper_triangle(panels, a, b, distances), ranges, least=worth)
    sums, median = np.zeros((loops.LISTS, 256), np.int64), 0
    largest = loops.add_mantissas(distances, sums)
    for shift in (22, 11, 0):  # the median's bits, 11 at a time
        counts = np.zeros((loops.LISTS, 1 << 11), np.int64)
        loops.tally(distances, median, shift, counts)
        below = counts.sum(0).cumsum()
        digit = int(np.searchsorted(below, middle, side="right"))
        middle, median = middle - int(below[digit - 1] if digit else 0), median << 11 | digit
    extremes = np.array([largest, median], np.uint32).view(np.float32)
    return torch.from_numpy(distances), *extremes.tolist(), sums.sum(0).tolist()


def _edges(matrix: Tensor, members: Tensor, threshold: float) -> int:
    """Number of touching pairs among `members`."""
    limit, edges = torch.tensor(threshold, dtype=torch.float32, device=matrix.device), 0
    for rows in members.split(256):
        touching = (matrix[rows][:, members] <= limit) & (members[None] > rows[:, None])
        edges += int(touching.sum())
    return edges


def _exact_sum(mantissas: list[int]) -> float:
    """Sum of float32 numbers ≥ 0 from the sums of their mantissas by biased exponent, rounded once, to float64."""
    if mantissas[255]:
        return math.inf
    return sum(m << max(e - 1, 0) for e, m in enumerate(mantissas) if m) / (1 << 149)
