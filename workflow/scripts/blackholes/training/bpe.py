"""Byte-level byte-pair encoding, as GPT-2's, learnt from a text with Hugging Face's `tokenizers`.

The first 256 tokens are the bytes, so any text can be encoded. The same text and size give the same tokenizer.
"""

import os

import numpy as np
from jaxtyping import UInt16

from blackholes.byte_level import BYTES, printable_bytes
from blackholes.errors import UserError


def learn(text: str, size: int, origin: str) -> str:
    """The contents of a `tokenizer.json` with `size` tokens: the 256 bytes, then the most frequent merges of a text.

    Raises:
        UserError: naming `origin`: the text has too few pairs to merge.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one thread is enough: a novel takes a second
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=[], min_frequency=1, show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    learnt = tokenizer.get_vocab_size()
    if learnt != size:
        raise UserError(
            f"{origin}: gives {learnt:,} tokens at most, expected corpus.vocabulary_size ({size:,}) or more"
        )
    return tokenizer.to_str(pretty=True) + "\n"


def encode(tokenizer: str, text: str) -> UInt16[np.ndarray, "n"]:
    """Token ids of a text, by the contents of a `tokenizer.json`."""
    from tokenizers import Tokenizer

    return np.array(Tokenizer.from_str(tokenizer).encode(text, add_special_tokens=False).ids, np.uint16)


def texts(tokenizer: str) -> list[str]:
    """Each token's text with escapes: `\\n` for an unprintable character, `\\xE2` for a byte of one."""
    from tokenizers import Tokenizer

    vocabulary = sorted(Tokenizer.from_str(tokenizer).get_vocab().items(), key=lambda entry: entry[1])
    return [printable_bytes(bytes(BYTES[character] for character in token)) for token, _ in vocabulary]
