"""The torch engine: K runs with stacked parameters, on any device; on a GPU a step is replayed as one CUDA graph.

The kernels of one small model are too short to fill a GPU, and launching them takes longer than running them. Stacked
runs batch every product over the runs, and the graph launches a whole step at once. Nothing in a block waits for the
host. On other devices the same code runs eagerly.

What gives equal bytes. On one device, with the same versions and the same K, the same settings give the same bytes: on
a GPU only kernels that torch calls deterministic are used (others raise), the embedding's gradient is summed over
tokens by a product and not by atomic additions, float32 products do not use TF32; on a CPU torch runs with one thread.
No run's numbers enter another's. Another device or another K changes the order of sums, and so the last bits: cuBLAS
chooses tiles, and torch the split of its reductions, by the shape of the whole stack. tests/gpu measures by how much.
The engine therefore trains the runs of a job one by one on a CPU, where stacking gains nothing.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import BFloat16, Int
from torch import Tensor

from blackholes.kernels import forces, gpt2
from blackholes.training import model
from blackholes.training.forces import Recorder, step_bytes
from blackholes.training.interface import ALIGN, DTYPES, Block, Runs
from blackholes.training.rounded import optimizer
from blackholes.training.settings import RunSettings
from blackholes.training.windows import split_targets

_BLOCK_BYTES = 64e6  # most bytes of a block's snapshots; two blocks are held


class StackedRuns(Runs):
    """K runs; see Runs. The tensors of `state` are (K, …), but for the step counts, which the runs share.

    Args:
        token_ids: the corpus, integers (n,).
        settings: of each run; they may differ in `seed`, and in `forces`, which is one kind for those recorded.
        device: any; on CUDA, steps are captured in a graph.
        graph: False launches every kernel by itself on CUDA too; the bytes are the same.
    """

    def __init__(
        self,
        token_ids: np.ndarray,
        settings: Sequence[RunSettings],
        device: torch.device | str,
        graph: bool = True,
    ):
        if any(replace(one, seed=0, forces="") != replace(settings[0], seed=0, forces="") for one in settings):
            raise ValueError("runs that train together may differ only in their seed")
        recorded = [k for k, one in enumerate(settings) if one.forces != "none"]
        kinds = {settings[k].forces for k in recorded}
        if len(kinds) > 1:
            raise ValueError("of runs that train together all that are recorded have one kind of forces")
        self._device, self._settings = torch.device(device), settings[0]
        self._on_gpu = self._device.type == "cuda"
        if self._on_gpu:  # torch's condition for calling cuBLAS deterministic
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        shape, precision, K = self._settings.model, self._settings.precision, len(settings)
        drawn = [model.initialise(shape, one.init, one.seed) for one in settings]
        initial = {name: torch.stack([run[name] for run in drawn]) for name in drawn[0]}  # (K, *shape)
        self._kept = _Stack(initial, DTYPES[precision], self._device)
        self._used = _Stack(initial, torch.bfloat16, self._device) if precision == "mixed" else self._kept
        for weight in self._used.weights.values():
            weight.requires_grad_()
        for kept, used in zip(self._kept.flats, self._used.flats, strict=True):
            kept.grad = torch.zeros_like(kept)
            used.grad = kept.grad if used is kept else torch.zeros_like(used)
        self._optimizer = optimizer(settings, self._kept.flats, (self._settings.weight_decay, 0.0))
        flats = {f"parameters.{i}": flat for i, flat in enumerate(self._kept.flats)}
        self.state: dict[str, Tensor] = flats | self._optimizer.state

        self._corpus = torch.from_numpy(token_ids.astype(np.int32)).to(self._device)
        self._reach = torch.arange(shape.context + 1, device=self._device)
        snapshot = (K, shape.vocabulary_size, shape.width)
        kind = kinds.pop() if kinds else "none"
        step = 2 * np.prod(snapshot) + len(recorded) * step_bytes(self._settings, kind)  # bytes
        self.block_steps = int(max(1, min(256, _BLOCK_BYTES // step)))  # at most

        def rows(*row: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(2 * self.block_steps, *row, dtype=dtype, device=self._device)

        # Blocks use two halves of the buffers in turn: one is copied to the host while the next block runs
        self._starts = rows(K, self._settings.batch_size, dtype=torch.int64)
        self._rates, self._losses, self._norms = rows(), rows(K), rows(K)
        self._snapshots = rows(*snapshot, dtype=torch.bfloat16)
        self._recorder = None
        if recorded:
            embedding = self._kept.weights[model.EMBEDDING]
            self._recorder = Recorder(self._settings, kind, self._kept.flats[0], embedding, self._optimizer, recorded)
            self._recorded_runs = torch.tensor(recorded, device=self._device)
        self._forces: dict[str, Tensor] = {}
        self._row = torch.zeros(1, dtype=torch.int64, device=self._device)  # row of the next step in the buffers
        self._half = 1
        self._copied: list[torch.cuda.Event | None] = [None, None]
        self._copying: torch.cuda.Stream | None = None
        self._captures = graph and self._on_gpu
        self._graph: torch.cuda.CUDAGraph | None = None

    def weights(self, k: int) -> dict[str, Tensor]:
        return {name: weight.detach()[k] for name, weight in self._kept.weights.items()}

    def embeddings(self) -> BFloat16[Tensor, "K V D"]:
        return self._kept.weights[model.EMBEDDING].detach().to(torch.bfloat16, copy=True)

    def block(self, windows: Int[Tensor, "n K B"], rates: list[float]) -> Block:
        """As Runs.block. Raises ValueError where shapes do not fit or a window is outside the corpus."""
        n, context = len(rates), self._settings.model.context
        if windows.shape != (n, *self._starts.shape[1:]) or not 0 < n <= self.block_steps:
            expected = f"(n, {self._starts.shape[1]}, {self._starts.shape[2]}), n from 1 to {self.block_steps}"
            raise ValueError(f"windows {tuple(windows.shape)} for {n} learning rates; expected {expected}")
        if windows.min() < 0 or windows.max() >= len(self._corpus) - context:
            raise ValueError(f"a window starts outside 0 to {len(self._corpus) - context - 1}")
        if self._captures and self._graph is None:
            self._graph = self._capture()
        self._half = 1 - self._half
        start = self._half * self.block_steps
        rows = slice(start, start + n)
        if copied := self._copied[self._half]:
            torch.cuda.current_stream().wait_event(copied)
        for into, values in ((self._starts, windows), (self._rates, torch.tensor(rates, dtype=torch.float32))):
            into[rows].copy_(values.pin_memory() if self._on_gpu else values, non_blocking=self._on_gpu)
        self._row.fill_(start)
        for _ in range(n):
            self._graph.replay() if self._graph else self._step()
        self.recorded = {name: values[rows] for name, values in self._forces.items()}
        return self._losses[rows], self._norms[rows], self._snapshots[rows]

    def to_host(self, block: Block) -> Callable[[], Block]:
        if not self._on_gpu:
            losses, norms, snapshots = (values.to("cpu", copy=True) for values in block)
            return lambda: (losses, norms, snapshots)
        self._copying = self._copying or torch.cuda.Stream()
        self._copying.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._copying):
            losses, norms, snapshots = (values.to("cpu", non_blocking=True) for values in block)  # into pinned memory
            done = self._copied[self._half] = torch.cuda.Event()
            done.record()

        def wait() -> Block:
            done.synchronize()
            return losses, norms, snapshots

        return wait

    @torch.no_grad()
    def _step(self) -> None:
        """The step of row `_row`, for all runs; `_row` is advanced. Under capture no value may be read on the host."""
        starts, rate = self._starts.index_select(0, self._row)[0], self._rates.index_select(0, self._row)[0]
        chunk = self._corpus[starts.unsqueeze(-1) + self._reach].long()  # (K, B, T + 1)
        tokens, targets = split_targets(chunk, self._settings.target_offset)
        kept, used = self._kept, self._used
        if used is not kept:  # mixed: forward and backward use a bfloat16 copy
            for copy, flat in zip(used.flats, kept.flats, strict=True):
                copy.copy_(flat)
        repeatable = nullcontext() if self._device.type == "cpu" else _repeatable()  # its switches are the process's
        with repeatable, torch.enable_grad():
            seen: dict[str, Tensor] | None = {} if self._recorder else None
            heads, divisor = self._settings.model.heads, self._settings.divisor
            losses = gpt2.losses(used.weights, tokens, targets, heads, divisor, seen)
            gradients = torch.autograd.grad(losses.sum(), list(used.weights.values()))
        used.gather(gradients)
        norms = torch.stack([torch.linalg.vector_norm(flat.grad, dim=1, dtype=torch.float32) for flat in used.flats])
        norms = torch.linalg.vector_norm(norms, dim=0)  # (K,)
        factors = (self._settings.clip / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1)
        for flat, copy in zip(kept.flats, used.flats, strict=True):
            assert copy.grad is not None  # for mypy: set when these runs were made
            torch.mul(copy.grad, factors, out=flat.grad)
        self._update(rate, targets, seen)
        embeddings = kept.weights[model.EMBEDDING].to(torch.bfloat16)
        for into, values in ((self._losses, losses), (self._norms, norms), (self._snapshots, embeddings)):
            into.index_copy_(0, self._row, values.unsqueeze(0))
        self._row += 1

    def _update(self, rate: Tensor, targets: Tensor, seen: dict[str, Tensor] | None) -> None:
        """The optimizer's part of a step, with the forces where they are recorded. `seen`: as gpt2.losses leaves it."""
        if self._recorder is None or seen is None:
            return self._optimizer.update(rate)
        chosen = self._recorded_runs
        parts = [seen["logits"], seen["hidden"], targets.flatten(1)]
        if len(chosen) < len(targets):  # else no copy is needed
            parts = [part.index_select(0, chosen) for part in parts]
        output = forces.output_state(*parts)
        before = self._recorder.before(rate)
        self._optimizer.update(rate)
        for name, values in self._recorder.after(rate, before, output).items():
            if name not in self._forces:  # before a capture: the warm-up steps make them
                self._forces[name] = values.new_zeros(2 * self.block_steps, *values.shape)
            self._forces[name].index_copy_(0, self._row, values.unsqueeze(0))

    def _capture(self) -> "torch.cuda.CUDAGraph":
        """The step as a graph. Libraries need a few steps before a capture, to set themselves up; they are undone."""
        before = {name: value.clone() for name, value in self.state.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._row.zero_()
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self._step()
        for name, value in self.state.items():
            value.copy_(before[name])
        return graph


class _Stack:
    """Parameters of K models: flat buffers (K, P), one for the decayed, one for the rest, and named views (K, …)."""

    def __init__(self, initial: dict[str, Tensor], dtype: torch.dtype, device: torch.device):
        spans, ends = {}, [0, 0]
        for name, value in initial.items():
            kind, size = 0 if model.decays(name) else 1, value[0].numel()
            spans[name] = (kind, slice(ends[kind], ends[kind] + size))
            ends[kind] += -(-size // ALIGN) * ALIGN
        K = len(initial[model.EMBEDDING])
        self.flats = [torch.zeros(K, end, dtype=dtype, device=device) for end in ends]
        self.weights = {}
        for name, (kind, span) in spans.items():
            self.weights[name] = self.flats[kind][:, span].view(initial[name].shape)
            self.weights[name].copy_(initial[name])
        self._kinds = [kind for kind, _ in spans.values()]
        gaps = [-value[0].numel() % ALIGN for value in initial.values()]
        self._padding = [torch.zeros(K, gap, dtype=dtype, device=device) for gap in gaps]

    def gather(self, gradients: Sequence[Tensor]) -> None:
        """Write the gradients of `weights`, in that order, into each flat buffer's `grad`, with one kernel for each."""
        for kind, flat in enumerate(self.flats):
            pieces = []
            for own, gradient, padding in zip(self._kinds, gradients, self._padding, strict=True):
                if own == kind:
                    pieces += [gradient.flatten(1), padding] if padding.numel() else [gradient.flatten(1)]
            torch.cat(pieces, 1, out=flat.grad)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Only deterministic kernels, and no sum in less than float32."""
    products = torch.backends.cuda.matmul
    memory: Any = torch.utils.deterministic  # mypy does not see its attribute
    before = products.allow_tf32, products.allow_bf16_reduced_precision_reduction
    mode, fill = torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    products.allow_tf32 = products.allow_bf16_reduced_precision_reduction = False
    torch.set_deterministic_debug_mode("error")
    memory.fill_uninitialized_memory = False  # would launch a kernel for each new tensor
    try:
        yield
    finally:
        products.allow_tf32, products.allow_bf16_reduced_precision_reduction = before
        torch.set_deterministic_debug_mode(mode)
        memory.fill_uninitialized_memory = fill
