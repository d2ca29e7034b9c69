"""The corpus: from a text to token ids, their counts, and the tokens that it never contains (row A)."""

import codecs
import hashlib
import platform
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata as installed
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from blackholes.artifacts.files import write_table, write_text
from blackholes.artifacts.inputs import open_regular
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.limits import LARGEST_TEXT
from blackholes.training import bpe
from blackholes.training import vocabulary as characters
from blackholes.training.downloads import download
from blackholes.training.vocabulary import VOCABULARIES

# Project Gutenberg's markers since 1993; a long title may take several lines.
_START = re.compile(
    r"^[ \t]*\*{3}[ \t]*START OF TH(?:E|IS) PROJECT GUTENBERG"
    r"(?:[^\n]*(?:\n[^\n]+){0,3}?\*{3}[ \t]*$|[^\n]*$)"
    r"|^\*END\*?[ \t]*THE SMALL PRINT![^\n]*$",
    re.MULTILINE | re.IGNORECASE,
)
_END = re.compile(r"^[ \t]*\*{3}[ \t]*END OF TH(?:E|IS) PROJECT GUTENBERG", re.MULTILINE | re.IGNORECASE)
_END_AFTER_START = re.compile(
    r"^[ \t]*(?:\*{3}[ \t]*)?END OF (?:TH(?:E|IS) )?PROJECT GUTENBERG", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True)
class Source:
    """A text before cleaning, its name for messages, and its provenance."""

    text: str
    origin: str
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cleaned:
    """A cleaned text, how often each character outside the vocabulary was dropped, and how many characters were cut."""

    text: str
    dropped: dict[str, int]
    cut: int


def write(settings: Mapping, tokens: str, table: str, tokenizer: str, metadata: Mapping[str, str] | None = None) -> str:
    """Read and clean the text of the `corpus` settings; write `tokens`, `table` (CSV) and `tokenizer` (JSON).

    Returns a line for the log: numbers of tokens, and of characters dropped and cut.

    Raises:
        UserError: naming the file or address: it cannot be read, is empty, or is not what the settings say.
    """
    source = read(settings)
    learnt = settings["vocabulary"] == "bpe"
    size = settings["vocabulary_size"] if learnt else VOCABULARIES[settings["vocabulary"]]
    cleaned = clean(source.text, None if learnt else size)
    n_dropped = sum(cleaned.dropped.values())
    part = cleaned.text[: round(settings["training_part"] * len(cleaned.text))]  # that models train on
    if not part:
        raise UserError(
            f"{source.origin}: empty after cleaning ({n_dropped:,} characters dropped that are not "
            f"{settings['vocabulary']}, {cleaned.cut:,} cut); expected text"
        )
    facts = {
        **source.facts,
        "corpus_text_sha256": hashlib.sha256(cleaned.text.encode()).hexdigest(),
        "corpus_characters_dropped": str(n_dropped),
        "corpus_characters_cut": str(cleaned.cut),
    }
    columns: dict[str, Iterable] = {"token_id": range(size)}
    if learnt:
        whole, origin, more = _tokenizer_text(settings, cleaned.text, source.origin)
        vocabulary = bpe.learn(whole, size, origin)
        ids = bpe.encode(vocabulary, part)
        facts |= more
        columns |= {
            "text": bpe.texts(vocabulary),
            "tokenizer_count": np.bincount(bpe.encode(vocabulary, whole), minlength=size),
        }
    else:
        vocabulary = characters.tokenizer(size)
        ids = encode(part, size)
        columns |= {"character": [characters.character(t) for t in range(size)]}
    counts = np.bincount(ids, minlength=size).astype(np.int64)
    dead = counts == 0
    columns |= {"count": counts, "status": np.where(dead, "dead", "live")}
    write_tensors(tokens, {"token_ids": ids, "token_counts": counts, "dead_mask": dead}, {**(metadata or {}), **facts})
    write_table(table, list(columns), zip(*columns.values(), strict=True))
    write_text(tokenizer, vocabulary)
    of_text = f" in {len(part):,} of {len(cleaned.text):,} characters" if len(part) < len(cleaned.text) else ""
    return (
        f"{source.origin}: {len(ids):,} tokens{of_text}, {size - dead.sum()} live, "
        f"{dead.sum()} dead ({dead.mean():.1%}); {n_dropped:,} characters dropped, {cleaned.cut:,} cut"
    )


def _tokenizer_text(settings: Mapping, text: str, origin: str) -> tuple[str, str, dict[str, str]]:
    """(text to learn tokens from, its name for messages, provenance): the corpus' own text, or another file's."""
    facts = {"tokenizers_version": installed.version("tokenizers")}
    path = settings["tokenizer_text"]
    if path is None:
        return text, origin, facts
    data = _file(path, "corpus.tokenizer_text")
    text = clean(_decode(data, settings["encoding"], path), None).text
    return text, path, facts | {"tokenizer_text_sha256": hashlib.sha256(data).hexdigest()}


def read(settings: Mapping) -> Source:
    """The text that the `corpus` settings name, decoded and otherwise unchanged.

    Raises:
        UserError: missing or unreadable file, unreachable address, wrong checksum, empty, or wrong encoding.
    """
    if settings["source"] == "builtin":
        return _builtin()
    if settings["source"] == "file":
        origin = settings["path"]
        data = _file(origin, "corpus.path")
    else:
        origin = settings["url"]
        data = download(origin)
    checksum, expected = hashlib.sha256(data).hexdigest(), settings.get("sha256")
    if expected and checksum != expected.lower():
        raise UserError(f"{origin}: corpus.sha256: expected {expected.lower()}, got {checksum}")
    text = _decode(data, settings["encoding"], origin)
    return Source(text, origin, {"corpus_origin": Path(origin).name, "corpus_sha256": checksum})


def _file(path: str, key: str) -> bytes:
    try:
        with open_regular(Path(path).expanduser(), LARGEST_TEXT) as file:
            return file.read(LARGEST_TEXT)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file ({key}, from {Path.cwd()})") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({key}): {error.strerror}") from error
    except UserError as error:
        raise UserError(f"{error} ({key})") from error


def clean(text: str, vocabulary_size: int | None = 128) -> Cleaned:
    """The text that models are trained on.

    In this order: line ends become LF; a Project Gutenberg header and footer are cut, with their markers; characters
    outside the vocabulary (code point ≥ `vocabulary_size`, if given) are dropped; ASCII whitespace at both ends is cut,
    which gives the published corpus its length.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    length = len(text)
    start = _START.search(text)
    end = (_END_AFTER_START if start else _END).search(text, start.end() if start else 0)
    text = text[start.end() if start else 0 : end.start() if end else None]
    cut = length - len(text)
    points = _code_points(text)
    kept = points < (vocabulary_size or np.inf)
    characters, numbers = np.unique(points[~kept], return_counts=True)
    text = points[kept].tobytes().decode("utf-32-le")
    stripped = text.strip(string.whitespace)
    dropped = {chr(point): int(number) for point, number in zip(characters, numbers, strict=True)}
    return Cleaned(stripped, dropped, cut + len(text) - len(stripped))


def encode(text: str, vocabulary_size: int = 128) -> Shaped[np.ndarray, "n"]:
    """Token ids, a character each: its code point, as uint8 (uint16 where the vocabulary is larger than 256).

    Raises:
        ValueError: a character is not in the vocabulary.
    """
    points = _code_points(text)
    if len(points) and points.max() >= vocabulary_size:
        raise ValueError(f"{chr(points.max())!r} is not among the {vocabulary_size} tokens")
    return points.astype(np.uint8 if vocabulary_size <= 256 else np.uint16)


def decode(token_ids: Shaped[np.ndarray, "n"]) -> str:
    """The text of token ids."""
    return "".join(map(chr, token_ids.tolist()))


def _builtin() -> Source:
    """The topics of CPython's language reference, in key order: needs no network; the same for one Python version."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UserError(
            f"corpus.source: builtin needs pydoc_data.topics, which this Python {platform.python_version()} lacks"
        ) from error
    text = "\n\n".join(topics[key] for key in sorted(topics))
    digest = hashlib.sha256(text.encode()).hexdigest()
    python = platform.python_version()
    facts = {"corpus_origin": "pydoc_data.topics", "corpus_python": python, "corpus_sha256": digest}
    return Source(text, f"pydoc_data.topics of Python {python}", facts)


def _decode(data: bytes, encoding: str, origin: str) -> str:
    if not data:
        raise UserError(f"{origin}: is empty; expected text")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at position {error.start:,}"
        raise UserError(f"{origin}: corpus.encoding: {byte} is not {codecs.lookup(encoding).name}") from error
    except UnicodeError as error:
        raise UserError(f"{origin}: corpus.encoding: not {encoding}: {error}") from error


def _code_points(text: str) -> Shaped[np.ndarray, "n"]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
