"""The embedding of a finished checkpoint, copied in pieces to the file that row C starts from."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from blackholes.artifacts.checkpoint_files import Place, locate
from blackholes.artifacts.tensors import TensorWriter, open_tensors
from blackholes.checkpoints import hub
from blackholes.errors import UserError

KEY = "W"
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_PIECE = 16 << 20  # bytes read at once


def find(model: str | None, source: Mapping) -> Place:
    """Locate a checkpoint's embedding: in a run's `model` folder, or in the configured `hub` repository or `path`.

    Raises:
        UserError: as `locate` and `hub.fetch_weights`.
    """
    if model is None and source["hub"]:
        return locate(hub.fetch_weights(source["hub"], source["revision"], source["tensor"]), source["tensor"])
    return locate(model or source["path"], source["tensor"])


def write_embedding(
    place: Place,
    out: str,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[..., None] = lambda done, total: None,
) -> str:
    """Copy an embedding into W.safetensors: `W` (V, D) in its own dtype. Returns a one-line summary.

    Memory is a few pieces of 16 MB, whatever the size of the checkpoint.

    Raises:
        UserError: naming the file: it is incomplete, or some rows contain NaN or infinity.
    """
    V, D = place.shape
    dtype = DTYPES[place.dtype]
    length = max(1, _PIECE // (D * dtype.itemsize))
    metadata = {**(metadata or {}), "tensor": place.tensor, "file": place.file.name}
    bad: list[int] = []
    with open(place.file, "rb") as source, TensorWriter(out, {KEY: (dtype, (V, D))}, metadata) as writer:
        source.seek(place.start)  # not memory-mapped: some systems refuse a mapping larger than their memory
        for start in range(0, V, length):
            data = np.fromfile(source, np.uint8, min(length, V - start) * D * dtype.itemsize)
            rows = torch.from_numpy(data).view(dtype).view(-1, D)
            bad += (start + (~rows.isfinite().all(1)).nonzero().flatten()).tolist()
            writer.append(KEY, rows)
            progress(min(start + length, V), V)
        if bad:
            more = f" and {len(bad) - 8:,} more" if len(bad) > 8 else ""
            ids = ", ".join(map(str, bad[:8]))
            raise UserError(f"{place.file}: {place.tensor} has NaN or infinity in the rows of tokens {ids}{more}")
    return f"{place.words()} of {place.file.name}"


def read_embedding(path: str) -> Float[Tensor, "V D"]:
    """`W` of W.safetensors.

    Raises:
        UserError: the file cannot be read, or `W` is missing or has another dtype or shape.
    """
    with open_tensors(path) as file:
        dtype = file.dtype(KEY) if KEY in file.keys() else torch.bfloat16  # noqa: SIM118 - a reader, not a dict
        file.expect(KEY, dtype if dtype in DTYPES.values() else torch.bfloat16, ("V", "D"))
        return file.rows(KEY)
