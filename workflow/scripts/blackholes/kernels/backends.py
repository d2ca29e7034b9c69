"""One formula, two backends: plain torch on any device, and compiled loops for tensors on the CPU.

The two agree to the bit; tests compare them. numba compiles the loops through LLVM, so no compiler is needed;
it is imported when the first tensor on the CPU arrives, and where it is missing the torch formula serves.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Result = TypeVar("Result")
_torch_only = False


@contextmanager
def torch_only() -> Iterator[None]:
    """Within this context the torch formulas serve tensors on the CPU too, in every thread."""
    global _torch_only
    before, _torch_only = _torch_only, True
    try:
        yield
    finally:
        _torch_only = before


def compiled(tensor: Tensor) -> ModuleType | None:
    """The module of compiled loops if it can serve `tensor`, or None where the torch formula has to."""
    if _torch_only or tensor.device.type != "cpu":
        return None
    try:
        import blackholes.kernels.compiled.loops as loops
    except ImportError:
        return None
    return loops


def in_threads(work: Callable[[int, int], Result], n: int, least: int = 1) -> list[Result]:
    """Call `work(start, stop)` on ranges that cover 0 … n, in torch.get_num_threads() threads.

    `least` items are worth the start of a thread, which takes as long as some hundred thousand additions.
    `work` has to release the GIL to gain anything and must not call torch operators, which start threads of
    their own. Results come in the order of the ranges.
    """
    threads = min(torch.get_num_threads(), n // least)
    if threads <= 1:
        return [work(0, n)]
    pieces = min(n, 4 * threads)  # more ranges than threads: a thread that is held up costs a quarter of its share
    cuts = [n * piece // pieces for piece in range(pieces + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, cuts[:-1], cuts[1:]))


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """As torch.empty; on the CPU numpy allocates, which asks for huge pages: first touch costs half as much."""
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(shape, str(dtype).removeprefix("torch.")))


def block_length(bytes_each: int, device: torch.device) -> int:
    """How many items of `bytes_each` a torch formula takes at once: what a core's cache, or a GPU, has room for."""
    return max(1, (1 << 20 if device.type == "cpu" else 1 << 28) // max(1, bytes_each))
