"""AdamW on flat buffers, with torch's own fused kernel."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def adamw(
    flats: Sequence[Tensor], decays: Sequence[float], betas: tuple[float, float], epsilon: float
) -> Callable[[float], None]:
    """A function `update(learning_rate)` that applies one step of AdamW to flat buffers, from their `.grad`.

    Both moments have the buffers' dtype. The kernel computes in float32 and rounds each of the parameters and the two
    moments once, as `torch.optim.AdamW(fused=True)` does, which is the Trainer's optimizer: the tests hold the two
    equal to the bit. It is called directly because that class imports a compiler, a second in every job.

    Args:
        decays: weight decay of each buffer.

    Source: Loshchilov and Hutter 2019.
    """
    first, second = ([torch.zeros_like(flat) for flat in flats] for _ in range(2))
    counts = [torch.zeros((), dtype=torch.float32, device=flat.device) for flat in flats]

    def update(learning_rate: float) -> None:
        for flat, m, v, count, decay in zip(flats, first, second, counts, decays, strict=True):
            count += 1
            torch._fused_adamw_(
                [flat], [flat.grad], [m], [v], [], [count], lr=learning_rate, beta1=betas[0], beta2=betas[1],
                weight_decay=decay, eps=epsilon, amsgrad=False, maximize=False,
            )  # fmt: skip

    return update
