"""The compiled engine: one run on a CPU, with hand-written gradients on flat buffers.

Under `precision: bf16` parameters, gradients and the optimizer's state are bfloat16, as in the notebooks: there Adam's
second moment, with 8 bits, cannot decay by 0.1 % a step. Under `mixed` parameters and state are float32, and a bfloat16
copy of the parameters is used in the forward and the backward pass. Arithmetic within an operation is float32.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import BFloat16, Int
from torch import Tensor

from blackholes.training import cpu_step, model
from blackholes.training.forces import Recorder
from blackholes.training.interface import ALIGN, DTYPES, Block, Runs
from blackholes.training.optimizer import clip
from blackholes.training.rounded import optimizer
from blackholes.training.settings import RunSettings
from blackholes.training.windows import split_targets


class Parameters:
    """Weights and gradients: flat buffers (one for the decayed, one for the rest) and named views of them."""

    def __init__(self, initial: dict[str, Tensor], dtype: torch.dtype):
        spans, ends = {}, [0, 0]
        for name, value in initial.items():
            kind = 0 if model.decays(name) else 1
            spans[name] = (kind, ends[kind])
            ends[kind] += -(-value.numel() // ALIGN) * ALIGN
        self.flat = [torch.zeros(end, dtype=dtype) for end in ends]
        self.flat_gradients = torch.zeros(sum(ends), dtype=dtype)
        halves = self.flat_gradients.split(ends)
        self.weights: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}
        for name, value in initial.items():
            kind, start = spans[name]
            for views, flat in ((self.weights, self.flat), (self.gradients, halves)):
                views[name] = flat[kind][start : start + value.numel()].view(value.shape)
            self.weights[name].copy_(value)
        for flat, gradients in zip(self.flat, halves, strict=True):
            flat.grad = gradients


class CpuRun(Runs):
    """One run (K = 1); see Runs.

    Args:
        token_ids: the corpus, integers (n,).
        settings: of one run, in a list.
        threads: most CPU threads to use; no more than `batch_split` of the settings are of use.
    """

    block_steps = 32  # enough to make the work between blocks negligible

    def __init__(self, token_ids: np.ndarray, settings: Sequence[RunSettings], threads: int = 1):
        (own,) = settings
        shape, precision = own.model, own.precision
        initial = model.initialise(shape, own.init, own.seed)
        self._settings = own
        self._parameters = Parameters(initial, DTYPES[precision])
        self._forward = Parameters(initial, torch.bfloat16) if precision == "mixed" else self._parameters
        step = self._forward
        self._gradients = cpu_step.CpuStep(
            step.weights,
            step.gradients,
            own.batch_size,
            shape.context,
            shape.heads,
            own.batch_split,
            threads,
            own.divisor,
            watch=own.forces != "none",
        )
        decays = (own.weight_decay, 0.0)
        self._optimizer = optimizer(settings, self._parameters.flat, decays)
        self._windows = np.lib.stride_tricks.sliding_window_view(token_ids, shape.context + 1)
        flats = {f"parameters.{i}": flat for i, flat in enumerate(self._parameters.flat)}
        self.state: dict[str, Tensor] = flats | self._optimizer.state
        self._recorder = None
        if own.forces != "none":
            buffer, embedding = self._parameters.flat[0], self._parameters.weights[model.EMBEDDING]
            self._recorder = Recorder(own, own.forces, buffer, embedding, self._optimizer)

    def weights(self, k: int = 0) -> dict[str, Tensor]:
        return self._parameters.weights

    def embeddings(self) -> BFloat16[Tensor, "1 V D"]:
        return self._parameters.weights[model.EMBEDDING].to(torch.bfloat16, copy=True)[None]

    def to_host(self, block: Block) -> Callable[[], Block]:
        return lambda: block

    def block(self, windows: Int[Tensor, "n 1 B"], rates: list[float]) -> Block:
        losses, norms = torch.empty(2, len(rates), 1, dtype=torch.float64)
        parameters, forward = self._parameters, self._forward
        embedding = parameters.weights[model.EMBEDDING]
        snapshots = torch.empty(len(rates), 1, *embedding.shape, dtype=torch.bfloat16)
        for i, rate in enumerate(rates):
            if forward is not parameters:  # mixed: forward and backward use a bfloat16 copy
                for copy, flat in zip(forward.flat, parameters.flat, strict=True):
                    copy.copy_(flat)
            chunk = torch.from_numpy(self._windows[windows[i, 0].numpy()].astype(np.int64))  # (B, T + 1)
            losses[i, 0] = self._gradients(*split_targets(chunk, self._settings.target_offset))
            if forward is not parameters:
                parameters.flat_gradients.copy_(forward.flat_gradients)
            norms[i, 0] = clip(parameters.flat_gradients, self._settings.clip)
            self._update(rate, i, len(rates))
            snapshots[i, 0].copy_(embedding)
        return losses, norms, snapshots

    def _update(self, rate: float, i: int, n: int) -> None:
        """The optimizer's part of step i of n of a block, with the forces where they are recorded."""
        if self._recorder is None:
            return self._optimizer.update(rate)
        before = self._recorder.before(rate)
        self._optimizer.update(rate)
        row = self._recorder.after(rate, before, self._gradients.output_state())
        if i == 0:
            self.recorded = {name: torch.empty(n, *values.shape) for name, values in row.items()}
        for name, values in row.items():
            self.recorded[name][i] = values
