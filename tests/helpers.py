"""Small data and checks shared by several test modules."""

import pytest
import torch
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.runs import statistics

KEY = "embedding_history"
ADJACENCY = {  # as the default configuration has it
    "identical": {"measure": "chebyshev", "operator": "<=", "threshold": 0},
    "touching": {"measure": "chebyshev", "operator": "<", "threshold": 2**-6},
    "cells": {"measure": "cells", "operator": "<=", "threshold": 1},
}


def random_history(S=5, V=9, D=2, seed=0):
    """bfloat16 (S, V, D) on a coarse lattice of a different scale at each step: equal, touching and distant tokens."""
    random = torch.Generator().manual_seed(seed)
    places = torch.randint(0, 5, (S, V, D), generator=random)
    scale = 2.0 ** torch.randint(-2, 3, (S, 1, 1), generator=random)
    return ((1 + places * 2**-7) * scale).to(torch.bfloat16)


def write_history(path, history):
    write_tensors(path, {KEY: history})
    return str(path)


def names(folder):
    """Sorted names of the files in a folder, including hidden ones."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


BAD_HISTORIES = {  # fault → (function from a good history to the file's tensors, message)
    "key": (lambda h: {"history": h}, "no tensor 'embedding_history' (BF16 (S, V, D)); the file has history"),
    "dtype": (lambda h: {KEY: h.float()}, "tensor 'embedding_history' is F32 (5, 9, 2), expected BF16 (S, V, D)"),
    "rank": (lambda h: {KEY: h[0]}, "tensor 'embedding_history' is BF16 (9, 2), expected BF16 (S, V, D)"),
    "empty": (lambda h: {KEY: h[:0]}, "tensor 'embedding_history' is BF16 (0, 9, 2), expected BF16 (S, V, D)"),
    "nan": (lambda h: {KEY: put(h, float("nan"))}, "nan at step 3, token 7, dimension 1"),
    "infinite": (lambda h: {KEY: put(h, -float("inf"))}, "-inf at step 3, token 7, dimension 1"),
    "truncated": (None, "not a complete safetensors file"),
    "missing": (None, "no such file"),
}


def put(history, value):
    """A history with `value` at step 3, token 7, dimension 1."""
    history = history.clone()
    history[3, 7, 1] = value
    return history


def bad_history(folder, wrong):
    """(path of a history with this fault, the message expected)."""
    path = folder / "embedding_evolution.safetensors"
    make, message = BAD_HISTORIES[wrong]
    if make:
        write_tensors(path, make(random_history()))
    elif wrong == "truncated":
        write_history(path, random_history())
        path.write_bytes(path.read_bytes()[:-1])
    return str(path), f"{path}: {message}"


def refuses_bad_histories(folder, wrong, analyse):
    """`analyse(history, out folder)` raises a one-line UserError that names history and fault, and leaves no file."""
    history, message = bad_history(folder, wrong)
    out = folder / "out"
    with pytest.raises(UserError) as caught:
        analyse(history, out)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert names(out) == []


def run_statistics(history, out, adjacency=ADJACENCY, **options):
    """Statistics of a history as files in the folder `out`, which are returned."""
    files = statistics.Outputs(*(out / name for name in ("counts", "events.csv", "geometry", "graphs")))
    progress = []
    files.said = statistics.write(
        history, adjacency, files, {"made": "here"}, progress=lambda *call: progress.append(call), **options
    )
    assert reported(progress)
    return files


def reported(progress):
    """Whether calls of a progress function end with all steps done; checks that they rise to one total."""
    done = [args[0] for args in progress]
    assert done == sorted(set(done))
    assert len({args[1] for args in progress}) == 1
    return progress[-1][0] == progress[-1][1]


def aligned(*rows):
    """Lines of a table with columns of equal width."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
