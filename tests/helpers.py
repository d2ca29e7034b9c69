"""Tiny data that several test modules build on."""

import torch
from blackholes.artifacts.tensors import write_tensors

KEY = "embedding_history"
ADJACENCY = {  # as the default configuration has it
    "identical": {"measure": "chebyshev", "operator": "<=", "threshold": 0},
    "touching": {"measure": "chebyshev", "operator": "<", "threshold": 2**-6},
    "cells": {"measure": "cells", "operator": "<=", "threshold": 1},
}


def random_history(S=5, V=9, D=2, seed=0):
    """bfloat16 (S, V, D) on a coarse lattice whose scale differs from step to step: equal, touching, distant tokens."""
    random = torch.Generator().manual_seed(seed)
    places = torch.randint(0, 5, (S, V, D), generator=random)
    scale = 2.0 ** torch.randint(-2, 3, (S, 1, 1), generator=random)
    return ((1 + places * 2**-7) * scale).to(torch.bfloat16)


def write_history(path, history):
    write_tensors(path, {KEY: history})
    return str(path)


def names(folder):
    """What lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
