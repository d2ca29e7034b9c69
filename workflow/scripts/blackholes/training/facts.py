"""What a training job says of its runs before the first step: their size, their data, where they start."""

import math
from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from blackholes.training.model import EMBEDDING, shapes
from blackholes.training.settings import RunSettings


def lines(settings: Sequence[RunSettings], examples: int, embeddings: Float[Tensor, "K V D"]) -> Iterator[str]:
    """A line on what the K runs share, and one on the starting point of each.

    Args:
        examples: windows that the corpus has.
        embeddings: the embedding matrices before training.
    """
    one = settings[0]
    sizes = {name: math.prod(shape) for name, shape in shapes(one.model).items()}
    V, D = embeddings.shape[1:]
    yield (
        f"{sum(sizes.values()):,} parameters, {sizes[EMBEDDING]:,} of them of the embedding ({V:,} × {D:,}); "
        f"{examples:,} training examples of {one.model.context:,} tokens, {one.batch_size:,} in a step"
    )
    for run, embedding in zip(settings, embeddings, strict=True):
        mean = embedding.double().mean(0)
        yield (
            f"seed {run.seed} starts with token vectors whose mean has norm {mean.norm():.6f} "
            f"and coordinates of mean {mean.mean():.6f}"
        )
