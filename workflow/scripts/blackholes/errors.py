"""The one exception that a user's input can cause."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input: one line that names the file or key, its value, and what was expected."""


@contextmanager
def about(subject: object) -> Iterator[None]:
    """Name `subject`, a file, in front of what a UserError raised inside says."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{subject}: {error}") from error
