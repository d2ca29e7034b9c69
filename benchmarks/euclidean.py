"""Euclidean matrix of an overdensity in memory: the notebook's chunks, other libraries, and ours (row C).

python benchmarks/euclidean.py [--tokens 20373] [--dimensions 2560] [--rounds 3]
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from _harness import Rival, compare
from blackholes.kernels import backends
from blackholes.kernels.distances import euclidean_blocks, euclidean_matrix
from scipy.linalg.blas import ssyrk
from scipy.spatial.distance import cdist

CHUNK = 40  # rows, the notebook's


def overdensity(N, D, seed=0):
    """bfloat16 (N, D): a tenth of the tokens in and around 13 holes, one cell apart; the others far away."""
    draw = torch.Generator().manual_seed(seed)
    vectors = (torch.randn(N, D, generator=draw) * 0.9 / D**0.5).bfloat16()
    near = torch.randperm(N, generator=draw)[: N // 10]
    vectors[near] = (torch.randn(D, generator=draw) * 0.166 / D**0.5).bfloat16()
    which = torch.randint(0, 26, (len(near),), generator=draw).clamp(max=D - 1)
    for hole in range(1, 13):
        vectors.view(torch.int16)[near[which >= hole], hole] += 1
    return vectors


def notebook(vectors, n):
    out = torch.empty(n, len(vectors))
    for start in range(0, n, CHUNK):
        differences = vectors[start : min(start + CHUNK, n), None] - vectors[None]
        out[start : start + CHUNK] = differences.norm(dim=-1)
    return out


def gram(vectors):
    norms = vectors.square().sum(1)
    return (norms[:, None] + norms - 2 * vectors @ vectors.T).clamp_(min=0).sqrt_()


def formula(vectors):
    with backends.torch_only():
        return euclidean_matrix(vectors)


def accuracy(vectors, rivals):
    """Print each method's errors, for the smallest and for the other distances of 1,000 tokens."""
    vectors = vectors[:1000]
    exact = torch.from_numpy(cdist(vectors.double(), vectors.double()))
    zero, near = exact == 0, (exact > 0) & (exact < 0.01 * exact.max())
    print("\n| method | largest relative error | the same below 1 % of the largest | wrong zeros |")
    print("|---|---:|---:|---:|")
    for name, run in rivals.items():
        distances = run(vectors if "ours" in name else vectors.float()).double()
        error = ((distances - exact) / exact.where(~zero, 1)).abs()
        wrong = int(((distances == 0) != zero).sum())
        print(f"| {name} | {error[~zero & ~near].max():.1e} | {error[near].max():.1e} | {wrong:,} of {zero.sum():,} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=20_373)
    parser.add_argument("--dimensions", type=int, default=2_560)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", action="store_true", help="run ours once and print this process's peak memory")
    arguments = parser.parse_args()
    vectors = overdensity(arguments.tokens, arguments.dimensions)
    if arguments.peak:
        euclidean_matrix(vectors)
        lines = Path("/proc/self/status").read_text().splitlines()  # getrusage would count the parent's memory too
        print(next(f"{int(line.split()[1]) * 1024 / 1e9:.2f}" for line in lines if line.startswith("VmHWM")))
        return

    wide, N = vectors.float(), len(vectors)
    exact = {"product, norms and root in float32": gram, "torch.cdist": lambda v: torch.cdist(v, v)}
    accuracy(vectors, exact | {"ours, plain torch formula": formula, "ours": euclidean_matrix})
    medians = compare(
        f"Euclidean, {N:,} × {vectors.shape[1]:,} bfloat16 → float32",
        [
            Rival("notebook: differences, 40 rows at a time", lambda n: notebook(wide, n), share=CHUNK / N),
            Rival("SciPy cdist, float64", lambda n: cdist(wide[:n], wide), share=CHUNK / N),
            Rival("product, norms and root in float32", lambda n: gram(wide[:n])),
            Rival("torch.cdist", lambda n: torch.cdist(wide[:n], wide[:n])),
            Rival("product alone: torch.mm in float32", lambda n: torch.mm(wide[:n], wide[:n].T)),
            Rival("half a product alone: SYRK in float32", lambda n: ssyrk(1.0, wide[:n].numpy().T, trans=1)),
            Rival("ours, in blocks, each pair twice", lambda n: [None for _ in euclidean_blocks(vectors[:n])]),
            Rival("ours", lambda n: euclidean_matrix(vectors[:n])),
        ],
        n=N,
        rounds=arguments.rounds,
    )
    ours = medians.pop("ours")
    product = next(seconds for name, seconds in medians.items() if "torch.mm" in name)
    sizes = (f"--tokens={arguments.tokens}", f"--dimensions={arguments.dimensions}")
    peak = subprocess.run([sys.executable, __file__, "--peak", *sizes], capture_output=True, text=True, check=True)
    print(
        f"\nOurs takes {ours / product:.2f} × the product alone; peak memory of its process: {peak.stdout.strip()} GB"
    )


if __name__ == "__main__":
    main()
