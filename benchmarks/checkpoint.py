"""All of row C, through Snakemake, on a synthetic checkpoint of Qwen3-4B's size in shards: seconds and memory.

python benchmarks/checkpoint.py [--tokens 151936] [--dimensions 2560] [--box 20373] [--cores 2] [--folder DIR]

13 holes of 2,100 tokens are planted, with tokens one cell beside them; what comes back is checked. The checkpoint has a
tokenizer of words. Seconds and largest resident memory of every job are Snakemake's own, start-up included; the whole
is the time from the command to its end, and the memory of all its processes together.
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

JOBS = {  # as Snakemake calls its benchmark → what it does
    "checkpoints/planted_read": "read the embedding from its shard",
    "checkpoints/planted_census": "census of equal rows",
    "checkpoints/planted_overdensity": "sphere and box",
    "checkpoints/planted_distances": "distances and their statistics",
    "checkpoints/planted_tokens": "every token explained and ranked",
    "figures/planted_checkpoint": "figures",
}
LIMITS = {"seconds": 120, "GB": 6}


def plant(folder: Path, tokens: int, dimensions: int, in_box: int) -> None:
    """A checkout, and a checkpoint beside it."""
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
    """Seconds of `snakemake checkpoints`, and the largest sum of its processes' resident memory, in GB."""
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
    said, _ = child.communicate()
    seconds = time.perf_counter() - began
    ended.set()
    watcher.join()
    if child.returncode:
        raise RuntimeError(said)
    return seconds, peak / 1e9


def family(pid: int) -> list[psutil.Process]:
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def check(folder: Path, tokens: int, in_box: int) -> None:
    """What was planted has come back."""
    from planted import HOLE_TOKENS, POPULATIONS, ZERO_PAIRS

    results = folder / "results/checkpoints/planted"
    census = json.loads((results / "census.json").read_text())
    found = [census[key] for key in ("tokens", "populations", "hole_tokens", "zero_pairs")]
    assert found == [tokens, POPULATIONS, HOLE_TOKENS, ZERO_PAIRS], found
    with open(results / "overdensity.csv", newline="") as file:
        statistics = {row["statistic"]: float(row["value"]) for row in csv.DictReader(file)}
    found = [statistics[key] for key in ("tokens", "pairs", "zeros")]
    assert found == [in_box, in_box * (in_box - 1) // 2, ZERO_PAIRS], found


def census_alone(folder: Path) -> float:
    """Seconds of the census of an embedding that is in memory."""
    from blackholes.checkpoints import census
    from blackholes.checkpoints import embedding as checkpoints

    W = checkpoints.read_embedding(folder / "results/checkpoints/planted/W.safetensors")
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
        print(f"\nRow C: {size}\n\n{machine()}, {arguments.cores} cores\n")
        print("| job | seconds | GB |\n|---|---:|---:|")
        for file, words in JOBS.items():
            with open(folder / "results/benchmarks" / f"{file}.tsv", newline="") as table:
                job = next(csv.DictReader(table, delimiter="\t"))
            print(f"| {words} | {float(job['s']):.1f} | {float(job['max_rss']) / 1000:.2f} |")
        print(f"| all of it, with Snakemake | {seconds:.1f} | {peak:.2f} |")
        print(f"| to be at most | {LIMITS['seconds']} | {LIMITS['GB']} |")
        print(f"\ncensus alone, of an embedding in memory: {census_alone(folder):.2f} s (at most 5)")


if __name__ == "__main__":
    main()
