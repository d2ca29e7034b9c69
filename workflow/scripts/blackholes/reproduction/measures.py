"""Each published quantity as our runs have it: for every run a number, or one for each step of a curve.

The definitions are those of the notebooks that printed the numbers, which `published.csv` names.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from blackholes.kernels import chebyshev, components, euclidean
from blackholes.reproduction.measured import Runs
from blackholes.reproduction.published import Value
from blackholes.runs.black_holes import increases

Measure = Callable[[Runs, Value], Float[np.ndarray, "R ..."]]
NEAR = 0.01  # Euclidean distance below which box 2's notebooks call two tokens adjacent
TURNED = 0.9999  # cosine below which they call a token distinguishable; after rounding to bfloat16: 0.998 and less
HERO = 38  # "&", the dead token that they measure cosines from
LOGGED = 100  # steps that a logged loss is the mean of, where no curve says it


def _series(kind: str, key: str) -> Measure:
    """A series of a file at a step, or at each step of a curve."""

    def measure(runs: Runs, value: Value) -> np.ndarray:
        points = [runs.series(kind, key, step, step)[:, 0] for step in value.points]
        return np.stack(points, 1) if value.form == "curve" else points[0]

    return measure


def _logged(column: str) -> Measure:
    def measure(runs: Runs, value: Value) -> np.ndarray:
        found = runs.logged(column, 1, value.points[-1])[:, np.array(value.points) - 1]
        return found if value.form == "curve" else found[:, 0]

    return measure


def _loss(runs: Runs, value: Value) -> np.ndarray:
    """The mean of the steps since the last point, as the Trainer logs it; it divides as `loss_divisor` says."""
    points = value.points
    length = points[0] if value.form == "curve" else LOGGED
    losses = runs.logged("loss", 1, points[-1])
    means = np.stack([losses[:, step - length : step].mean(1) for step in points], 1)
    return means if value.form == "curve" else means[:, 0]


def _mean_loss(runs: Runs, value: Value) -> np.ndarray:
    return runs.logged("loss", value.first, value.last).mean(1)


def _tokens_a_hole(runs: Runs, value: Value) -> np.ndarray:
    """0 where a run has no hole, as published."""
    holes, population = (runs.series("counts", key, value.first, value.last) for key in ("counts", "populations"))
    return np.divide(population, holes, out=np.zeros_like(holes), where=holes > 0).mean(1)


def _increases(runs: Runs, value: Value) -> np.ndarray:
    return np.array([float(len(increases(holes))) for holes in runs.rows("counts", "counts", 0, value.last)])


def _duplicates(runs: Runs, value: Value) -> np.ndarray:
    return len(runs.corpus.dead) - runs.series("counts", "n_unique", value.first, value.last)


def _first_with_50(runs: Runs, value: Value) -> np.ndarray:
    """The first step with 50 duplicates; NaN for a run that ends before."""
    steps = runs.series("counts", "n_unique", 0, runs.steps) == len(runs.corpus.dead) - 50
    return np.where(steps.any(1), steps.argmax(1), np.nan)


def _spread_of_norms(runs: Runs, value: Value) -> np.ndarray:
    """Theirs divides by V − 1, the stored series by V."""
    V = len(runs.corpus.dead)
    return np.sqrt(V / (V - 1)) * runs.series("geometry", "token_norm_std", value.last, value.last)[:, 0]


def _second_cluster(runs: Runs, value: Value) -> np.ndarray:
    """0 where all tokens are one cluster."""
    labels = runs.rows("graphs", "touching.labels", value.last, value.last)
    return np.array([float(np.sort([0, *np.bincount(rows[0])])[-2]) for rows in labels])


def _of_dead(count: Callable[[np.ndarray], float]) -> Measure:
    """The mean over steps of a count, of the sizes (n,) of the groups of dead tokens with equal vectors."""

    def measure(runs: Runs, value: Value) -> np.ndarray:
        of_runs = runs.dead_labels(value.first, value.last)
        sizes = lambda labels: np.unique(labels, return_counts=True)[1]  # noqa: E731
        return np.array([np.mean([count(sizes(labels)) for labels in rows]) for rows in of_runs])

    return measure


def _of_vectors(function: Callable[[Tensor, Runs], Tensor | float]) -> Measure:
    """A function of the embedding in float32 (V, D) at a step, or at each step of a curve."""

    def measure(runs: Runs, value: Value) -> np.ndarray:
        points = [[float(function(vectors.float(), runs)) for vectors in runs.vectors(step)] for step in value.points]
        return np.array(points).T if value.form == "curve" else np.array(points[0])

    return measure


def _spread_from_centroid(vectors: Tensor, runs: Runs) -> float:
    return (vectors - vectors.mean(0)).norm(dim=1).std().item()


def _between_dead(fold: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Runs], float]:
    """Of the Chebyshev distances of all pairs of dead tokens."""

    def measure(vectors: Tensor, runs: Runs) -> float:
        distances = chebyshev.chebyshev_matrices(vectors[torch.from_numpy(runs.corpus.dead)])
        i, j = torch.triu_indices(len(distances), len(distances), offset=1)
        return fold(distances[i, j]).item()

    return measure


def _near(fold: Callable[[np.ndarray], float]) -> Callable[[Tensor, Runs], float]:
    """Of the sizes of the clusters of tokens within a Euclidean distance of NEAR, descending."""
    return lambda vectors, runs: fold(_sizes(euclidean.euclidean_matrix(vectors) < NEAR))


def _classes(vectors: Tensor, runs: Runs) -> float:
    """Groups of tokens linked by cosines that are 1 when rounded to bfloat16."""
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    return len(_sizes((unit @ unit.T).bfloat16() >= 1))


def _sizes(adjacency: Tensor) -> np.ndarray:
    labels = components.labels(adjacency[None])[0].numpy()
    return np.sort(np.unique(labels, return_counts=True)[1])[::-1]


def _turning(fold: Callable[[np.ndarray], float]) -> Measure:
    """Of the first steps at which live tokens have turned from HERO, those of the tokens that do so."""

    def measure(runs: Runs, value: Value) -> np.ndarray:
        live = torch.from_numpy(~runs.corpus.dead)
        return np.array([fold(_first_turns(blocks, live)) for blocks in runs.snapshots(value.last)])

    return measure


def _first_turns(blocks, live: Tensor) -> np.ndarray:
    first, start = np.full(int(live.sum()), -1), 0
    for block in blocks:
        unit = torch.nn.functional.normalize(block.float(), dim=2)  # (s, V, D)
        cosines = (unit[:, live] @ unit[:, HERO, :, None])[..., 0].bfloat16().float()  # (s, live)
        turned = (cosines < TURNED).numpy()
        new = turned.any(0) & (first < 0)
        first[new] = start + turned.argmax(0)[new]
        start += len(block)
    return first[first >= 0]


def _step_of(fold: Callable[[np.ndarray], float]) -> Measure:
    """NaN for a run in which no token turns."""
    return _turning(lambda steps: fold(steps) if len(steps) else np.nan)


_PER_RUN = 16  # runs of which a sum was published

# published quantity → (runs, value) → its value in every run
MEASURES: dict[str, Measure] = {
    "training loss": _loss,
    "mean training loss": _mean_loss,
    "loss of one step": _logged("loss"),
    "gradient norm": _logged("grad_norm"),
    "learning rate": _logged("learning_rate"),
    "centroid norm": _series("geometry", "centroid_norm"),
    "centroid distance": _series("geometry", "centroid_distance"),
    "smallest token norm": _series("geometry", "token_norm_min"),
    "largest token norm": _series("geometry", "token_norm_max"),
    "mean token norm": _series("geometry", "token_norm_mean"),
    "spread of token norms": _spread_of_norms,
    "spread of distances from the centroid": _of_vectors(_spread_from_centroid),
    "mean norm of dead tokens": _of_vectors(
        lambda vectors, runs: vectors[torch.from_numpy(runs.corpus.dead)].norm(dim=1).mean()
    ),
    "mean Euclidean distance": _of_vectors(lambda vectors, runs: euclidean.euclidean_matrix(vectors).mean()),
    "mean Chebyshev distance": _of_vectors(lambda vectors, runs: chebyshev.chebyshev_matrices(vectors).mean()),
    "largest Chebyshev distance of dead tokens": _of_vectors(_between_dead(torch.max)),
    "mean Chebyshev distance of dead tokens": _of_vectors(_between_dead(torch.mean)),
    "distinct vectors": _series("counts", "n_unique"),
    "duplicates": lambda runs, value: _duplicates(runs, value)[:, 0],
    "first step with 50 duplicates": _first_with_50,
    "steps with 50 duplicates": lambda runs, value: (_duplicates(runs, value) == 50).sum(1).astype(float),
    "touching clusters": _series("graphs", "touching.n_components"),
    "largest touching cluster": _series("graphs", "touching.largest_component_size"),
    "second touching cluster": _second_cluster,
    "isolated tokens": _series("graphs", "touching.n_isolated"),
    "black holes": _series("counts", "counts"),
    "mean of black holes": _series("counts", "counts"),
    "tokens in black holes": _series("counts", "populations"),
    "tokens a black hole": _tokens_a_hole,
    "mean tokens a black hole": _tokens_a_hole,
    "largest black hole": _series("counts", "largest_bh_size"),
    "increases of the number of black holes": _increases,
    "increases in all runs": lambda runs, value: _PER_RUN * _increases(runs, value),
    "black holes among dead tokens": _of_dead(lambda sizes: (sizes >= 2).sum()),
    "mean black holes among dead tokens": _of_dead(lambda sizes: (sizes >= 2).sum()),
    "five or more black holes among dead tokens": _of_dead(lambda sizes: (sizes >= 2).sum() >= 5),
    "largest black hole among dead tokens": _of_dead(lambda sizes: sizes.max()),
    "distinct vectors among dead tokens": _of_dead(len),
    "clusters within 0.01": _of_vectors(_near(len)),
    "largest cluster within 0.01": _of_vectors(_near(lambda sizes: sizes[0])),
    "isolated beyond 0.01": _of_vectors(_near(lambda sizes: (sizes == 1).sum())),
    "classes of direction": _of_vectors(_classes),
    "live tokens that turn away": _turning(len),
    "step of turning away, first": _step_of(np.min),
    "step of turning away, median": _step_of(np.median),
    "step of turning away, last": _step_of(np.max),
}
