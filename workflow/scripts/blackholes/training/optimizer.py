"""AdamW and SGD on flat buffers, with torch's own fused kernels, and gradient clipping."""

from collections.abc import Sequence

import torch
from torch import Tensor

from blackholes.training.settings import RunSettings


class Optimizer:
    """One step at a time of AdamW or SGD on flat buffers, from their `.grad`.

    The state (AdamW: two moments and a step count, SGD: the momentum) has the buffers' dtype. torch's fused kernels
    compute in float32 and round parameters and state once; results equal those of `torch.optim.AdamW(fused=True)`, the
    Trainer's optimizer, and of `torch.optim.SGD(fused=True)` to the bit. The kernels are called directly because
    importing those classes takes a second.

    Args:
        settings: `optimizer`, `betas` and `epsilon` (adamw), `momentum` (sgd).
        flats: the buffers, of any shape: all operations are elementwise.
        decays: weight decay of each buffer, decoupled from the gradient in AdamW and added to it in SGD.

    Source: Loshchilov and Hutter 2019; SGD as Sutskever et al. 2013, in torch's form.
    """

    def __init__(self, settings: RunSettings, flats: Sequence[Tensor], decays: Sequence[float]):
        self._settings, self._flats, self._decays = settings, list(flats), list(decays)
        self._adamw = settings.optimizer == "adamw"
        buffers = ("first", "second") if self._adamw else ("momentum",) if settings.momentum else ()
        self.state: dict[str, Tensor] = {
            f"{name}.{i}": torch.zeros_like(flat) for i, flat in enumerate(self._flats) for name in buffers
        }
        if self._adamw:
            for i, flat in enumerate(self._flats):
                self.state[f"count.{i}"] = torch.zeros((), dtype=torch.float32, device=flat.device)

    def update(self, rate: float | Tensor) -> None:
        """Apply one step. As a float32 tensor () on the device, `rate` may change between replays of a CUDA graph."""
        state, settings = self.state, self._settings
        for i, (flat, decay) in enumerate(zip(self._flats, self._decays, strict=True)):
            gradient = flat.grad
            assert gradient is not None  # for mypy: a gradient is there before a step
            if self._adamw:
                state[f"count.{i}"] += 1
                torch._fused_adamw_(
                    [flat], [gradient], [state[f"first.{i}"]], [state[f"second.{i}"]], [], [state[f"count.{i}"]],
                    lr=rate, beta1=settings.betas[0], beta2=settings.betas[1], weight_decay=decay,
                    eps=settings.epsilon, amsgrad=False, maximize=False,
                )  # fmt: skip
            elif flat.dtype == torch.bfloat16 and flat.device.type == "cpu":
                # torch 2.13's fused kernel does not update most bfloat16 parameters on a CPU (its issue 191763)
                step = gradient.float().add_(flat.float(), alpha=decay)
                if settings.momentum:
                    step.add_(state[f"momentum.{i}"].float(), alpha=settings.momentum)
                    state[f"momentum.{i}"].copy_(step)
                flat.copy_(flat.float().sub_(step.mul_(rate)))
            else:  # is_first_step=False: the momentum starts at 0, so the first step sets it to the gradient too
                momentum = [state[f"momentum.{i}"]] if f"momentum.{i}" in state else []
                torch._fused_sgd_(
                    [flat], [gradient], momentum, weight_decay=decay, momentum=settings.momentum, lr=rate,
                    dampening=0.0, nesterov=False, maximize=False, is_first_step=False,
                )  # fmt: skip


def clip(gradients: Tensor, limit: float) -> float:
    """Scale `gradients` in place to a Euclidean norm of at most `limit`; returns the norm before that."""
    norm = torch.linalg.vector_norm(gradients, dtype=torch.float32)
    gradients.mul_((limit / (norm + 1e-6)).clamp(max=1.0))
    return norm.item()
