"""Black holes in the first steps of runs of ours and of transformers.Trainer: shared by the statistical tests."""

from pathlib import Path

import numpy as np
import torch
from blackholes.config.corpus import Corpus
from blackholes.training import corpus, tokens
from torch import Tensor

SERIES = ("count", "population", "largest", "unique")


def statistics(embedding: Tensor) -> list[int]:
    """The number of holes, their population, the largest one's, and the number of distinct vectors."""
    _, sizes = torch.unique(embedding.float(), dim=0, return_counts=True)
    holes = sizes[sizes >= 2]
    return [len(holes), int(holes.sum()), int(holes.max()) if len(holes) else 0, len(sizes)]


def builtin_corpus(folder: Path) -> np.ndarray:
    """Tokens of the default corpus."""
    path = str(folder / "tokens.safetensors")
    corpus.write(Corpus().model_dump(), path, str(folder / "tokens.csv"), str(folder / "tokenizer.json"))
    return tokens.load(path).token_ids.numpy()
