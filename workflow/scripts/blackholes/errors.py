"""The exceptions raised for bad input, and text that may come from anywhere made fit for a terminal."""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 4000  # characters of a line
_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}  # control characters, halves of surrogate pairs, ends of lines and paragraphs
_REORDERING = {*"\u061c\u200e\u200f", *map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])}  # text's direction


def printable(text: str) -> str:
    """The text as one line of limited length in which a terminal finds no command: `\\x1b` in place of an escape."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _UNSEEN or character in _REORDERING
        else character
        for character in text
    )


class UserError(ValueError):
    """Bad input: one line that names the file or key, its value, and what was expected; or several such lines."""

    def __init__(self, *lines: str):
        super().__init__("\n".join(map(printable, lines)))


class DamagedFile(UserError):
    """A file is not the one that was written: `path`, and what is wrong with it."""

    def __init__(self, path: str | os.PathLike, wrong: str):
        super().__init__(f"{path}: {wrong}")
        self.path, self.wrong = path, wrong

    @property
    def foreign(self) -> bool:
        """Whether it is a complete file, but of another job."""
        return self.wrong.startswith("foreign")


@contextmanager
def about(subject: object) -> Iterator[None]:
    """Put `subject`, usually a file, in front of the message of a UserError raised inside; a DamagedFile names one."""
    try:
        yield
    except DamagedFile:
        raise
    except UserError as error:
        raise UserError(f"{subject}: {error}") from error
