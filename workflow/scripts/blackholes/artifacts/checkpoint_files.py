"""Finds the embedding of a checkpoint: a folder, a safetensors file or a sharded index → the bytes of one tensor.

Only headers are read, whatever the size of the files. Imports no torch, since rules import it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from blackholes.artifacts.files import write_text
from blackholes.artifacts.inputs import open_regular
from blackholes.artifacts.provenance import digest
from blackholes.artifacts.safetensors_header import read_header
from blackholes.errors import UserError

INDEX, SINGLE, TOKENIZER = "model.safetensors.index.json", "model.safetensors", "tokenizer.json"
# Usual names of the embedding, to which a prefix may be added, as in `bert.embeddings.word_embeddings.weight`. Names of
# the output are used only if none of the input matches. If several tensors match, they must be equal.
INPUTS = (
    "wte.weight",  # GPT-2
    "embed_tokens.weight",  # Llama, Qwen, Mistral, Gemma, and the language model inside a multimodal one
    "word_embeddings.weight",  # BERT, RoBERTa, BLOOM, Falcon
    "tok_embeddings.weight",  # Llama as first published, ModernBERT
    "embed_in.weight",  # GPT-NeoX
    "shared.weight",  # T5, BART
    "backbone.embeddings.weight",  # Mamba
)
OUTPUTS = ("lm_head.weight", "embed_out.weight", "predictions.decoder.weight", "output.weight")
ALONE = (
    "embedding.weight",
    "embeddings.weight",
    "embeddings",
)  # without a prefix: of models that are an embedding alone
SIZES = {"BF16": 2, "F16": 2, "F32": 4}  # dtypes that can be read, by safetensors' name → bytes
LARGEST_INDEX = 64 * 2**20  # bytes; that of a model of 671 billion parameters has 9 million
_PIECE = 1 << 24


@dataclass(frozen=True)
class Place:
    """A tensor in a safetensors file."""

    file: Path
    tensor: str
    dtype: str  # as safetensors calls it
    shape: tuple[int, ...]
    start: int  # its bytes in the file
    stop: int

    def words(self) -> str:
        return f"{self.tensor} {self.dtype} ({', '.join(map(str, self.shape))})"


def locate(path: str | os.PathLike, tensor: str = "auto") -> Place:
    """The embedding (V, D) of the checkpoint at `path`.

    Args:
        path: a folder with `model.safetensors` or shards, a safetensors file, or a sharded index.
        tensor: its name; `auto` goes by INPUTS, then OUTPUTS, then ALONE.

    Raises:
        UserError: naming the file and what is wrong: missing, truncated, no such tensor or several that differ (with
            the candidates), not (V, D) in bfloat16, float16 or float32.
    """
    path = Path(path).expanduser()
    files = _files(path)
    names = usual(files) if tensor == "auto" else [name for name in files if name == tensor]
    places = [_header(files[name])[name] for name in names if name in _header(files[name])]
    if not places:
        wanted = "tensor with a usual name" if tensor == "auto" else f"tensor '{tensor}'"
        raise UserError(f"{path}: no {wanted}; {_candidates(files)}")
    first, *others = places
    if any(not _same(first, other) for other in others):
        several = ", ".join(place.words() for place in places)
        raise UserError(f"{path}: several tensors could be the embedding; set tensor to one of {several}")
    if len(first.shape) != 2 or 0 in first.shape or first.dtype not in SIZES:
        raise UserError(f"{first.file}: tensor {first.words()}; expected (V, D) in {', '.join(SIZES)}")
    return first


def usual(names: Iterable[str]) -> list[str]:
    """Those of the `names` that are usual for an embedding, the likeliest first."""
    names = list(names)
    for ends in (INPUTS, OUTPUTS):
        matches = [name for end in ends for name in sorted(names) if name == end or name.endswith(f".{end}")]
        if matches:
            return matches
    return [name for name in ALONE if name in names]


def shards(index: str | os.PathLike) -> dict[str, str]:
    """Tensor → file name, of a sharded index. Names stay inside the index's folder, whoever wrote it.

    Raises:
        UserError: not such an index; a name of a file leaves the folder.
    """
    try:
        with open_regular(index, LARGEST_INDEX) as file:
            weight_map = json.loads(file.read().decode("utf-8"))["weight_map"]
        if all(isinstance(file, str) for file in weight_map.values()):
            _refuse_outside(index, weight_map.values())
            return weight_map
    except OSError as error:
        raise UserError(f"{index}: cannot be read: {error.strerror}") from error
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise UserError(f"{index}: not a sharded index; expected JSON with a weight_map from tensors to files")


def _refuse_outside(index: str | os.PathLike, files: Iterable[str]) -> None:
    """Raise for a shard that is no relative path or goes up. Links are followed: the hub's cache consists of them."""
    for file in dict.fromkeys(files):
        path = PurePath(file)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in file:
            raise UserError(f"{index}: shard {file!r}; expected the name of a file in this folder")
        if max(len(os.fsencode(part)) for part in path.parts) > 255:
            raise UserError(f"{index}: shard {file[:40]!r}…: a name of {len(file)} characters; expected at most 255")


def tokenizer_beside(path: str | os.PathLike) -> Path | None:
    """tokenizer.json in a checkpoint's folder, if there is one."""
    path = Path(path).expanduser()
    file = (path if path.is_dir() else path.parent) / TOKENIZER
    return file if file.is_file() else None


def content(place: Place, known: str | os.PathLike | None = None) -> str:
    """16 hexadecimal digits that identify a tensor: dtype, shape and every byte.

    Args:
        known: a file that caches digests by path, size and time of change, so that not every call of Snakemake reads
            gigabytes.
    """
    status = place.file.stat()
    key = f"{place.file.resolve()}|{place.tensor}|{status.st_size}|{status.st_mtime_ns}"
    digests = {}
    if known is not None:
        with suppress(OSError, ValueError):
            digests = json.loads(Path(known).read_text(encoding="utf-8"))
    if key not in digests:
        digests[key] = digest([place.dtype, place.shape, _sha256(place)])
        if known is not None:
            with suppress(OSError, UserError):  # a read-only folder: the tensor is read again next time
                write_text(known, json.dumps(digests, indent=0))
    return digests[key]


def _files(path: Path) -> dict[str, Path]:
    """Tensor → its file."""
    if path.is_dir():
        index, single = path / INDEX, path / SINGLE
        files = [index] if index.is_file() else [single] if single.is_file() else sorted(path.glob("*.safetensors"))
        if not files:
            raise UserError(f"{path}: no {SINGLE}, {INDEX} or other safetensors file in this folder")
    elif path.is_file():
        files = [path]
    else:
        raise UserError(f"{path}: no such file or folder")
    if files[0].suffix == ".json":
        return {name: files[0].parent / file for name, file in shards(files[0]).items()}
    return {name: file for file in files for name in _header(file)}


def _header(file: Path) -> Mapping[str, Place]:
    """Every tensor of a safetensors file, which has to be complete."""
    if not file.exists():
        raise UserError(f"{file}: no such file; is a shard missing?")
    header = read_header(file)
    start = len(header.raw)
    places = {
        name: Place(file, name, at["dtype"], tuple(at["shape"]), *(start + offset for offset in at["data_offsets"]))
        for name, at in header.tensors.items()
    }
    if not places:
        raise UserError(f"{file}: not a complete safetensors file")
    return places


def _candidates(files: Mapping[str, Path]) -> str:
    """The matrices with most rows, for an error that asks for a name."""
    places: dict[str, Place] = {}
    for file in sorted(set(files.values())):
        with suppress(UserError):  # a missing shard
            places |= _header(file)
    matrices = [place for place in places.values() if len(place.shape) == 2 and place.dtype in SIZES]
    if not matrices:
        return "and no matrix in BF16, F16 or F32"
    most = sorted(matrices, key=lambda place: (-place.shape[0], place.tensor))[:8]
    return f"set tensor to one of {', '.join(place.words() for place in most)}"


def _same(one: Place, other: Place) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(a == b for a, b in zip(_pieces(one), _pieces(other), strict=True))


def _pieces(place: Place):
    with open(place.file, "rb") as file:
        file.seek(place.start)
        for left in range(place.stop - place.start, 0, -_PIECE):
            yield file.read(min(left, _PIECE))


def _sha256(place: Place) -> str:
    sha256 = hashlib.sha256()
    for piece in _pieces(place):
        sha256.update(piece)
    return sha256.hexdigest()
