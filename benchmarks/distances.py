"""Chebyshev matrices of one run in memory: the notebook's loop, other libraries, and ours (row B).

python benchmarks/distances.py [--steps 10001] [--rounds 3]
"""

import argparse

import numpy as np
import torch
from _harness import Rival, compare, walking_tokens
from blackholes.kernels import backends, distances
from scipy.spatial.distance import pdist, squareform


def notebook(history, largest=lambda differences: differences.max(-1).values):
    out = torch.empty(*history.shape[:2], history.shape[1])
    for step, vectors in enumerate(history):
        vectors = vectors.float()
        out[step] = largest((vectors[:, None] - vectors[None]).abs())
    return out


def notebook_amax(history):
    """The same loop with amax, which does not compute the indices of the maxima."""
    return notebook(history, lambda differences: differences.amax(-1))


def cdist(history):
    vectors = history.float()
    return torch.cdist(vectors, vectors, p=float("inf"))


def scipy(history):
    out = np.empty((*history.shape[:2], history.shape[1]), np.float32)
    for step, vectors in enumerate(history.float().numpy()):
        out[step] = squareform(pdist(vectors, "chebyshev"))
    return torch.from_numpy(out)


def formula(history):
    with backends.torch_only():
        return distances.chebyshev_matrices(history)


def in_chunks(history, length=256):
    """As the workflow does: one buffer for all chunks, so that no new pages are allocated."""
    buffer = torch.empty(length, history.shape[1], history.shape[1])
    for start in range(0, len(history), length):
        chunk = history[start : start + length]
        distances.chebyshev_matrices(chunk, out=buffer[: len(chunk)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_001)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    history = walking_tokens(arguments.steps)

    expected = notebook(history[:50])
    for rival in (notebook_amax, cdist, scipy, formula, distances.chebyshev_matrices):
        assert torch.equal(rival(history[:50]), expected), rival.__name__

    compare(
        f"Chebyshev, {' × '.join(map(str, history.shape))} bfloat16 → float32",
        [
            Rival("notebook: broadcast and max, a step at a time, float32", lambda n: notebook(history[:n])),
            Rival("the same with amax, float32", lambda n: notebook_amax(history[:n])),
            Rival("torch.cdist(p=inf), all steps at once, float32", lambda n: cdist(history[:n])),
            Rival("SciPy pdist + squareform, float64, one thread", lambda n: scipy(history[:n])),
            Rival("ours, plain torch formula", lambda n: formula(history[:n])),
            Rival("ours, in cells", lambda n: distances.cell_matrices(history[:n])),
            Rival("ours, streamed in chunks of 256", lambda n: in_chunks(history[:n])),
            Rival("ours", lambda n: distances.chebyshev_matrices(history[:n])),
        ],
        n=len(history),
        rounds=arguments.rounds,
    )


if __name__ == "__main__":
    main()
