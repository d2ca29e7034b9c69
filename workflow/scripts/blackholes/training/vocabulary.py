"""Which characters are tokens, and what a reader calls them. Token id = code point."""

VOCABULARIES = {"ascii": 128}  # name → number of tokens

_CONTROL = (  # noqa: SIM905 - read as a row of names
    "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI "
    "DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US space"
).split()
_ESCAPES = {"TAB": r"TAB \t", "LF": r"LF \n", "CR": r"CR \r"}


def character(token_id: int) -> str:
    """A printable name of a token: the character itself, or `space`, `LF \\n`, `NUL`, `DEL`, …"""
    if token_id < len(_CONTROL):
        return _ESCAPES.get(_CONTROL[token_id], _CONTROL[token_id])
    return "DEL" if token_id == 127 else chr(token_id) if chr(token_id).isprintable() else f"U+{token_id:04X}"
