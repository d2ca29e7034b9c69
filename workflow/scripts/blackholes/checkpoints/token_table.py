"""tokens.csv of a checkpoint: what each token is, and how likely its vector was never trained (row C)."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tables import read_holes
from blackholes.artifacts.tensors import TensorReader, open_tensors
from blackholes.checkpoints import boxes, ranking, token_texts
from blackholes.checkpoints.embedding import read_embedding
from blackholes.errors import about
from blackholes.kernels import indicators

COLUMNS = [
    *("token_id", "text", "hole", "in_box", "in_cluster", "norm", "centroid_distance", "cosine_unused", "category"),
    *("script", "merge_rank", "round_trip", "round_trip_spaced", "round_trip_context", "rank", "rank_held_out"),
]


def write(
    weights: str,
    holes: str,
    sphere: str,
    centroid: str,
    statistics: str,
    out: str,
    ranking_out: str,
    tokenizer: str | None = None,
) -> str:
    """Write tokens.csv, one row per token, ordered by id, and ranking.csv. Returns a one-line summary.

    Args:
        weights: W.safetensors. holes: black_holes.csv. sphere: sphere.safetensors, of which the first eigenvector and
            `in_box` are read. centroid: black_hole_centroid.safetensors. statistics: distance_statistics.safetensors,
            of which the cluster's tokens are read.
        tokenizer: tokenizer.json; without it texts are empty and categories `unknown`.

    Columns: `hole` (empty for a singleton), `in_box`, `in_cluster` (0 or 1); `text`, `category`, `script`, `merge_rank`
    and round trips (0 or 1) as in checkpoints.token_texts; the indicators of kernels.indicators, and `rank` from them;
    `rank_held_out`, for members of holes, the rank with their hole held out of the reference set (see ranking.judge).

    The indicators compare with an automatically chosen reference set of unused tokens: the members of black holes,
    since no two trained tokens end with equal vectors, and the overdensity's cluster, which holds their neighbours.
    Without either, it is the tokens in the box. (Fishing for Magikarp, 2024, uses a list written by hand per model.)

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    W = read_embedding(weights)
    V, D = W.shape
    hole = hole_of(holes, V)
    with open_tensors(sphere) as file:
        in_box = _read(file, "in_box", torch.bool, (V,)).numpy()
        component = _read(file, "eigenvectors", torch.float64, (D, "n"))[:, 0]
        coordinates = None
        if file.metadata.get("box_rule") != boxes.CONFIGURED:
            names = ("latitude", "longitude", "radius")
            coordinates = [_read(file, name, torch.float32, (V,)).numpy() for name in names]
    with open_tensors(centroid) as file:
        centre = _read(file, "centroid", torch.float32, (D,))
        central = np.zeros(V, bool)
        central[_read(file, "token_ids", torch.int64, ("n",)).numpy()] = True
    with open_tensors(statistics) as file:
        in_cluster = np.zeros(V, bool)
        in_cluster[_read(file, "cluster_token_ids", torch.int64, ("n",)).numpy()] = True
    reference = ranking.reference_set(hole >= 0, in_cluster, in_box)
    with about(weights):
        scores = indicators.under_training(W, reference, centre, component)
    rank = indicators.suspicion(scores["centroid_distance"], scores["cosine_unused"])
    tokens = ranking.Tokens(W, hole, in_box, in_cluster, central, centre, component, coordinates)
    judged = ranking.judge(tokens, rank)
    explained = token_texts.explain(tokenizer, V)
    columns = {name: values.numpy() for name, values in scores.items()}
    write_table(out, COLUMNS, _rows(hole, in_box, in_cluster, columns, explained, rank, judged.held_out))
    write_table(ranking_out, ["quantity", "value"], judged.facts)
    return f"{_summary(explained.category, hole >= 0, len(reference))}; {judged.summary()}"


def hole_of(table: str, V: int) -> Int64[np.ndarray, "V"]:
    """Each token's hole, as numbered in black_holes.csv, or −1 for a singleton.

    Raises:
        UserError: the table cannot be read, or belongs to another vocabulary.
    """
    hole = np.full(V, -1)
    for name, ids in read_holes(table, V).items():
        hole[ids] = name
    return hole


def _read(file: TensorReader, key: str, dtype: torch.dtype, shape: tuple[int | str, ...]) -> Tensor:
    file.expect(key, dtype, shape)
    return file.rows(key)


def _rows(
    hole: np.ndarray,
    in_box: np.ndarray,
    in_cluster: np.ndarray,
    scores: dict[str, np.ndarray],
    explained: token_texts.Explained,
    rank: Tensor,
    held_out: np.ndarray,
) -> Iterator[tuple]:
    category = explained.category
    for id, place in enumerate(rank.tolist()):
        trips = [int(trip) if category[id] not in ("unknown", "padding") else "" for trip in explained.round_trips[id]]
        merge = explained.merge_rank[id]
        yield (
            id,
            explained.text[id],
            hole[id] if hole[id] >= 0 else "",
            int(in_box[id]),
            int(in_cluster[id]),
            *(values[id] for values in scores.values()),
            category[id],
            explained.script[id],
            "" if merge is None else merge,
            *trips,
            place,
            held_out[id] if held_out[id] >= 0 else "",
        )


def _summary(category: list[str], in_hole: np.ndarray, reference: int) -> str:
    """`30,522 tokens: 29,191 ordinary, 1,331 unreachable; in holes 1,800 unreachable; 2,212 in the reference set`"""
    counts = Counter(category), Counter(np.array(category)[in_hole].tolist())
    everywhere, in_holes = (
        ", ".join(f"{count[kind]:,} {kind}" for kind in token_texts.CATEGORIES if count[kind]) for count in counts
    )
    holes = f"; in holes {in_holes}" if in_holes else "; no holes"
    return f"{len(category):,} tokens: {everywhere}{holes}; {reference:,} in the reference set"
