"""All row C files of a small checkpoint, made by the analyses themselves."""

from pathlib import Path
from types import SimpleNamespace

import torch
from blackholes.artifacts.tensors import write_tensors
from blackholes.checkpoints import census, overdensity, overdensity_distances, token_table

BASIS = {"north": 2, "meridian": 1, "equinox": 3}
AUTOMATIC = {"lat": None, "lon": None, "r": None}


def make(folder: Path, W: torch.Tensor, tokenizer: str | None = None, box=AUTOMATIC, threshold=0.002):
    """Paths under the figures' input names; `summary` is the one-line summary of the token table."""
    folder.mkdir(parents=True, exist_ok=True)
    made = SimpleNamespace(
        W=folder / "W.safetensors",
        holes=folder / "black_holes.csv",
        sphere=folder / "sphere.safetensors",
        centroid=folder / "black_hole_centroid.safetensors",
        distances=folder / "overdensity_distances.safetensors",
        table=folder / "overdensity.csv",
        statistics=folder / "distance_statistics.safetensors",
        tokens=folder / "tokens.csv",
        ranking=folder / "ranking.csv",
    )
    made = SimpleNamespace(**{key: str(path) for key, path in vars(made).items()})
    write_tensors(made.W, {"W": W})
    census.write(made.W, made.holes, str(folder / "census.json"), tokenizer)
    settings = {"basis": BASIS, "box": box, "disk_budget_gb": 1.0}
    overdensity.write(made.W, made.holes, made.sphere, made.centroid, settings)
    overdensity_distances.write(made.W, made.sphere, made.distances, made.table, made.statistics, threshold)
    made.summary = write_tokens(made, tokenizer)
    return made


def write_tokens(made: SimpleNamespace, tokenizer: str | None = None, out: str | None = None) -> str:
    files = (made.W, made.holes, made.sphere, made.centroid, made.statistics, out or made.tokens, made.ranking)
    return token_table.write(*files, tokenizer=tokenizer)
