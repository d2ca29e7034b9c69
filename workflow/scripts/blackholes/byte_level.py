"""Byte-level vocabularies such as GPT-2's: the characters that stand for bytes, and printable bytes and text."""

_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}


def _byte_characters() -> dict[str, int]:
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


BYTES = _byte_characters()  # character → the byte it stands for; bytes that are not printable have U+0100 and up


def printable(text: str) -> str:
    """Text with escapes for unprintable characters: `\\n`, `\\t`, `\\u200B`; a backslash is doubled."""
    return "".join(
        _NAMED.get(c) or (c if c.isprintable() else f"\\u{ord(c):04X}" if ord(c) < 0x10000 else f"\\U{ord(c):08X}")
        for c in text
    )


def printable_bytes(data: bytes) -> str:
    """The UTF-8 text of some bytes, printable; bytes outside complete characters as `\\xE2`."""
    return "".join(
        f"\\x{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else printable(c)
        for c in data.decode("utf-8", "surrogateescape")
    )
