"""Unicode, from Python's own tables: the script of a text, and the characters whose UTF-8 contains given bytes."""

import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import chain

PLANES = (range(0x80, 0xD800), range(0xE000, 0x30000))  # where texts have characters
ELSEWHERE = range(0x30000, 0x110000, 0x400)  # a sample of the other code points
_FORMS = {"FULLWIDTH", "HALFWIDTH", "CIRCLED", "PARENTHESIZED", "SQUARE", "SQUARED", "NEGATIVE", "SMALL", "VERTICAL"}
_NO_SCRIPT = {  # first words in names of letters and marks that belong to several scripts or to none
    *("MODIFIER", "MATHEMATICAL", "SUPERSCRIPT", "SUBSCRIPT", "FEMININE", "MASCULINE", "MICRO", "DOUBLE-STRUCK"),
    *("BLACK-LETTER", "SCRIPT", "COMBINING", "ALEF", "BET", "GIMEL", "DALET", "PLANCK", "INFORMATION", "EULER", "OHM"),
    *("KATAKANA-HIRAGANA", "VARIATION", "TURNED", "ROTATED", "INVERTED", "REVERSED", "BOLD", "ITALIC", "CARON"),
    *("TILDE", "MASU", "MUSICAL", "ROMAN", "KANA", "VEDIC"),
}
_SAME = {"CJK": "Han", "IDEOGRAPHIC": "Han", "KANGXI": "Han", "KELVIN": "Latin", "ANGSTROM": "Latin"}
_TWO_WORDS = {"OLD", "NEW", "TAI", "MEETEI", "SYLOTI", "KAYAH", "OL", "LINEAR", "SORA", "PAU", "MENDE", "CAUCASIAN"}


def is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] == "L"


@cache
def script_of(character: str) -> str:
    """`Latin`, `Han`, `Thai`, …: the first word of a letter's or mark's Unicode name; `Common` for all others.

    An approximation of the Unicode property Script, which Python's tables lack.
    """
    if unicodedata.category(character)[0] not in "LM":
        return "Common"
    words = unicodedata.name(character, "").split()
    while words and words[0] in _FORMS:
        words.pop(0)
    if not words or words[0] in _NO_SCRIPT:
        return "Common"
    if words[0] in _SAME:
        return _SAME[words[0]]
    return " ".join(words[: 2 if words[0] in _TWO_WORDS else 1]).title()


def script(text: str) -> str:
    """The script of a text's letters: one name, `Mixed`, or `Common` if there are no letters."""
    scripts = {script_of(character) for character in set(text)} - {"Common"}
    return scripts.pop() if len(scripts) == 1 else "Mixed" if scripts else "Common"


class Completions:
    """Texts whose UTF-8 contains given byte strings, each of which is incomplete UTF-8.

    Such a byte string is the end of one character, then whole characters, then the start of another (each optional),
    or the middle of a single character.
    """

    def __init__(self, parts: Iterable[bytes]):
        self._split = {part: _split(part) for part in set(parts)}
        self._characters: dict[tuple[str, bytes], list[str]] = {
            piece: [] for pieces in self._split.values() for piece in pieces
        }
        for point in chain(*PLANES, ELSEWHERE) if self._characters else ():
            character = chr(point)
            if point < ELSEWHERE.start and unicodedata.category(character) == "Cn":  # unassigned
                continue
            data = character.encode()
            for start in range(len(data)):
                for stop in range(start + 1, len(data) + 1):
                    where = "start" if start == 0 else "end" if stop == len(data) else "middle"
                    if (matches := self._characters.get((where, data[start:stop]))) is not None:
                        matches.append(character)

    def texts(self, part: bytes, most: int) -> list[str]:
        """Up to `most` texts that contain `part`, evenly sampled from all; [] if no text does."""
        candidates = {where: self._characters[where, piece] for where, piece in self._split[part]}
        if "middle" in candidates:
            return _spread(candidates["end"] + candidates["middle"], most)
        if not candidates or not all(candidates.values()):
            return []
        ends, starts = (_spread(candidates.get(where, [""]), most) for where in ("end", "start"))
        whole = part.decode("utf-8", "ignore")
        number = max(len(ends), len(starts))
        return [f"{ends[index % len(ends)]}{whole}{starts[index % len(starts)]}" for index in range(number)]


def _split(part: bytes) -> list[tuple[str, bytes]]:
    """The incomplete characters in `part`, as ("end" | "middle" | "start", bytes); [] if no UTF-8 contains `part`."""
    tail = next((index for index, byte in enumerate(part) if byte & 0xC0 != 0x80), len(part))
    if tail == len(part):  # continuation bytes only: the end or the middle of a character
        return [("end", part), ("middle", part)] if tail <= 3 else []
    head = max(index for index, byte in enumerate(part) if byte & 0xC0 != 0x80)
    try:
        part[head:].decode()
        head = len(part)
    except UnicodeDecodeError:
        pass
    try:
        part[tail:head].decode()
    except UnicodeDecodeError:
        return []
    pieces = [("end", part[:tail])] if tail else []
    return pieces + ([("start", part[head:])] if head < len(part) else [])


def _spread(characters: list[str], most: int) -> list[str]:
    """Up to `most` of them, evenly spaced."""
    return characters[:: max(1, -(-len(characters) // most))]
