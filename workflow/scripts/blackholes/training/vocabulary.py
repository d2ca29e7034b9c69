"""The `ascii` vocabulary: one token for each character, whose id is its code point; printable names; its tokenizer."""

import json

VOCABULARIES = {"ascii": 128}  # name → number of tokens, for vocabularies of fixed size

_CONTROL = (  # noqa: SIM905 - easier to read than a list
    "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI "
    "DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US space"
).split()
_ESCAPES = {"TAB": r"TAB \t", "LF": r"LF \n", "CR": r"CR \r"}


def character(token_id: int) -> str:
    """A printable name of a token: the character itself, or `space`, `LF \\n`, `NUL`, `DEL`, …"""
    if token_id < len(_CONTROL):
        return _ESCAPES.get(_CONTROL[token_id], _CONTROL[token_id])
    return "DEL" if token_id == 127 else chr(token_id) if chr(token_id).isprintable() else f"U+{token_id:04X}"


def tokenizer(vocabulary_size: int) -> str:
    """The contents of a Hugging Face `tokenizer.json` for a vocabulary of characters: other characters are dropped."""
    model: dict[str, object] = {
        "type": "BPE",  # without merges, so every character is a token
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {chr(token_id): token_id for token_id in range(vocabulary_size)},
        "merges": [],
    }
    parts: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
    }
    parts |= {"pre_tokenizer": None, "post_processor": None, "decoder": {"type": "Fuse"}, "model": model}
    return json.dumps(parts, indent=2) + "\n"
