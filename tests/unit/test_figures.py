"""Every figure, from synthetic runs on disk: it is drawn, says its units, and gives the same bytes twice."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from blackholes.errors import UserError
from blackholes.figures import data, style
from blackholes.training.vocabulary import character

V, DEAD = 128, 51
MODULES = [
    "loss_curves",
    "black_hole_counts",
    "black_hole_means",
    "tokens_per_hole",
    "cluster_dynamics",
    "component_sizes",
    "hole_members",
    "centroid",
    "experiments",
]
FIGURES = Path(style.__file__).parent


# Synthetic runs


def canonical(groups: np.ndarray) -> np.ndarray:
    """(S, V) arbitrary group numbers → the smallest member's token id."""
    out = np.empty_like(groups)
    for row, group in enumerate(groups):
        _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
        out[row] = first[inverse]
    return out


def escape_labels(steps: int, rng: np.random.Generator, dead: np.ndarray, slow: float = 1.0) -> np.ndarray:
    """All tokens in one hole; live ones leave it in groups that later break up: labels (S, V)."""
    t = np.arange(steps + 1)[:, None]
    group = rng.integers(0, 14, V)
    leave = slow * np.exp(rng.normal(2.0, 1.2, 14))[group]
    alone = leave * np.exp(np.abs(rng.normal(0.8, 0.9, V))) + 1
    labels = np.where(t >= alone, 1000 + np.arange(V), np.where(t >= leave, 1 + group, 0))
    return canonical(np.where(dead, 0, labels))


def structure(labels: np.ndarray) -> dict[str, np.ndarray]:
    sizes = np.zeros(labels.shape, np.int32)
    np.add.at(sizes, (np.arange(len(labels))[:, None], labels), 1)
    holes = sizes > 1
    return {
        "counts": holes.sum(1),
        "populations": (sizes * holes).sum(1),
        "largest_bh_size": (sizes * holes).max(1),
        "n_unique": (sizes > 0).sum(1),
        "n_singletons": (sizes == 1).sum(1),
        "largest": sizes.max(1),
    }


def write_run(folder: Path, steps: int, rng: np.random.Generator, dead: np.ndarray, normal: bool = False) -> None:
    folder.mkdir(parents=True)
    t = np.arange(steps + 1)
    if normal:
        equal = np.tile(np.arange(V), (steps + 1, 1))
        touching = canonical(np.where((t[:, None] < 30) & (np.arange(V) % 7 == 0), 0, np.arange(V)))
    else:
        equal, touching = escape_labels(steps, rng, dead), escape_labels(steps, rng, dead, slow=4)
    found = structure(equal)
    save_file(
        {"labels": equal.astype(np.int32), **{k: v.astype(np.int32) for k, v in found.items() if k != "largest"}},
        folder / "black_hole_counts.safetensors",
    )
    graphs = {}
    for name, labels in {"identical": equal, "touching": touching, "cells": touching}.items():
        s = structure(labels)
        graphs |= {f"{name}.labels": labels, f"{name}.n_components": s["n_unique"], f"{name}.n_edges": s["counts"]}
        graphs |= {f"{name}.largest_component_size": s["largest"], f"{name}.n_isolated": s["n_singletons"]}
    save_file({k: v.astype(np.int32) for k, v in graphs.items()}, folder / "graph_statistics.safetensors")
    moved = np.r_[0, 0.02 / (1 + t[1:]) ** 0.6 * rng.lognormal(0, 0.4, steps)]
    moved[(rng.random(steps + 1) < 0.1) & (t > steps // 2)] = 0
    geometry = {"centroid_norm": 8 * (not normal) + 0.3 + np.cumsum(moved) * 0.2, "centroid_displacement": moved}
    geometry["centroid_distance"] = np.cumsum(moved) * 0.5
    geometry["cloud_radius"] = 2.2 * (1 - np.exp(-t / 400)) * rng.uniform(0.9, 1.1) + 0.2 * normal
    save_file({k: v.astype(np.float32) for k, v in geometry.items()}, folder / "geometric_time_series.safetensors")
    n = t[1:]
    loss = 1.5 + 3.3 * (1 + n / 12) ** -0.5 + rng.normal(0, 0.06, steps) - 0.3 * normal * (1 - np.exp(-n / 9))
    log = pd.DataFrame({"step": n, "loss": loss, "grad_norm": 1.0, "learning_rate": 1e-3 * (1 - n / steps)})
    log.to_csv(folder / "training_log.csv", index=False)


def write_experiments(root: Path, steps: int, runs: dict[str, int], n_dead: int = DEAD) -> SimpleNamespace:
    rng = np.random.default_rng(7)
    counts = np.zeros(V, int)
    for token in [10, *range(32, 127)]:
        counts[token] = rng.integers(1, 5000)
    spare = [*range(126, 96, -3), *range(34, 64), *range(64, 97)]
    for token in spare[: max(n_dead - int((counts == 0).sum()), 0)]:
        counts[token] = 0
    names = [character(token) for token in range(V)]
    dead = counts == 0
    status = np.where(dead, "dead", "live")
    table = pd.DataFrame({"token_id": range(V), "character": names, "count": counts, "status": status})
    table.to_csv(root / "tokens.csv", index=False)
    found = SimpleNamespace(tokens=str(root / "tokens.csv"), logs=[], counts=[], graphs=[], geometry=[], names=[])
    for name, number in runs.items():
        for run in range(1, number + 1):
            folder = root / name / f"run_{run:03}"
            write_run(folder, steps, rng, dead, name == "normal")
            found.names.append(name)
            found.logs.append(str(folder / "training_log.csv"))
            found.counts.append(str(folder / "black_hole_counts.safetensors"))
            found.graphs.append(str(folder / "graph_statistics.safetensors"))
            found.geometry.append(str(folder / "geometric_time_series.safetensors"))
    return found


def draw(module: str, made: SimpleNamespace, **more):
    options = {"experiment": made.names[0], "experiments": made.names, "key_steps": [0, 3, 10, 30, 100, 10**6], **more}
    inputs = SimpleNamespace(**vars(made))
    if module == "hole_members":
        inputs.counts = inputs.counts[:1]
    return importlib.import_module(f"blackholes.figures.{module}").from_files(inputs, options)
