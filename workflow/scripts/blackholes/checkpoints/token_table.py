"""tokens.csv of a checkpoint: what every token is, and how much its vector looks unused (row C)."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tables import read_holes
from blackholes.artifacts.tensors import TensorReader, open_tensors
from blackholes.checkpoints import token_texts
from blackholes.checkpoints.embedding import read_embedding
from blackholes.errors import UserError, about
from blackholes.kernels import indicators

COLUMNS = [
    *("token_id", "text", "hole", "in_box", "in_cluster", "norm", "centroid_distance", "cosine_unused", "category"),
    *("script", "merge_rank", "round_trip", "round_trip_spaced", "round_trip_context", "rank"),
]


def write(
    weights: str,
    holes: str,
    sphere: str,
    centroid: str,
    statistics: str,
    out: str,
    tokenizer: str | None = None,
) -> str:
    """Write tokens.csv, one row a token, ordered by id; returns one line that says what was found.

    Args:
        weights: W.safetensors. holes: black_holes.csv. sphere: sphere.safetensors, of which the first eigenvector and
            `in_box` are read. centroid: black_hole_centroid.safetensors. statistics: distance_statistics.safetensors,
            which knows the cluster.
        tokenizer: tokenizer.json; without it texts are empty and categories `unknown`.

    Columns: `hole` (empty: a singleton), `in_box`, `in_cluster` (0, 1), `text`, `category`, `script`, `merge_rank` and
    round trips (0, 1) as checkpoints.token_texts explains; the indicators
    of kernels.indicators and the `rank` they give.

    The reference of the indicators, tokens taken to be unused, is found and not given: members of black holes, for no
    two trained tokens end in the same place, and the overdensity's cluster, which holds their neighbours. (Fishing
    for Magikarp, 2024, needs such a list for each model, written by hand.) Without either, it is the box.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    W = read_embedding(weights)
    V, D = W.shape
    hole = hole_of(holes, V)
    with open_tensors(sphere) as file:
        in_box = _read(file, "in_box", torch.bool, (V,)).numpy()
        component = _read(file, "eigenvectors", torch.float64, (D, "n"))[:, 0]
    with open_tensors(centroid) as file:
        centre = _read(file, "centroid", torch.float32, (D,))
    with open_tensors(statistics) as file:
        in_cluster = np.zeros(V, bool)
        in_cluster[_read(file, "cluster_token_ids", torch.int64, ("n",)).numpy()] = True
    reference = reference_set(hole >= 0, in_cluster, in_box)
    with about(weights):
        found = indicators.under_training(W, reference, centre, component)
    rank = indicators.suspicion(found["centroid_distance"], found["cosine_unused"])
    explained = token_texts.explain(tokenizer, V)
    table = _rows(hole, in_box, in_cluster, {name: values.numpy() for name, values in found.items()}, explained, rank)
    write_table(out, COLUMNS, table)
    return _summary(explained.category, hole >= 0, len(reference))


def reference_set(
    in_hole: Bool[np.ndarray, "V"], in_cluster: Bool[np.ndarray, "V"], in_box: Bool[np.ndarray, "V"]
) -> Int64[Tensor, "n"]:
    """Ids of the tokens taken to be unused: of holes and of the cluster; of the box, if these are fewer than two."""
    known = in_hole | in_cluster
    chosen = known if known.sum() > 1 else in_box
    return torch.from_numpy(np.flatnonzero(chosen))


def hole_of(table: str, V: int) -> Int64[np.ndarray, "V"]:
    """Each token's hole as black_holes.csv names it, −1 for a singleton.

    Raises:
        UserError: not such a table, or of another vocabulary.
    """
    hole = np.full(V, -1)
    for name, ids in read_holes(table).items():
        if ids.min() < 0 or ids.max() >= V:
            raise UserError(f"{table}: hole {name} holds token {ids.max()}; expected 0 to {V - 1}")
        hole[ids] = name
    return hole


def _read(file: TensorReader, key: str, dtype: torch.dtype, shape: tuple[int | str, ...]) -> Tensor:
    file.expect(key, dtype, shape)
    return file.rows(key)


def _rows(
    hole: np.ndarray,
    in_box: np.ndarray,
    in_cluster: np.ndarray,
    found: dict[str, np.ndarray],
    explained: token_texts.Explained,
    rank: Tensor,
) -> Iterator[tuple]:
    known = explained.category
    for id, place in enumerate(rank.tolist()):
        trips = [int(trip) if known[id] not in ("unknown", "padding") else "" for trip in explained.round_trips[id]]
        merge = explained.merge_rank[id]
        yield (
            id,
            explained.text[id],
            hole[id] if hole[id] >= 0 else "",
            int(in_box[id]),
            int(in_cluster[id]),
            *(values[id] for values in found.values()),
            known[id],
            explained.script[id],
            "" if merge is None else merge,
            *trips,
            place,
        )


def _summary(category: list[str], in_hole: np.ndarray, reference: int) -> str:
    """`30,522 tokens, 1,331 unreachable, …; of 2,100 in holes: 1,800 unreachable, …; 2,212 tokens of reference`"""
    kinds = Counter(category)
    inside = Counter(np.array(category)[in_hole].tolist())
    words = [
        ", ".join(f"{count[kind]:,} {kind}" for kind in token_texts.CATEGORIES if count[kind])
        for count in (kinds, inside)
    ]
    holes = f"; in holes {words[1]}" if words[1] else "; no holes"
    return f"{len(category):,} tokens: {words[0]}{holes}; the reference has {reference:,}"
