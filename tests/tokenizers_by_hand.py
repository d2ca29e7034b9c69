"""Small tokenizers of every kind, made by hand, so that what each token is can be said beforehand."""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers


def _save(tokenizer: Tokenizer, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder / "tokenizer.json")


def as_bytes(data: bytes) -> str:
    """Bytes as a byte-level vocabulary spells them: what can be seen in Latin-1 as itself, others from U+0100 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in seen]
    return "".join(chr(byte if byte in seen else 256 + hidden.index(byte)) for byte in data)


def byte_level(folder: Path) -> tuple[str, dict[bytes | str, int]]:
    """(file, bytes → id): 256 bytes, merges on the way to ` the`, `é`, half of `ก`, and `abc`, which no text gives."""
    ids = {bytes([byte]): byte for byte in range(256)}
    merges = [
        (b"b", b"c"),  # before a + b: so abc is never ab + c
        (b"a", b"b"),
        (b"ab", b"c"),
        (b"t", b"h"),
        (b"th", b"e"),
        (b" ", b"the"),
        (b"\xc3", b"\xa9"),
        (b"\xe0", b"\xb8"),
        (b" ", b"\xe0\xb8"),
        (b"\xb8", b"\x81"),
        (b"1", b"2"),  # and the pre-tokenizer parts digits
    ]
    for left, right in merges:
        ids[left + right] = len(ids)
    vocabulary = {as_bytes(data): id for data, id in ids.items()}
    merges = [(as_bytes(left), as_bytes(right)) for left, right in merges]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\p{L}+|\p{N}|\s+|[^\s\p{L}\p{N}]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    return _save(tokenizer, folder), ids | {"<|end|>": len(vocabulary)}


def word_piece(folder: Path) -> tuple[str, dict[str, int]]:
    """(file, token → id) of a lower-casing BERT: truncation and padding are on, as such files often have them."""
    words = ["[PAD]", "[unused0]", "[UNK]", "q", "##q", "play", "##ing", "Play", "##!", "!", "漢", "##漢", "é", "##s"]
    ids = {word: id for id, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=4)
    return _save(tokenizer, folder), ids


def unigram(folder: Path) -> tuple[str, dict[str, int]]:
    """(file, token → id) of a SentencePiece model with byte fallback."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((f"<0x{byte:02X}>", -20.0) for byte in range(256))]
    pieces += [("▁", -2.0), ("▁the", -1.0), ("the", -3.0), ("t", -4.0), ("h", -4.5), ("e", -5.0), ("z", -6.0)]
    pieces += [("ze", -30.0), ("กา", -7.0)]  # z + e is likelier than ze
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.add_special_tokens(["<unk>", "</s>"])
    return _save(tokenizer, folder), {piece: id for id, (piece, _) in enumerate(pieces)}


def llama(folder: Path) -> tuple[str, dict[str, int]]:
    """(file, token → id) of BPE as in Llama 2: a normalizer, and no pre-tokenizer, puts ▁ for every space."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "t", "h", "e", "z", "th", "the", "▁the"]
    ids = {piece: id for id, piece in enumerate(pieces)}
    merges = [("t", "h"), ("th", "e"), ("▁", "the")]
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return _save(tokenizer, folder), ids


def merged_twice(folder: Path) -> tuple[str, dict[str, int]]:
    """(file, token → id) of BPE that makes `abc` of ab + c, and later in its list of a + bc too."""
    ids = {token: id for id, token in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
    return _save(Tokenizer(models.BPE(ids, [("a", "b"), ("ab", "c"), ("b", "c"), ("a", "bc")])), folder), ids


def in_one_context(folder: Path, patterns: dict[str, str]) -> tuple[str, dict[str, int]]:
    """(file, token → id): a token is encoded only where its pattern matches; elsewhere every character is a token."""
    tokens = [*map(chr, range(128)), *patterns]
    tokenizer = Tokenizer(models.WordLevel({token: id for id, token in enumerate(tokens)}))
    regex = Regex("|".join([*patterns.values(), r"[\s\S]"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(regex, "isolated")
    return _save(tokenizer, folder), {token: id for id, token in enumerate(tokens)}


def characters(folder: Path, size: int = 128) -> str:
    """One token a character, id = code point; no token stands for others."""
    tokenizer = Tokenizer(models.WordLevel({chr(point): point for point in range(size)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _save(tokenizer, folder)


def with_more_tokens(file: str, *contents: str, first: int, special: bool = True) -> None:
    """tokenizer_config.json beside a tokenizer, with tokens that it does not have."""
    more = {first + place: {"content": content, "special": special} for place, content in enumerate(contents)}
    Path(file).with_name("tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": more}))
