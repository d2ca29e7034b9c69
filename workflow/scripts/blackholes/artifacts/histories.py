"""How a history is kept: the names and types in its file, and who writes it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from blackholes.artifacts.rows import RowWriter
from blackholes.artifacts.tensors import TensorWriter

KEY = "embedding_history"  # in safetensors files, bfloat16
HDF5_KEY = "W"  # in HDF5 files, uint16: the bits of bfloat16, which that format does not have


def is_hdf5(path: str | Path) -> bool:
    """Whether a file of this name is, or is to be, an HDF5 file."""
    return Path(path).suffix in (".h5", ".hdf5")


def key_of(path: str | Path) -> str:
    """The key of the history in a file of this name."""
    return HDF5_KEY if is_hdf5(path) else KEY


def history_writer(
    path: str | Path,
    shape: tuple[int, int, int],
    metadata: Mapping[str, str],
    mark: str | None = None,
    dead_mask: np.ndarray | None = None,
) -> RowWriter:
    """A writer of bfloat16 (S, V, D) under `key_of(path)`; an HDF5 file says which tokens are dead, too."""
    layout = {key_of(path): (torch.bfloat16, shape)}
    if not is_hdf5(path):
        return TensorWriter(path, layout, metadata, mark)
    from blackholes.artifacts.hdf5 import Hdf5Writer  # most histories need no HDF5

    arrays = {} if dead_mask is None else {"dead_mask": dead_mask}
    return Hdf5Writer(path, layout, metadata, mark, arrays)
