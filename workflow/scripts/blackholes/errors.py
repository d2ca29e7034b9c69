"""The exception raised for bad user input."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input: one line that names the file or key, its value, and what was expected."""


@contextmanager
def about(subject: object) -> Iterator[None]:
    """Put `subject`, usually a file, in front of the message of a UserError raised inside."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{subject}: {error}") from error
