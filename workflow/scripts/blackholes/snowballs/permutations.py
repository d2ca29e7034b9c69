"""Permutations of the tokens around a checkpoint's largest hole: the test of row D, and what it can notice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tables import read_columns
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError, about
from blackholes.kernels import permutation, snowball
from blackholes.snowballs.source import TOUCHING, rows, source

LABEL = "permutation"
COLUMNS = ["attracted", "trial_id", *snowball.STATISTICS]
MOST = 20_000  # tokens: distances of as many distinct vectors take 1.6 GB
PERCENT = (0, 1, 2, 5, 10, 20)  # of the tokens, attracted in clouds that show what the test can notice
CLOUDS = 10  # permutations for each of these clouds
LEVEL = 0.05


@dataclass
class Component:
    """The tokens that are permuted, in the dimensions in which they vary."""

    vectors: Float[Tensor, "N M"]
    epsilon: float
    untestable: str  # why permutations can tell nothing; empty if they can

    def statistics(self, vectors: Tensor, device: torch.device | str = "cpu") -> dict[str, int | float]:
        return snowball.trial_statistics(vectors.to(device), self.epsilon, TOUCHING * self.epsilon)


def component(latent: str, embedding: str, settings: Mapping) -> Component | None:
    """The tokens of `component_ids` of latent.safetensors; None if the checkpoint has no hole.

    Raises:
        UserError: naming the file; also for more than MOST tokens.
    """
    with open_tensors(latent) as file:
        if file.shape("component_ids") == (0,):
            return None
        file.expect("component_ids", torch.int64, ("n",))
        ids, untestable = file.rows("component_ids").tolist(), file.metadata.get("untestable", "")
    if len(ids) > MOST:
        raise UserError(
            f"{latent}: {len(ids):,} tokens in the largest hole's component; expected up to {MOST:,} to permute: "
            "`permutations: 0` leaves that out"
        )
    tokens = rows(embedding, ids)
    varies = permutation.varying(tokens)
    varies[0] |= not varies.any()  # equal tokens are one vector in any dimension
    return Component(tokens[:, varies], source(latent, settings).epsilon, untestable)


def plan(permutations: int, n_tokens: int) -> list[tuple[int, int]]:
    """(attracted tokens, trial) of every cloud: the permutations, then those that show what the test can notice."""
    clouds = -(-permutations // CLOUDS)
    attracted = [-(-percent * n_tokens // 100) for percent in PERCENT]  # rounded up
    noticed = [(count, permutations + k * clouds + c) for k, count in enumerate(attracted) for c in range(clouds)]
    return [(0, trial) for trial in range(permutations)] + noticed


def write(
    latent: str,
    embedding: str,
    settings: Mapping,
    permutations: int,
    part: tuple[int, int],
    out: str,
    device: torch.device | str = "cpu",
    progress: Callable = lambda done, total, more=None: None,
) -> str:
    """Write the statistics of a part of the plan's clouds. Returns a one-line summary.

    Args:
        part: the number of this part, from 0, and how many there are.

    The table has the columns COLUMNS and a row a cloud; none where the test can tell nothing. A cloud depends on the
    tokens, the seed and its number alone. One is in memory at a time.

    Raises:
        UserError: as `component`.
    """
    found = component(latent, embedding, settings)
    if found is None or found.untestable:
        write_table(out, COLUMNS, [])
        return found.untestable if found else "the checkpoint has no hole"
    clouds, (number, of) = plan(permutations, len(found.vectors)), part
    some = clouds[len(clouds) * number // of : len(clouds) * (number + 1) // of]
    table = []
    with about(embedding):
        for done, (attracted, trial) in enumerate(some, 1):
            cloud = permutation.permuted(found.vectors, settings["seed"], trial, attracted)
            result = found.statistics(cloud, device)
            table.append((attracted, trial, *result.values()))
            progress(done, len(some), lambda: {"unique": result["n_unique"], "holes": result["n_black_holes"]})
    write_table(out, COLUMNS, table)
    N, M = found.vectors.shape
    return f"{len(some):,} clouds of {N:,} tokens, which vary in {M:,} dimensions"


@dataclass
class Result:
    """A checkpoint's tokens among their permutations."""

    own: dict[str, int | float]
    trials: list[int]
    null: Float64[np.ndarray, "n K"]  # in the order of STATISTICS
    facts: list[tuple[str, float | str]]  # rows of permutation_test.csv
    note: str

    def summary(self) -> str:
        facts = dict(self.facts)
        return f"joint p {facts['joint_p']:.3g}" if "joint_p" in facts else f"not tested: {self.note}"


def compare(latent: str, embedding: str, settings: Mapping, permutations: int, tables: Sequence[str]) -> Result:
    """The tables of all jobs, put together: every permutation's statistics, p-values, and what the test notices.

    `facts` has `tokens`, `distinct_vectors`, `varying_dimensions`, `permutations`, `joint_p`, and for each of PERCENT
    `told_apart_<number>_percent`: of the clouds with so many tokens attracted, the share with a joint p of at most
    LEVEL. With none attracted it should be about LEVEL. Where nothing can be tested there is `not_tested`, the reason.

    Raises:
        UserError: as `component`, and for a table that cannot be read.
    """
    found = component(latent, embedding, settings)
    if found is None:
        reason = "the checkpoint has no hole"
        return Result({}, [], np.empty((0, len(snowball.STATISTICS))), [("not_tested", reason)], reason)
    N, M = found.vectors.shape
    own = found.statistics(found.vectors)
    facts: list[tuple[str, float | str]] = [("tokens", N), ("distinct_vectors", own["n_unique"])]
    if found.untestable:
        facts += [("not_tested", found.untestable)]
        return Result(own, [], np.empty((0, len(snowball.STATISTICS))), facts, found.untestable)
    clouds = np.array([row for table in tables for row in _read(table)])
    if len(clouds) != len(plan(permutations, N)):
        expected = len(plan(permutations, N))
        raise UserError(f"{', '.join(tables)}: {len(clouds):,} rows; expected {expected:,}, a row a cloud")
    null = clouds[:permutations, 2:]
    values = np.array(list(own.values()), float)
    facts += [("varying_dimensions", M), ("permutations", len(null))]
    facts += [("joint_p", permutation.joint_p_value(values, null)), *_told_apart(clouds[permutations:], null, N)]
    return Result(own, clouds[:permutations, 1].astype(int).tolist(), null, facts, "")


def _told_apart(clouds: np.ndarray, null: np.ndarray, n_tokens: int) -> Iterator[tuple[str, float]]:
    each = len(clouds) // len(PERCENT)
    for k, percent in enumerate(PERCENT):
        some = clouds[k * each : (k + 1) * each, 2:]
        yield (
            f"told_apart_{percent}_percent",
            float(np.mean([permutation.joint_p_value(one, null) <= LEVEL for one in some])),
        )


def _read(table: str) -> list[tuple[float, ...]]:
    columns = read_columns(table, dict.fromkeys(COLUMNS, float))
    return list(zip(*columns.values(), strict=True))
