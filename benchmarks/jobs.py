"""Whole jobs of one published run, from file to file, compared with `dd` writing as many bytes.

python benchmarks/jobs.py [--steps 10001] [--rounds 3] [--folder DIR]

Each job is a separate process with two threads, as in the workflow. Start-up (Python, torch, loading numba's compiled
loops) is measured with the same process on a history of two steps, and subtracted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from _harness import machine, walking_tokens
from blackholes.artifacts.tensors import write_tensors

SCRIPTS = Path(__file__).resolve().parent.parent / "workflow" / "scripts"
JOBS = {  # run in the folder of the history
    "distances": "from blackholes.runs import distances; "
    "distances.write_chebyshev('history.safetensors', 'distances.safetensors')",
    "black holes, geometry, graphs of three adjacencies": "from blackholes.runs.statistics import Outputs, write; "
    "from blackholes.config.model import ADJACENCY; "
    "rules = {name: rule.model_dump() for name, rule in ADJACENCY.items()}; "
    "files = Outputs('counts.safetensors', 'events.csv', 'geometry.safetensors', 'graphs.safetensors'); "
    "write('history.safetensors', rules, files)",
}
OUTPUTS = {
    "distances": ["distances.safetensors"],
    "black holes, geometry, graphs of three adjacencies": [
        "counts.safetensors",
        "events.csv",
        "geometry.safetensors",
        "graphs.safetensors",
    ],
}


def process(command: list[str], folder: str | Path, threads: int = 2) -> tuple[float, float]:
    """(seconds, peak memory in MB) of a process that ran in `folder`.

    The peak is the kernel's VmHWM, read ten times a second; wait4 would never report less than this process's own.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(SCRIPTS)}
    began = time.perf_counter()
    child = subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.DEVNULL)
    peak, ended = [0.0], threading.Event()
    watch = threading.Thread(target=_watch, args=(child.pid, peak, ended))
    watch.start()
    status = child.wait()
    seconds = time.perf_counter() - began
    ended.set()
    watch.join()
    if status:
        raise RuntimeError(f"{command} ended with status {status}")
    return seconds, peak[0]


def _watch(pid: int, peak: list[float], ended: threading.Event) -> None:
    while not ended.wait(0.1):
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            line = next(line for line in lines if line.startswith("VmHWM"))
            peak[0] = max(peak[0], int(line.split()[1]) * 1.024e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_001)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to write; the disk matters (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        whole, start_up = Path(folder, "whole"), Path(folder, "start_up")
        for place, steps in ((whole, arguments.steps), (start_up, 2)):
            place.mkdir()
            write_tensors(place / "history.safetensors", {"embedding_history": walking_tokens(steps)})
        megabytes = -(-4 * arguments.steps * 128**2 // 2**20)
        zeros = ["dd", "if=/dev/zero", "of=zeros", "bs=1M", f"count={megabytes}", "conv=fsync"]

        def job(name: str, place: Path) -> tuple[float, float]:
            return process([sys.executable, "-c", JOBS[name]], place)

        for name in JOBS:
            job(name, start_up)  # compiles the loops and caches them
        times: dict[str, list] = {name: [] for name in ("dd", *JOBS)}
        for _ in range(arguments.rounds):
            times["dd"].append((process(zeros, folder)[0], 0.0, 0.0))
            Path(folder, "zeros").unlink()
            for name in JOBS:
                for place in (start_up, whole):
                    for output in OUTPUTS[name]:  # Snakemake deletes outputs before a job, too
                        Path(place, output).unlink(missing_ok=True)
                idle, (seconds, memory) = job(name, start_up)[0], job(name, whole)
                times[name].append((seconds - idle, idle, memory))
    medians = {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    print(f"\nJobs of one run of {arguments.steps:,} steps: medians of {arguments.rounds}\n\n{machine()}\n")
    print("| job | seconds without start-up | start-up | ratio to dd | peak memory (MB) |\n|---|---:|---:|---:|---:|")
    dd = medians.pop("dd")[0]
    print(f"| `dd` of {megabytes} MiB, flushed | {dd:.2f} | | 1.00 | |")
    for name, (seconds, idle, memory) in medians.items():
        print(f"| {name} | {seconds:.2f} | {idle:.2f} | {seconds / dd:.2f} | {memory:,.0f} |")


if __name__ == "__main__":
    main()
