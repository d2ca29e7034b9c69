"""Unicode: the script of a text, and the characters that hold given bytes. From Python's own tables."""

import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import chain

PLANES = (range(0x80, 0xD800), range(0xE000, 0x30000))  # those that texts use
ELSEWHERE = range(0x30000, 0x110000, 0x400)  # a few of all others
_FORMS = {"FULLWIDTH", "HALFWIDTH", "CIRCLED", "PARENTHESIZED", "SQUARE", "SQUARED", "NEGATIVE", "SMALL", "VERTICAL"}
_NO_SCRIPT = {  # first words of the names of letters and marks that several scripts, or none, use
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

    Good for telling scripts apart; not the Unicode property, which Python's tables lack.
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
    """The script of a text's letters: one name, `Mixed`, or `Common` without letters."""
    found = {script_of(character) for character in set(text)} - {"Common"}
    return found.pop() if len(found) == 1 else "Mixed" if found else "Common"


class Completions:
    """Texts whose UTF-8 holds given incomplete byte strings.

    A byte string is the end of a character, whole characters, and the beginning of one, or the middle of one.
    """

    def __init__(self, parts: Iterable[bytes]):
        self._split = {part: _split(part) for part in set(parts)}
        self._characters = {piece: [] for pieces in self._split.values() for piece in pieces}
        for point in chain(*PLANES, ELSEWHERE) if self._characters else ():
            character = chr(point)
            if point < ELSEWHERE.start and unicodedata.category(character) == "Cn":  # not assigned
                continue
            data = character.encode()
            for start in range(len(data)):
                for stop in range(start + 1, len(data) + 1):
                    where = "start" if start == 0 else "end" if stop == len(data) else "middle"
                    if (found := self._characters.get((where, data[start:stop]))) is not None:
                        found.append(character)

    def texts(self, part: bytes, most: int) -> list[str]:
        """At most `most` of them, spread over all; none where no text holds `part`."""
        places = {where: self._characters[where, piece] for where, piece in self._split[part]}
        if "middle" in places:
            return _spread(places["end"] + places["middle"], most)
        if not places or not all(places.values()):
            return []
        ends, starts = (_spread(places.get(where, [""]), most) for where in ("end", "start"))
        whole = part.decode("utf-8", "ignore")
        number = max(len(ends), len(starts))
        return [f"{ends[index % len(ends)]}{whole}{starts[index % len(starts)]}" for index in range(number)]


def _split(part: bytes) -> list[tuple[str, bytes]]:
    """The incomplete characters in `part`: ("end" | "middle" | "start", bytes); none where it is no part of UTF-8."""
    tail = next((index for index, byte in enumerate(part) if byte & 0xC0 != 0x80), len(part))
    if tail == len(part):  # continuation bytes only: the end of a character, or its middle
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
    """At most `most` of them, evenly spaced."""
    return characters[:: max(1, -(-len(characters) // most))]
