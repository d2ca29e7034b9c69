"""Time and memory of all of row C, through Snakemake, on a synthetic sharded checkpoint of Qwen3-4B's size.

python benchmarks/checkpoint.py [--tokens 151936] [--dimensions 2560] [--box 20373] [--cores 2] [--folder DIR]

The checkpoint has 13 planted holes with 2,100 tokens, a token one cell beside each, and a tokenizer of words; the
results are checked. Time and largest resident memory of each job are Snakemake's, including start-up; the total is the
wall time of the command and the memory of all its processes together.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from _harness import machine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

JOBS = {  # name of Snakemake's benchmark file → description
    "checkpoints/planted_read": "read the embedding from its shard",
    "checkpoints/planted_census": "census of equal rows",
    "checkpoints/planted_overdensity": "spherical coordinates and box",
    "checkpoints/planted_distances": "distances and their statistics",
    "checkpoints/planted_tokens": "token table",
    "figures/planted_checkpoint": "figures",
}
LIMITS = {"seconds": 120, "GB": 6}


def plant(folder: Path, tokens: int, dimensions: int, in_box: int) -> None:
    """Create a checkout, and the checkpoint in it."""
    from e2e.checkout import Checkout
    from planted import BOX, HOLE_TOKENS, POPULATIONS, embedding, write_sharded
    from tokenizers import Tokenizer, models, pre_tokenizers

    Checkout.fresh(folder)
    W, _, inside = embedding(tokens, dimensions, cloud=in_box - HOLE_TOKENS - len(POPULATIONS))
    assert len(inside) == in_box
    write_sharded(folder / "model", W)
    words = Tokenizer(models.WordLevel({f"w{token}": token for token in range(tokens)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(folder / "model" / "tokenizer.json"))
    overlay = {
        "checkpoints": {"trained": False, "planted": {"path": "model", "box": BOX}},
        "snowballs": {"trained": False},
    }
    (folder / "overlay.json").write_text(json.dumps(overlay))


def run(folder: Path, cores: int) -> tuple[float, float]:
    """(seconds of `snakemake checkpoints`, peak of its processes' total resident memory in GB)."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", "overlay.json", "checkpoints"]
    command.insert(-1, "--")
    peak, ended = 0, threading.Event()
    began = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.1):
            total = 0
            for process in family(child.pid):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = child.communicate()
    seconds = time.perf_counter() - began
    ended.set()
    watcher.join()
    if child.returncode:
        raise RuntimeError(output)
    return seconds, peak / 1e9


def family(pid: int) -> list[psutil.Process]:
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def check(folder: Path, tokens: int, in_box: int) -> None:
    """Check that the results are those of the planted holes."""
    from planted import HOLE_TOKENS, POPULATIONS, ZERO_PAIRS

    results = folder / "results/checkpoints/planted"
    census = json.loads((results / "census.json").read_text())
    counts = [census[key] for key in ("tokens", "populations", "hole_tokens", "zero_pairs")]
    assert counts == [tokens, POPULATIONS, HOLE_TOKENS, ZERO_PAIRS], counts
    with open(results / "overdensity.csv", newline="") as file:
        statistics = {row["statistic"]: float(row["value"]) for row in csv.DictReader(file)}
    counts = [statistics[key] for key in ("tokens", "pairs", "zeros")]
    assert counts == [in_box, in_box * (in_box - 1) // 2, ZERO_PAIRS], counts


def census_alone(folder: Path) -> float:
    """Seconds of the census of an embedding in memory."""
    from blackholes.checkpoints import census, embedding

    W = embedding.read_embedding(folder / "results/checkpoints/planted/W.safetensors")
    census.holes(W[:1000])
    began = time.perf_counter()
    census.holes(W)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=151_936)
    parser.add_argument("--dimensions", type=int, default=2_560)
    parser.add_argument("--box", type=int, default=20_373, help="tokens in the box")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", help="where to write 3 GB; the disk matters (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        folder = Path(folder)
        plant(folder, arguments.tokens, arguments.dimensions, arguments.box)
        seconds, peak = run(folder, arguments.cores)
        check(folder, arguments.tokens, arguments.box)
        size = f"{arguments.tokens:,} × {arguments.dimensions:,} bfloat16, {arguments.box:,} tokens in the box"
        print(f"\nAll jobs of a checkpoint: {size}\n\n{machine()}, {arguments.cores} cores\n")
        print("| job | seconds | GB |\n|---|---:|---:|")
        for file, words in JOBS.items():
            with open(folder / "results/benchmarks" / f"{file}.tsv", newline="") as table:
                job = next(csv.DictReader(table, delimiter="\t"))
            print(f"| {words} | {float(job['s']):.1f} | {float(job['max_rss']) / 1000:.2f} |")
        print(f"| total, with Snakemake | {seconds:.1f} | {peak:.2f} |")
        print(f"| limit | {LIMITS['seconds']} | {LIMITS['GB']} |")
        print(f"\ncensus of an embedding in memory: {census_alone(folder):.2f} s (limit 5)")


if __name__ == "__main__":
    main()
