"""Series over the steps of a run that records forces, of the dead and the live tokens apart: what its figures show.

All are float32, a row a step. `<group>_<force>` (S−1, 3): percentiles 10, 50 and 90 over the tokens of the group.
`<group>_mean_<force>` (S−1,): means over them. `token_<force>` (S−1,): of one token. The dead tokens' moves as arrows:
`movers` (S−1,), how many of them moved; `mutual` (S−1,), the mean cosine between the moves of two of them;
`with_hidden` (S−1,), the mean cosine between their moves and the mean hidden state. NaN: there is no such value.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from blackholes.artifacts.histories import open_history
from blackholes.artifacts.tensors import TensorReader, TensorWriter, open_tensors

PERCENTILES = (10, 50, 90)
SPREAD = ("intended", "realised", "intended_cells")  # of which percentiles are kept
MEANS = ("adam", "decay", "residual", "intended", "realised", "stalled", "probability")
OF_ONE = ("adam", "decay", "residual", "intended_cells")
SWARM = ("movers", "mutual", "with_hidden")


def swarm(
    moves: Float[Tensor, "s n D"], hidden: Float[Tensor, "s D"]
) -> tuple[Float[Tensor, "s"], Float[Tensor, "s"], Float[Tensor, "s"]]:
    """(movers, mutual, with_hidden) at each step, from the moves of n tokens and the mean hidden states."""
    moves, hidden = moves.double(), hidden.double()
    lengths = torch.linalg.vector_norm(moves, dim=2)
    moving = lengths > 0
    arrows = moves / torch.where(moving, lengths, 1.0)[:, :, None]
    movers = moving.sum(1).double()
    pairs = movers * (movers - 1)
    total = arrows.sum(1)  # its square is the sum of all cosines, those of an arrow with itself too
    mutual = torch.where(pairs > 0, (total.square().sum(1) - movers) / pairs, torch.nan)
    along = (total * hidden).sum(1) / torch.linalg.vector_norm(hidden, dim=1)
    return movers, mutual, torch.where(movers > 0, along / movers, torch.nan)


def write(
    history: str,
    forces: str,
    dead: np.ndarray,
    token: int,
    out: str,
    metadata: dict[str, str],
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> None:
    """Write forces_series.safetensors; the number of the one token is in its metadata.

    Args:
        dead: bool (V,).
        token: that has series of its own.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    groups = {"dead": np.flatnonzero(dead), "live": np.flatnonzero(~dead)}
    with open_history(history) as source, open_tensors(forces) as file:
        steps, V, D = source.steps - 1, source.tokens, source.dimensions
        layout: dict[str, tuple[int, ...]] = dict.fromkeys(SWARM, (steps,))
        layout |= {f"token_{name}": (steps,) for name in OF_ONE}
        layout |= {f"{group}_mean_{name}": (steps,) for group in groups for name in MEANS}
        layout |= {f"{group}_{name}": (steps, len(PERCENTILES)) for group in groups for name in SPREAD}
        kinds = {name: (torch.float32, shape) for name, shape in layout.items()}
        length = max(1, int(1e9 * budget_gb / (60 * V * D + 100 * V)))
        with TensorWriter(out, kinds, metadata | {"token": str(token)}) as writer:
            for start in range(0, steps, length):
                stop = min(start + length, steps)
                snapshots = source.rows(start, stop + 1)[:, groups["dead"]].float()
                moves, hidden = snapshots[1:] - snapshots[:-1], file.rows("hidden_mean", start, stop)
                for name, values in zip(SWARM, swarm(moves, hidden), strict=True):
                    writer.append(name, values.float())
                for name, series in _of_tokens(file, groups, token, start, stop).items():
                    writer.append(name, series.astype(np.float32))
                progress(stop, steps)


def _of_tokens(
    file: TensorReader, groups: dict[str, np.ndarray], token: int, start: int, stop: int
) -> dict[str, np.ndarray]:
    names = {*SPREAD, *MEANS, *OF_ONE}
    rows = {name: file.rows(name, start, stop).numpy() for name in names}
    found = {f"token_{name}": rows[name][:, token] for name in OF_ONE}
    for group, members in groups.items():
        none = len(members) == 0
        for name in MEANS:
            found[f"{group}_mean_{name}"] = (
                np.full(stop - start, np.nan) if none else rows[name][:, members].mean(1, dtype=np.float64)
            )
        for name in SPREAD:
            shape = (stop - start, len(PERCENTILES))
            found[f"{group}_{name}"] = (
                np.full(shape, np.nan)
                if none
                else np.percentile(rows[name][:, members], PERCENTILES, axis=1, method="inverted_cdf").T
            )
    return found
