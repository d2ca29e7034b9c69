"""Rivals timed in turn in one process (A B A B) after a warm-up; medians and peak memory as a Markdown table."""

import ctypes
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow" / "scripts"))


@dataclass
class Rival:
    """`run(n)` does the work on the first n items; a `share` below 1 of them is timed and the time scaled up.

    A share is for work that is the same for every item and would take hours; the table says which rows have one.
    """

    name: str
    run: Callable[[int], object]
    share: float = 1.0


def compare(title: str, rivals: list[Rival], n: int, rounds: int = 3, warm_up: int = 64) -> dict[str, float]:
    """Print the median times of `rivals` on `n` items, with ratios to the last rival; return the medians.

    The peak memory is what a rival's process takes beyond what it held before, the largest of the rounds.
    """
    memory = {rival.name: 0.0 for rival in rivals}
    times: dict[str, list[float]] = {rival.name: [] for rival in rivals}
    items = {rival.name: max(1, round(n * rival.share)) for rival in rivals}
    for rival in rivals:
        rival.run(min(warm_up, items[rival.name]))
    for _ in range(rounds):
        for rival in rivals:
            held = _forget_peak()
            start = time.perf_counter()
            result = rival.run(items[rival.name])
            times[rival.name].append((time.perf_counter() - start) * n / items[rival.name])
            memory[rival.name] = max(memory[rival.name], _memory("VmHWM") - held)
            del result  # so that the next rival has the same free memory
    medians = {name: median(values) for name, values in times.items()}
    ours = medians[rivals[-1].name]
    print(f"\n{title}: medians of {rounds}\n\n{machine()}\n")
    print("| method | seconds | ratio | spread | peak memory (MB) |\n|---|---:|---:|---|---:|")
    for rival in rivals:
        values, taken = times[rival.name], items[rival.name]
        note = f" (on {taken:,} of {n:,}, scaled)" if taken < n else ""
        spread = f"{min(values):.3g} to {max(values):.3g}"
        ratio, peak = medians[rival.name] / ours, memory[rival.name]
        print(f"| {rival.name}{note} | {medians[rival.name]:.3g} | {ratio:.1f} | {spread} | {peak:,.0f} |")
    return medians


def _forget_peak() -> float:
    """Give freed memory back to the system and start the peak anew; what this process holds, in MB."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(kind: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(kind))


def walking_tokens(steps: int, V: int = 128, D: int = 64, seed: int = 0):
    """A bfloat16 history (steps, V, D) like a trained one: all tokens start equal, odd tokens drift away, even tokens
    stay equal except for an eighth of them, which scatter within a few cells."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(D, generator=generator)
    history = torch.empty(steps, V, D, dtype=torch.bfloat16)
    together = start + torch.randn(steps, 1, D, generator=generator).mul_(1e-3).cumsum_(0)
    history[:, ::2] = together.bfloat16()
    history[:, 1::2] = (start + torch.randn(steps, V // 2, D, generator=generator).mul_(0.01).cumsum_(0)).bfloat16()
    scattered = history[:, ::16]
    history[:, ::16] = (scattered.float() * (1 + 2**-8 * torch.randn(scattered.shape, generator=generator))).bfloat16()
    history[0] = start.bfloat16()
    return history


def machine() -> str:
    import torch

    names = [line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy", "numba"))
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{processor}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {libraries}"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
