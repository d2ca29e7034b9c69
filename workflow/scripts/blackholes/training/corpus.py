"""The corpus: from a text to token ids, their counts, and the tokens that it never contains (row A)."""

import codecs
import hashlib
import http.client
import platform
import re
import string
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata as installed
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from blackholes.artifacts.files import write_table, write_text
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.training import bpe
from blackholes.training import vocabulary as characters
from blackholes.training.vocabulary import VOCABULARIES

LARGEST = 256 * 2**20  # most bytes of a download

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
        return Path(path).expanduser().read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file ({key}, from {Path.cwd()})") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({key}): {error.strerror}") from error


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


def download(url: str, timeout: float = 30.0, tries: int = 3, pause: float = 2.0, deadline: float = 600.0) -> bytes:
    """The bytes at an address, held in memory: nothing is left on disk when it fails.

    Temporary failures (no connection, a time-out, a lost connection, a busy server) are retried with growing pauses.

    Args:
        timeout: seconds without a byte; deadline: seconds for one try as a whole.

    Raises:
        UserError: naming the address and what went wrong.
    """
    for attempt in range(1, tries + 1):
        try:
            return _fetch(url, timeout, deadline)
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 425, 429):
                raise UserError(f"{url}: {reason} (corpus.url)") from error
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            reason = " ".join(str(getattr(error, "reason", "") or error).split()) or type(error).__name__
        if attempt < tries:
            time.sleep(pause * 2 ** (attempt - 1))
    raise UserError(
        f"{url}: cannot be read, tried {tries} times: {reason} (corpus.url; offline, use corpus.source file or builtin)"
    )


def _fetch(url: str, timeout: float, deadline: float) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "token-black-holes (corpus download)"})
    began, data = time.monotonic(), bytearray()
    with urllib.request.urlopen(request, timeout=timeout) as response:
        kind = response.headers.get_content_type()
        if kind in ("text/html", "application/xhtml+xml"):
            raise UserError(f"{url}: is a web page ({kind}); expected plain text (corpus.url)")
        length = response.length  # of the header; None without one
        while chunk := response.read1(1 << 16):
            data += chunk
            if len(data) > LARGEST or (length or 0) > LARGEST:
                raise UserError(f"{url}: is larger than {LARGEST / 2**20:.0f} MiB; expected a text (corpus.url)")
            if time.monotonic() - began > deadline:
                raise TimeoutError(f"not complete after {deadline:g} s")
    if length is not None and len(data) != length:  # http.client does not report a body that ends early
        raise ConnectionError(f"{len(data):,} bytes came of {length:,}")
    return bytes(data)


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
