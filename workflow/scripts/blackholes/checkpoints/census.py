"""Black holes of a checkpoint: equal rows of its embedding, over the whole vocabulary (row C)."""

import json

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from blackholes.artifacts.files import write_table, write_text
from blackholes.checkpoints.embedding import read_embedding
from blackholes.checkpoints.token_texts import texts
from blackholes.errors import about
from blackholes.kernels import duplicates

COLUMNS = ["hole", "population", "token_ids", "text", "norm"]


def holes(W: Float[Tensor, "V D"]) -> list[Int[np.ndarray, "n"]]:
    """Token ids, ascending, of every group of two or more equal rows: the largest first, then by smallest id."""
    labels = duplicates.labels(W).cpu().numpy()
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return sorted((group for group in groups if len(group) > 1), key=lambda group: (-len(group), group[0]))


def zero_pairs(populations: list[int]) -> int:
    """Number of pairs of tokens at distance 0: Σ n(n − 1)/2."""
    return sum(n * (n - 1) // 2 for n in populations)


def write(W: str, table: str, summary: str, tokenizer: str | None = None, device: torch.device | str = "cpu") -> str:
    """Write black_holes.csv and census.json of W.safetensors. Returns a one-line summary.

    `hole` is the hole's smallest token id; `token_ids` are separated by spaces; `text` is a JSON list of the tokens'
    texts, empty without a tokenizer; `norm` is that of the common vector.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    with about(W):
        embedding = read_embedding(W).to(device)
        groups = holes(embedding)
    V, D = embedding.shape
    token_texts = None if tokenizer is None else texts(tokenizer, V)
    firsts = torch.tensor([group[0] for group in groups], dtype=torch.int64)
    norms = embedding[firsts.to(embedding.device)].cpu().double().norm(dim=1).tolist()
    write_table(
        table,
        COLUMNS,
        (
            (
                int(group[0]),
                len(group),
                " ".join(map(str, group)),
                "" if token_texts is None else json.dumps([token_texts[token] for token in group], ensure_ascii=False),
                norm,
            )
            for group, norm in zip(groups, norms, strict=True)
        ),
    )
    populations = [len(group) for group in groups]
    in_holes = sum(populations)
    facts = {
        "tokens": V,
        "dimensions": D,
        "dtype": str(embedding.dtype).removeprefix("torch."),
        "holes": len(groups),
        "hole_tokens": in_holes,
        "n_unique": V - in_holes + len(groups),
        "n_singletons": V - in_holes,
        "zero_pairs": zero_pairs(populations),
        "populations": populations,
    }
    write_text(summary, json.dumps(facts, indent=1) + "\n")
    return f"{len(groups):,} holes, {in_holes:,} of {V:,} tokens in them, {facts['zero_pairs']:,} zero pairs"
