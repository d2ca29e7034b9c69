"""Byte-level byte-pair encoding, as GPT-2's: tokens learnt from a text (Hugging Face `tokenizers`).

Every text can be encoded and decoded: the first 256 tokens are the bytes. Learning is a function of the text alone.
"""

import os

import numpy as np
from jaxtyping import UInt16

from blackholes.errors import UserError


def learn(text: str, size: int, origin: str) -> str:
    """The contents of a `tokenizer.json` with `size` tokens: the 256 bytes, then the most frequent merges of a text.

    Raises:
        UserError: naming `origin`: the text has fewer pairs that could be merged.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # no threads: a text takes a second
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=[], min_frequency=1, show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    found = tokenizer.get_vocab_size()
    if found != size:
        raise UserError(f"{origin}: gives {found:,} tokens at most, expected corpus.vocabulary_size ({size:,}) or more")
    return tokenizer.to_str(pretty=True) + "\n"


def encode(tokenizer: str, text: str) -> UInt16[np.ndarray, "n"]:
    """Token ids of a text, by the contents of a `tokenizer.json`."""
    from tokenizers import Tokenizer

    return np.array(Tokenizer.from_str(tokenizer).encode(text, add_special_tokens=False).ids, np.uint16)


def texts(tokenizer: str) -> list[str]:
    """What each token stands for, printable: `\\n` for what cannot be seen, `\\xE2` for a part of a character."""
    from tokenizers import Tokenizer

    vocabulary = sorted(Tokenizer.from_str(tokenizer).get_vocab().items(), key=lambda entry: entry[1])
    return [_printable(bytes(_BYTES[character] for character in token)) for token, _ in vocabulary]


def _printable(data: bytes) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
    return "".join(
        named.get(c)
        or (c if c.isprintable() else f"\\x{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) < 0xDD00 else f"\\u{ord(c):04X}")
        for c in data.decode("utf-8", "surrogateescape")
    )


def _byte_characters() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary: itself, or one from U+0100 on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_characters()
