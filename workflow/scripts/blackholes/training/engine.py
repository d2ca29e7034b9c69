"""The training engine: one run from its seed to its history, a step at a time.

Parameters, gradients and both of Adam's moments live in flat buffers, in bfloat16 under `precision: bf16` (the
regime of the notebooks, DESIGN: moments of 8 bits cannot decay by 0.1 % a step); arithmetic in between is float32.
On a CPU the gradients come from hand-written derivatives, elsewhere from autograd on the same formula.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import BFloat16
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import TensorWriter
from blackholes.errors import UserError
from blackholes.kernels import gpt2
from blackholes.kernels.device import describe
from blackholes.training import model as gpt2_model
from blackholes.training import tokens as corpus_tokens
from blackholes.training.optimizer import adamw

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_ALIGN = 32  # elements: every tensor of a flat buffer starts on a cache line


@dataclass
class Step:
    """What one optimizer step leaves behind. Step 0 is the state before training and has no loss."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    weights: dict[str, Tensor]  # the live parameters: copy what has to outlast the step

    @property
    def embedding(self) -> BFloat16[Tensor, "V D"]:
        """A copy of the embedding matrix as the history keeps it."""
        return self.weights[gpt2_model.EMBEDDING].detach().to("cpu", torch.bfloat16, copy=True)


class Parameters:
    """Weights and gradients: flat buffers (one for the decayed, one for the rest) and named views of them."""

    def __init__(self, initial: dict[str, Tensor], dtype: torch.dtype, device: torch.device):
        spans, ends = {}, [0, 0]
        for name, value in initial.items():
            kind = 0 if gpt2_model.decays(name) else 1
            spans[name] = (kind, ends[kind])
            ends[kind] += -(-value.numel() // _ALIGN) * _ALIGN
        self.flat = [torch.zeros(end, dtype=dtype, device=device) for end in ends]
        self.flat_gradients = torch.zeros(sum(ends), dtype=dtype, device=device)
        halves = self.flat_gradients.split(ends)
        self.weights, self.gradients = {}, {}
        for name, value in initial.items():
            kind, start = spans[name]
            for views, flat in ((self.weights, self.flat), (self.gradients, halves)):
                views[name] = flat[kind][start : start + value.numel()].view(value.shape)
            self.weights[name].copy_(value)
        for flat, gradients in zip(self.flat, halves, strict=True):
            flat.grad = gradients


def train(
    token_ids: np.ndarray,
    settings: dict,
    device: torch.device | str = "cpu",
    threads: int = 1,
    origin: str = "corpus",
) -> Iterator[Step]:
    """Train one run and yield the state before training, then one Step after every optimizer step.

    Args:
        token_ids: the corpus, integers (n,).
        settings: of one run: `seed` (initial parameters, order of the windows), `steps`, `batch_size`,
            `target_offset`, `precision`, `init`, `learning_rate`, `weight_decay`, `betas`, `epsilon`, `clip`, `model`.
        threads: CPU threads; the batch is split among them.
        origin: what errors call the corpus.

    Raises:
        UserError: the corpus is too short for a window or for one batch, or training diverges.
    """
    shape, batch, steps, seed = (settings[key] for key in ("model", "batch_size", "steps", "seed"))
    context = shape["context"]
    count = corpus_tokens.check(len(token_ids), context, batch, origin)
    device = torch.device(device)
    torch.set_num_threads(1 if device.type == "cpu" else threads)  # on a CPU threads share the batch instead
    parameters = Parameters(gpt2_model.initialise(shape, settings["init"], seed), DTYPES[settings["precision"]], device)
    gradients_of = _gradients(parameters, batch, context, shape["heads"], threads)
    update = adamw(parameters.flat, (settings["weight_decay"], 0.0), tuple(settings["betas"]), settings["epsilon"])
    windows = np.lib.stride_tricks.sliding_window_view(token_ids, context + 1)  # (windows, T + 1)
    order = window_order(count, batch, seed)

    yield Step(0, float("nan"), float("nan"), float("nan"), parameters.weights)
    for step in range(1, steps + 1):
        chunk = torch.from_numpy(windows[next(order)].astype(np.int64))  # (B, T + 1)
        tokens, targets = split_targets(chunk, settings["target_offset"])
        loss = gradients_of(tokens.to(device), targets.to(device))
        norm = clip(parameters.flat_gradients, settings["clip"])
        rate = settings["learning_rate"] * (1 - (step - 1) / steps)  # linear decay to 0, no warm-up
        update(rate)
        if not np.isfinite(loss) or not np.isfinite(norm):
            raise UserError(
                f"training diverged at step {step}: loss {loss}, gradient norm {norm}; "
                f"a smaller learning_rate (now {settings['learning_rate']}) may help"
            )
        yield Step(step, loss, norm, rate, parameters.weights)


def _gradients(parameters: Parameters, batch: int, context: int, heads: int, threads: int) -> Callable:
    """A function (tokens, targets) → loss that leaves the gradients in `parameters`."""
    if parameters.flat_gradients.device.type == "cpu":
        return gpt2.CpuStep(parameters.weights, parameters.gradients, batch, context, heads, threads)
    for name, weight in parameters.weights.items():
        weight.requires_grad_()
        weight.grad = parameters.gradients[name]

    def by_autograd(tokens: Tensor, targets: Tensor) -> float:
        parameters.flat_gradients.zero_()
        loss = gpt2.loss(parameters.weights, tokens, targets, heads)
        loss.backward()
        return loss.item()

    return by_autograd


def split_targets(chunk: Tensor, target_offset: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (B, T) of windows (B, T + 1): the target of position t is the token `target_offset` later.

    Offset 1 is the next token. Offset 2 is what the notebooks trained on (labels shifted twice); their last position
    then has no target, marked −1.
    """
    targets = chunk.new_full((chunk.shape[0], chunk.shape[1] - 1), -1)
    targets[:, : chunk.shape[1] - target_offset] = chunk[:, target_offset:]
    return chunk[:, :-1].contiguous(), targets


def window_order(count: int, batch: int, seed: int, epoch: int = 0) -> Iterator[np.ndarray]:
    """Endless batches (B,) of window indices: without replacement until all are used, then shuffled anew.

    What is left at the end of a pass and fills no batch begins the next one, so no window is dropped for good.
    """
    left = np.empty(0, dtype=np.int64)
    while True:
        order = np.concatenate([left, np.random.default_rng([seed, epoch]).permutation(count)])
        full = len(order) // batch * batch
        yield from order[:full].reshape(-1, batch)
        left, epoch = order[full:], epoch + 1


def clip(gradients: Tensor, limit: float) -> float:
    """Scale `gradients` in place to a Euclidean norm of at most `limit`; returns the norm before, in float32."""
    norm = torch.linalg.vector_norm(gradients, dtype=torch.float32)
    gradients.mul_((limit / (norm + 1e-6)).clamp(max=1.0))
    return norm.item()


def write_run(
    corpus: str,
    history: str,
    log: str,
    checkpoint: tuple[str, str],
    settings: dict,
    device: torch.device | str = "cpu",
    threads: int = 1,
    metadata: dict[str, str] | None = None,
    progress: Callable[..., None] = lambda done, total, **shown: None,
) -> None:
    """Train one run from the corpus file and write its history, training log and checkpoint.

    Args:
        corpus: tokens.safetensors.
        history: embedding_evolution.safetensors, bfloat16 (S, V, D), streamed to disk as it is made.
        log: training_log.csv, a row a step.
        checkpoint: config.json and model.safetensors of a Hugging Face checkpoint.
        progress: called as progress(step, steps, loss=…).
    """
    token_ids = corpus_tokens.load(corpus).token_ids.numpy()
    device = torch.device(device)
    metadata = (metadata or {}) | {"device": describe(device), "precision": settings["precision"]}
    shape = (settings["steps"] + 1, settings["model"]["vocabulary_size"], settings["model"]["width"])
    rows, buffer = [], torch.empty((min(256, shape[0]), *shape[1:]), dtype=torch.bfloat16)
    with TensorWriter(history, {"embedding_history": (torch.bfloat16, shape)}, metadata) as writer:
        for state in train(token_ids, settings, device, threads, corpus):
            buffer[state.step % len(buffer)].copy_(state.weights[gpt2_model.EMBEDDING].detach())
            if (state.step + 1) % len(buffer) == 0 or state.step == settings["steps"]:
                writer.append("embedding_history", buffer[: state.step % len(buffer) + 1])
            if state.step:
                rows.append((state.step, state.loss, state.grad_norm, state.learning_rate))
                progress(state.step, settings["steps"], loss=state.loss)
        weights = {name: weight.detach().cpu() for name, weight in state.weights.items()}
        gpt2_model.write_checkpoint(*checkpoint, weights, settings["model"], metadata)
        write_table(log, ["step", "loss", "grad_norm", "learning_rate"], rows)
