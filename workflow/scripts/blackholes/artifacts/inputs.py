"""Opening files that others made: regular files only, of a bounded size. Imports no torch, since rules use it."""

import os
import stat
from typing import BinaryIO

from blackholes.errors import UserError

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: str | os.PathLike, largest: int | None = None) -> BinaryIO:
    """A regular file, open for reading. A FIFO is not waited for, and of a device nothing is read.

    Args:
        largest: the most bytes that the file may have.

    Raises:
        UserError: naming the file: it is no regular file, or larger.
        OSError: as `open`; IsADirectoryError for a folder.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path}: is no regular file but {_KINDS.get(stat.S_IFMT(status.st_mode), 'another kind')}")
        if largest is not None and status.st_size > largest:
            size = f"{status.st_size / 2**20:,.0f} MiB; expected at most {largest / 2**20:,.0f} MiB"
            raise UserError(f"{path}: is {size}")
        return os.fdopen(handle, "rb")  # IsADirectoryError of a folder
    except BaseException:
        os.close(handle)
        raise
