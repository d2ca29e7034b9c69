"""Checkpoints on the Hugging Face hub: downloads the files needed, at one revision, into huggingface_hub's cache."""

from pathlib import Path
from typing import overload

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from blackholes.artifacts.checkpoint_files import INDEX, SINGLE, TOKENIZER, shards, usual
from blackholes.artifacts.files import write_text
from blackholes.errors import UserError


def fetch_weights(repository: str, revision: str, tensor: str = "auto") -> Path:
    """Download the files that hold the embedding; return the index (its shards lie beside it) or the single file.

    Raises:
        UserError: the hub cannot be reached and the file is not cached; the repository, revision or file does not
            exist; the index has no such tensor.
    """
    index = _fetch(repository, revision, INDEX, optional=True)
    if index is None:
        return _fetch(repository, revision, SINGLE)
    files = shards(index)
    names = usual(files) if tensor == "auto" else [name for name in files if name == tensor]
    if not names:
        wanted = "tensor with a usual name" if tensor == "auto" else f"tensor '{tensor}'"
        likely = [name for name in files if "emb" in name.lower()] or list(files)
        raise UserError(f"{repository} at {revision}: no {wanted}; set tensor to one of {', '.join(likely[:8])}")
    for file in dict.fromkeys(files[name] for name in names):
        _fetch(repository, revision, file)
    return index


def fetch_tokenizer(repository: str, revision: str, out: str) -> None:
    """Write the repository's tokenizer.json.

    Raises:
        UserError: as `fetch_weights`; also if the repository has no tokenizer.json.
    """
    file = _fetch(repository, revision, TOKENIZER, optional=True)
    if file is None:
        raise UserError(f"{repository} at {revision}: no {TOKENIZER}; set `tokenizer: null` to go without token texts")
    write_text(out, file.read_text(encoding="utf-8"))


@overload
def _fetch(repository: str, revision: str, file: str) -> Path: ...


@overload
def _fetch(repository: str, revision: str, file: str, optional: bool) -> Path | None: ...


def _fetch(repository: str, revision: str, file: str, optional: bool = False) -> Path | None:
    """A file's path in huggingface_hub's cache; None if it is `optional` and the repository does not have it."""
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except LocalEntryNotFoundError as error:
        reason = f"the hub cannot be reached ({_first_line(error.__cause__ or error)}) and the file is not in the cache"
        raise UserError(f"{repository} at {revision}: {file}: {reason}") from error
    except EntryNotFoundError as error:
        if optional:
            return None
        raise UserError(f"{repository} at {revision}: it has no {file}; expected {SINGLE} or {INDEX}") from error
    except Exception as error:  # the network, the hub and its cache raise many kinds
        raise UserError(f"{repository} at {revision}: {file} cannot be fetched: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
