"""What the two training engines share: their interface, the dtypes of what they keep, and the split into two buffers.

`cpu.CpuRun` is the compiled engine, `stacked.StackedRuns` the torch engine. docs/rounding.md lists where they round.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import BFloat16, Float, Int
from torch import Tensor

DTYPES = {"bf16": torch.bfloat16, "mixed": torch.float32, "fp32": torch.float32}  # precision → of the parameters
ALIGN = 32  # elements; every tensor of a flat buffer starts at a multiple, so products can load whole vectors

# Losses, gradient norms, and the embedding matrices after each step, as the history keeps them
Block = tuple[Float[Tensor, "n K"], Float[Tensor, "n K"], BFloat16[Tensor, "n K V D"]]


class Runs(ABC):
    """K runs that go forward together, a block of optimizer steps at a time.

    The same settings give the same bytes on one kind of device with the same library versions and the same K, whatever
    the number of threads. No run's numbers enter another's.

    Attributes:
        state: the live tensors that a step changes: parameters and the optimizer's state. Copying values into them
            sets the runs back to the step they were saved at.
        block_steps: most steps in a block.
        recorded: of the latest block, the forces on the embeddings of those of the runs whose settings ask for them:
            name → (n, R, …); see `forces.layout`. As the block, they may be overwritten by the one after the next.
    """

    state: dict[str, Tensor]
    block_steps: int
    recorded: dict[str, Tensor] = {}  # noqa: RUF012 - replaced, never changed

    @abstractmethod
    def weights(self, k: int) -> dict[str, Tensor]:
        """The live parameters of run k by name, float32 under `mixed`. Copy what must outlast the next block."""

    @abstractmethod
    def embeddings(self) -> BFloat16[Tensor, "K V D"]:
        """A copy of the embedding matrices as the history keeps them, on the runs' device."""

    @abstractmethod
    def block(self, windows: Int[Tensor, "n K B"], rates: list[float]) -> Block:
        """Take n ≤ `block_steps` optimizer steps.

        Args:
            windows: first token of each window in the corpus.
            rates: learning rate of each step.

        Returns tensors on the runs' device; on a GPU they may be returned before they are computed. They may be
        overwritten by the block after the next one.
        """

    @abstractmethod
    def to_host(self, block: Block) -> Callable[[], Block]:
        """Start copying the latest block to the CPU; the returned function waits for the copy and returns it.

        The next block may be started in between.
        """
