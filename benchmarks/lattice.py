"""Motion on the lattice: the notebook's expressions and ours in memory; ours from file to file, compared with `dd`.

Ours also computes, and stores in the file, the displacement in cells, which the notebook has not.

python benchmarks/lattice.py [--slice 120] [--rounds 3] [--steps 6001 --tokens 10000] [--history FILE] [--folder DIR]

By default the file has a tenth of the steps of the full thimble history; `--steps 6001` is all of it, with 7.7 GB to
read and 20 GB to write. It is made in a temporary folder and deleted. `dd` reads and writes as many bytes.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import torch
from _harness import Rival, compare, machine
from blackholes.artifacts.histories import KEY
from blackholes.artifacts.tensors import TensorWriter, write_tensors
from blackholes.kernels import lattice
from jobs import process

D = 64
JOB = (
    "from blackholes.lattice import displacements; import sys; "
    "names = displacements.Outputs.__annotations__; "
    "displacements.write(sys.argv[1], displacements.Outputs(*names))"
)


def motion(steps: int, V: int, seed: int = 0):
    """Snapshots like a training run's, 50 steps (50, V, D) at a time: displacements shrink, and two fifths of the
    tokens, the dead ones, stop moving after a tenth of the steps."""
    generator = torch.Generator().manual_seed(seed)
    W = 0.02 * torch.randn(V, D, generator=generator)
    dead = torch.arange(V) % 5 < 2
    for start in range(0, steps, 50):
        n = min(50, steps - start)
        moves = torch.randn(n, V, D, generator=generator) * (1e-3 * (1 - start / steps))
        moves[:, dead] *= max(0.0, 1 - 10 * start / steps)
        path = W + moves.cumsum_(0)
        yield path.bfloat16()
        W = path[-1]


def notebook(W: torch.Tensor):
    """The notebook's expressions for one slice: displacement, ULP, crossings, norms, counts."""
    before, after = W[:-1], W[1:]
    size = before.abs()
    U = (torch.nextafter(size, size + 1) - size).float()  # 0 from 256 up
    U = torch.where(before == 0, 2.0**-126, U)
    delta_W = after.float() - before.float()
    delta_W_prime = delta_W / U
    exponents = torch.frexp(W.float()).exponent
    crossings = exponents[1:] != exponents[:-1]
    fraction = (delta_W_prime - delta_W_prime.round()).abs()
    counts = [fraction == 0, (fraction > 0) & (fraction < 1e-6), fraction == 0.5, delta_W_prime.abs() > 2**24, W == 0]
    counts = [int(kind.sum()) for kind in [*counts, crossings]]
    norms = [delta_W_prime.abs().sum(2), delta_W_prime.norm(dim=2), delta_W_prime.abs().amax(2), delta_W.norm(dim=2)]
    limits = [delta_W_prime.min(), delta_W_prime.max(), U.min(), U.max()]
    return delta_W_prime.round().int(), crossings, norms, counts, limits


def in_memory(snapshots: int, V: int, rounds: int) -> None:
    W = torch.cat(list(motion(snapshots, V)))
    displacements = torch.empty((snapshots - 1, V, D), dtype=torch.int32)
    cells = torch.empty(displacements.shape, dtype=torch.int16)
    crossings = torch.empty(displacements.shape, dtype=torch.bool)

    def ours(n: int):
        return lattice.transitions(W[: n + 1], displacements[:n], crossings[:n], ordinals=cells[:n])

    transitions, (delta, crossed, norms, counts, limits) = ours(snapshots - 1), notebook(W)
    assert torch.equal(delta, displacements)
    assert torch.equal(crossed, crossings)
    named = ("L1_delta_W_prime", "L2_delta_W_prime", "Linf_delta_W_prime", "L2_delta_W")
    for name, theirs in zip(named, norms, strict=True):
        torch.testing.assert_close(transitions.norms[lattice.NORMS.index(name)], theirs, rtol=1e-5, atol=0)
    totals = dict(zip(lattice.COUNTS, transitions.counts.sum(0).tolist(), strict=True))
    assert (counts[5], counts[2]) == (totals["crossings"], totals["half"])
    assert [limits[0], limits[1]] == [transitions.extremes[:, 0].min(), transitions.extremes[:, 1].max()]
    del delta, crossed, norms
    compare(
        f"Displacement, ULP, crossings, norms and counts in memory, {snapshots:,} × {V:,} × {D}",
        [Rival("the notebook's expressions", lambda n: notebook(W[: n + 1])), Rival("ours", ours)],
        n=snapshots - 1,
        rounds=rounds,
        warm_up=10,
    )


def whole_file(folder: Path, history: Path | None, steps: int, V: int) -> None:
    if history is None:
        history = folder / "history.safetensors"
        with TensorWriter(history, {KEY: (torch.bfloat16, (steps, V, D)), "dead_mask": (torch.bool, (V,))}) as writer:
            writer.append("dead_mask", torch.arange(V) % 5 < 2)
            for snapshots in motion(steps, V):
                writer.append(KEY, snapshots)
    start_up = folder / "start_up.safetensors"
    write_tensors(start_up, {KEY: next(motion(3, 10))})
    command = [sys.executable, "-c", JOB]
    process([*command, str(start_up)], folder)  # compiles the loops and caches them
    idle, _ = process([*command, str(start_up)], folder)
    seconds, memory = process([*command, str(history)], folder)
    written = sum((folder / name).stat().st_size for name in lattice_outputs())
    read_back = history.stat().st_size
    for name in lattice_outputs():
        (folder / name).unlink()
    megabytes = -(-written // 2**20)
    read, _ = process(["dd", f"if={history}", "of=/dev/null", "bs=8M"], folder)
    write, _ = process(["dd", "if=/dev/zero", "of=zeros", "bs=1M", f"count={megabytes}", "conv=fsync"], folder)
    os.unlink(folder / "zeros")
    print(f"\nA whole file: {read_back / 1e9:.2f} GB read, {written / 1e9:.2f} GB written\n\n{machine()}\n")
    print("| job | seconds | ratio to dd | peak memory (MB) |\n|---|---:|---:|---:|")
    print(f"| `dd` reads the input, writes as much as the outputs, flushed | {read:.1f} + {write:.1f} | 1.00 | |")
    ratio = seconds / (read + write)
    print(f"| ours, including {idle:.1f} s start-up | {seconds:.1f} | {ratio:.2f} | {memory:,.0f} |")


def lattice_outputs() -> list[str]:
    from blackholes.lattice.displacements import Outputs

    return list(Outputs.__annotations__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slice", type=int, default=120, help="snapshots in memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=601, help="snapshots in the whole file")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--history", type=Path, help="an existing history instead of a synthetic one")
    parser.add_argument("--folder", help="where to write; the disk matters (default: a temporary folder)")
    arguments = parser.parse_args()
    in_memory(arguments.slice, arguments.tokens, arguments.rounds)
    history = arguments.history and arguments.history.resolve()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        whole_file(Path(folder), history, arguments.steps, arguments.tokens)


if __name__ == "__main__":
    main()
