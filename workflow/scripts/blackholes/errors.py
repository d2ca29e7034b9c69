"""The exceptions raised for bad input."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Bad input: one line that names the file or key, its value, and what was expected."""


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
