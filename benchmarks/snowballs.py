"""Snowball trials at the notebook's scale, 2,100 tokens × 2,560 dimensions, with all 20 statistics (row D).

python benchmarks/snowballs.py [--rounds 3] [--device cpu]
"""

import argparse
import math
import resource

import numpy as np
import torch
from _harness import Rival, compare
from blackholes.kernels import device, snowball
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist

TOKENS, DIMENSIONS, NORM = 2100, 2560, 0.166061
EPSILON = 5.9604645e-05
GLOBAL, SMALL = 3.281911e-3, 1.5e-9  # the published σ, and that within the cluster


def around() -> torch.Tensor:
    """A random direction, with the norm of the published centroid."""
    direction = torch.randn(DIMENSIONS, generator=torch.Generator().manual_seed(0))
    return direction * (NORM / direction.norm())


def drawn(centroid, sigma, generator):
    """Tokens as the notebook draws them, with noise in all dimensions."""
    return (centroid + torch.randn(TOKENS, DIMENSIONS, generator=generator) * sigma).bfloat16()


def with_cdist(vectors):
    """The notebook's statistics: two torch.cdist(p=inf), one for the distances and one for the graph."""
    unique, counts = torch.unique(vectors.float(), dim=0, return_counts=True)
    n = len(unique)
    pairs = torch.cdist(unique, unique, p=float("inf"))[~torch.eye(n, dtype=torch.bool)]
    adjacency = torch.cdist(unique, unique, p=float("inf")) <= 2 * EPSILON
    return finished(counts, pairs, adjacency.fill_diagonal_(False).numpy())


def with_pdist(vectors):
    """The same with SciPy, which computes each distance once, in float64."""
    unique, counts = torch.unique(vectors.float(), dim=0, return_counts=True)
    pairs = torch.from_numpy(pdist(unique.numpy(), "chebyshev")).float()
    n = len(unique)
    adjacency = np.zeros((n, n), bool)
    adjacency[np.triu_indices(n, 1)] = (pairs <= 2 * EPSILON).numpy()
    return finished(counts, pairs, adjacency | adjacency.T)


def finished(counts, pairs, adjacency):
    n = len(counts)
    first = snowball.populations(counts.tolist())
    if n == 1:
        return dict(zip(snowball.STATISTICS, (*first, 0.0, 0.0, 0.0, 1, 1, 1, 1.0, 1.0), strict=True))
    _, labels = connected_components(adjacency, directed=False)
    sizes = np.bincount(labels)
    inside = np.flatnonzero(labels == sizes.argmax())
    edges, size = int(adjacency[np.ix_(inside, inside)].sum()), len(inside)
    return dict(
        zip(
            snowball.STATISTICS,
            (
                *first,
                *(
                    pairs.max().item() / EPSILON,
                    pairs.double().mean().item() / EPSILON,
                    pairs.median().item() / EPSILON,
                ),
                *(len(sizes), int((sizes == 1).sum()), size),
                *(edges / (size * (size - 1)) if size > 1 else 1.0, int(adjacency.sum()) / (n * (n - 1))),
            ),
            strict=True,
        )
    )


def check(vectors) -> None:
    expected = with_cdist(vectors)
    for result in (with_pdist(vectors), snowball.trial_statistics(vectors, EPSILON, 2 * EPSILON)):
        assert all(math.isclose(result[name], expected[name], rel_tol=1e-12) for name in expected), (result, expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="device for our statistics")
    arguments = parser.parse_args()
    on = device.choose(arguments.device)
    centroid, generator = around(), torch.Generator().manual_seed(1)
    check(drawn(centroid, GLOBAL, generator)[:150])
    check(drawn(centroid, SMALL, generator))

    def notebook(sigma, statistics=with_cdist):
        return lambda trials: [statistics(drawn(centroid, sigma, generator)) for _ in range(trials)]

    def ours(sigma):
        def run(trials):
            for trial in range(trials):
                tokens = snowball.sample(centroid, sigma, TOKENS, 1, trial)
                snowball.trial_statistics(tokens.to(on), EPSILON, 2 * EPSILON)

        return run

    compare(
        f"A trial of distinct vectors, σ = {GLOBAL}, {TOKENS:,} × {DIMENSIONS:,}, statistics on {device.describe(on)}",
        [
            Rival("notebook: torch.unique, two torch.cdist(p=inf)", notebook(GLOBAL)),
            Rival("the same with SciPy's pdist, once", notebook(GLOBAL, with_pdist)),
            Rival("ours", ours(GLOBAL)),
        ],
        n=1,
        rounds=arguments.rounds,
        warm_up=1,
    )
    for sigma, share in ((SMALL, 0.1), (1e-8, 0.02)):
        moving = int(snowball.movable(centroid, sigma).sum())
        compare(
            f"50 trials at σ = {sigma:g}, where {moving} of {DIMENSIONS:,} dimensions can move",
            [
                Rival("notebook: torch.unique, two torch.cdist(p=inf)", notebook(sigma), share=share),
                Rival("the same with SciPy's pdist, once", notebook(sigma, with_pdist), share=max(share, 0.1)),
                Rival("ours", ours(sigma)),
            ],
            n=50,
            rounds=arguments.rounds,
            warm_up=1,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nPeak memory of the process, including rivals: {peak:.2f} GB")


if __name__ == "__main__":
    main()
