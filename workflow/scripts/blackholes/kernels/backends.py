"""One formula, two backends: plain torch on any device, and compiled loops for tensors on the CPU.

numba compiles the loops, so no C compiler is needed. docs/kernels.md says for each kernel whether the two backends are
equal to the bit, and which test checks it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Result = TypeVar("Result")
_torch_only = False


@contextmanager
def torch_only() -> Iterator[None]:
    """Within this context the torch formulas are used for tensors on the CPU too, in every thread. For tests."""
    global _torch_only
    before, _torch_only = _torch_only, True
    try:
        yield
    finally:
        _torch_only = before


def compiled(tensor: Tensor) -> bool:
    """Whether the compiled loops serve `tensor`: those on the CPU, except within `torch_only`."""
    return tensor.device.type == "cpu" and not _torch_only


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this context torch uses one thread: for operators whose last bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_threads(work: Callable[[int, int], Result], n: int, least: int = 1) -> list[Result]:
    """Call `work(start, stop)` on ranges that cover 0 … n, in up to torch.get_num_threads() threads.

    A thread gets at least `least` items: to start one takes as long as some 100,000 additions. `work` should release
    the GIL and must not call torch operators, which start threads of their own. Returns the results in the order of
    the ranges.
    """
    threads = min(torch.get_num_threads(), n // least)
    if threads <= 1:
        return [work(0, n)]
    pieces = min(n, 4 * threads)  # more ranges than threads, to balance the load
    cuts = [n * piece // pieces for piece in range(pieces + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, cuts[:-1], cuts[1:]))


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """As torch.empty. On the CPU numpy allocates: it asks for huge pages, which halves the cost of first touch."""
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(shape, str(dtype).removeprefix("torch.")))


def block_length(bytes_each: int, device: torch.device) -> int:
    """How many items of `bytes_each` a torch formula processes at once: 1 MiB on a CPU (cache), 256 MiB on a GPU."""
    return max(1, (1 << 20 if device.type == "cpu" else 1 << 28) // max(1, bytes_each))
