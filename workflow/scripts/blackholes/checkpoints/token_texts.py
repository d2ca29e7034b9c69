"""What the tokens of a checkpoint are: their text, category and script, and whether any text encodes to them (row C).

Reads a `tokenizer.json` of Hugging Face tokenizers: byte-level BPE (GPT-2, Qwen), BPE and Unigram with byte fallback
(Llama, T5), WordPiece (BERT), and vocabularies of characters or words.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from tokenizers import AddedToken, Tokenizer

from blackholes.artifacts.inputs import open_regular
from blackholes.byte_level import BYTES, printable, printable_bytes
from blackholes.checkpoints.characters import Completions, is_letter, script
from blackholes.errors import UserError

LARGEST = 256 * 2**20  # bytes of a tokenizer file; that of Gemma has 33 million
BATCH = 20_000  # texts encoded at once: about 20 MB of encodings
CATEGORIES = ("ordinary", "special", "byte", "partial_utf8", "unreachable", "padding", "unknown")
_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class Explained:
    """One entry for every row of the embedding matrix."""

    text: list[str]  # printable; empty if no token has this id
    category: list[str]  # one of CATEGORIES
    script: list[str]
    merge_rank: list[int | None]
    round_trips: Bool[np.ndarray, "V 3"]  # does its text, alone, after a space, in a context, encode to the token?


LARGEST_ID = 10_000_000  # of a token: 40 times the largest vocabulary in use


@dataclass(frozen=True)
class Piece:
    """What a token stands for inside a text."""

    text: str | None  # None if its bytes are not complete UTF-8
    data: bytes = b""  # those bytes, if `text` is None or the token is a byte-fallback token
    shown: str = ""  # as printed in tables


class Vocabulary:
    """The tokens of a tokenizer file, by id."""

    def __init__(self, path: str | Path):
        """Raises UserError, naming the file, if it is missing or not a Hugging Face tokenizer."""
        try:
            with open_regular(path, LARGEST) as file:
                self.tokenizer = Tokenizer.from_buffer(file.read())
        except UserError:
            raise
        except Exception as error:  # the library raises nothing narrower
            reason = "no such file" if not Path(path).exists() else " ".join(str(error).split())
            raise UserError(f"{path}: {reason}; expected a tokenizer.json of Hugging Face tokenizers") from error
        # the library's `to_str` takes memory for every id up to the largest
        if (last := max(self.tokenizer.get_vocab().values(), default=0)) > LARGEST_ID:
            raise UserError(f"{path}: a token has the id {last:,}; expected {LARGEST_ID:,} or less")
        self._add(Path(path).with_name("tokenizer_config.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.added = {id: token.content for id, token in self.tokenizer.get_added_tokens_decoder().items()}
        self._parts = json.loads(self.tokenizer.to_str())
        self.model: dict = self._parts["model"]
        self.tokens: dict[int, str] = {id: token for token, id in self.tokenizer.get_vocab().items()}

    def _add(self, config: Path) -> None:
        """Add the tokens that older checkpoints list only in tokenizer_config.json, if their ids follow the others."""
        if not config.is_file():
            return
        try:
            with open_regular(config, LARGEST) as file:
                more = json.loads(file.read().decode("utf-8")).get("added_tokens_decoder") or {}
            for id, token in sorted((int(id), token) for id, token in more.items()):
                if id == self.tokenizer.get_vocab_size():
                    self.tokenizer.add_tokens([AddedToken(token["content"], special=bool(token.get("special")))])
        except (ValueError, AttributeError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise UserError(
                f"{config}: added_tokens_decoder cannot be read ({error}); expected id → content"
            ) from error

    @cached_property
    def _steps(self) -> list[dict]:
        """All normalizers, pre-tokenizers and decoders, including nested ones."""
        queue, steps = [self._parts.get(key) for key in ("normalizer", "pre_tokenizer", "decoder")], []
        while queue:
            step = queue.pop()
            if isinstance(step, dict):
                steps.append(step)
                queue += [inner for value in step.values() if isinstance(value, list) for inner in value]
        return steps

    @cached_property
    def _byte_level(self) -> bool:
        return any(step.get("type") == "ByteLevel" for step in self._steps)

    @cached_property
    def _space(self) -> str:
        """The character that stands for a space inside a token, such as SentencePiece's ▁."""
        for step in self._steps:
            if step.get("type") == "Metaspace":
                return step.get("replacement", "▁")
            if step.get("type") == "Replace" and step.get("content") == " ":
                return step["pattern"].get("String", " ")
        return " "

    def piece(self, id: int) -> Piece:
        """What token `id` stands for; the id must exist."""
        token = self.tokens[id]
        if id in self.added:
            return Piece(token, shown=printable(token))
        fallback = _FALLBACK.fullmatch(token) if self.model.get("byte_fallback") else None
        if fallback:
            return _of_bytes(bytes.fromhex(fallback[1]), always=True)
        if self._byte_level and all(character in BYTES for character in token):
            return _of_bytes(bytes(BYTES[character] for character in token))
        text, prefix = token, self.model.get("continuing_subword_prefix") or ""
        text = text.removesuffix(self.model.get("end_of_word_suffix") or "").replace(self._space, " ")
        return Piece(text.removeprefix(prefix) if prefix and len(text) > len(prefix) else text, shown=printable(text))

    def merge_ranks(self) -> dict[int, int]:
        """Token id → the order in which BPE learnt it, or for Unigram its rank by probability; empty for WordPiece."""
        ids, kind = {token: id for id, token in self.tokens.items()}, self.model.get("type")
        if kind == "Unigram":
            order = sorted(self.model["vocab"], key=lambda entry: -entry[1])
            return {ids[token]: rank for rank, (token, _) in enumerate(order) if token in ids}
        ranks: dict[int, int] = {}
        prefix = self.model.get("continuing_subword_prefix") or ""
        for rank, pair in enumerate(self.model.get("merges") or []):
            left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
            token = left + right.removeprefix(prefix)
            if token in ids:
                ranks.setdefault(ids[token], rank)
        return ranks

    def holding(self, ids: Sequence[int], texts: Sequence[str]) -> Bool[np.ndarray, "n"]:
        """Whether each text's encoding contains the token at the same place in `ids`."""
        os.environ.setdefault("RAYON_NUM_THREADS", str(torch.get_num_threads()))  # threads of the tokenizers library
        held: list[bool] = []
        for start in range(0, len(ids), BATCH):
            batch = slice(start, start + BATCH)
            encodings = self._encode(list(texts[batch]))
            held += [id in encoding for id, encoding in zip(ids[batch], encodings, strict=True)]
        return np.array(held, bool)

    def _encode(self, texts: list[str]) -> Iterator[list[int]]:
        try:
            encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except Exception:  # a text has an unknown character, and the vocabulary has no token for those
            if len(texts) == 1:
                yield []
                return
            half = len(texts) // 2
            yield from self._encode(texts[:half])
            yield from self._encode(texts[half:])
            return
        for encoding in encodings:
            yield encoding.ids

    def neutral(self, texts: Sequence[str]) -> str:
        """A letter to write around a token: one that is itself a token and occurs in the fewest other tokens."""
        uses = Counter(character for text in texts for character in set(text) if len(text) > 1)
        letters = {text for text in texts if len(text) == 1 and is_letter(text)}
        for letter in sorted(letters, key=lambda letter: (uses[letter], letter))[:100]:
            if any(len(ids) == 1 and self.tokens.get(ids[0], "").endswith(letter) for ids in self._encode([letter])):
                return letter
        return min(letters, default="x")


def _of_bytes(data: bytes, always: bool = False) -> Piece:
    """The piece of a byte-level token; `always`: of a byte-fallback token, which stays a byte even if it is ASCII."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    return Piece(
        text, data if always or text is None else b"", f"\\x{data[0]:02X}" if always else printable_bytes(data)
    )


def texts(path: str | Path, V: int) -> list[str]:
    """The printable text of tokens 0 to V − 1 of a tokenizer file; empty for ids without a token."""
    vocabulary = Vocabulary(path)
    return [vocabulary.piece(id).shown if id in vocabulary.tokens else "" for id in range(V)]


def explain(path: str | Path | None, V: int) -> Explained:
    """What each of the V rows of an embedding matrix stands for, and whether any text encodes to it.

    Categories: `special`, an added token; `byte`, a byte-fallback token or a single byte that is not a character;
    `partial_utf8`, several bytes that are not complete UTF-8 by themselves; `padding`, a row without a token in the
    tokenizer; `unreachable`, none of the texts tried encodes to it; `ordinary`, all others; `unknown`, without a
    tokenizer.

    Round trips (V, 3): whether the encoding of a text contains the token, for the token's text without a leading
    space, with one, and in a context. Contexts put a neutral letter on both sides or on one, full stops, or line ends
    around it; they are tried until one succeeds, since one failure proves nothing. Bytes and partial UTF-8 are tried
    inside up to 4,096 characters, sampled evenly from all whose UTF-8 contains these bytes.
    """
    if path is None:
        return Explained([""] * V, ["unknown"] * V, [""] * V, [None] * V, np.zeros((V, 3), bool))
    vocabulary = Vocabulary(path)
    pieces = {id: vocabulary.piece(id) for id in range(V) if id in vocabulary.tokens}
    trips = np.zeros((V, 3), bool)
    known = {id: piece.text for id, piece in pieces.items() if piece.text is not None}
    whole, texts = np.array(list(known), int), list(known.values())
    bare = [text.removeprefix(" ") for text in texts]
    trips[whole, 0] = vocabulary.holding(whole.tolist(), bare)
    trips[whole, 1] = vocabulary.holding(whole.tolist(), [f" {text}" for text in bare])
    letter = vocabulary.neutral(texts)
    for left, right in [(letter, letter), (letter, ""), ("", letter), (".", "."), ("\n", ""), ("", "\n"), ("", "")]:
        remaining = np.flatnonzero(~trips[whole, 2])
        trips[whole[remaining], 2] = vocabulary.holding(
            whole[remaining].tolist(), [f"{left}{texts[index]}{right}" for index in remaining]
        )
    partial = [id for id, piece in pieces.items() if piece.text is None]
    completions = Completions(pieces[id].data for id in partial)
    for most in (4, 64, 4096):
        tried = [(id, text) for id in partial if not trips[id, 2] for text in completions.texts(pieces[id].data, most)]
        held = vocabulary.holding([id for id, _ in tried], [text for _, text in tried])
        trips[[id for (id, _), hit in zip(tried, held, strict=True) if hit], 2] = True

    ranks = vocabulary.merge_ranks()
    category, scripts = ["padding"] * V, [""] * V
    for id, piece in pieces.items():
        category[id] = _category(piece, id in vocabulary.added, bool(trips[id].any()))
        if id in vocabulary.added:
            continue
        own = script(piece.text if piece.text is not None else piece.data.decode("utf-8", "ignore"))
        if piece.text is None and own == "Common":  # no complete letter: the script of all characters it can be part of
            own = script("".join(completions.texts(piece.data, 64)))
            own = "" if own == "Mixed" else own
        scripts[id] = own
    shown = [pieces[id].shown if id in pieces else "" for id in range(V)]
    return Explained(shown, category, scripts, [ranks.get(id) for id in range(V)], trips)


def _category(piece: Piece, added: bool, reached: bool) -> str:
    if added:
        return "special"
    if piece.data:
        return "byte" if len(piece.data) == 1 else "partial_utf8"
    return "ordinary" if reached else "unreachable"
