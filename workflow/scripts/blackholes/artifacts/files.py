"""Writes that are seen whole or not at all: a temporary name beside the target, flushed, then renamed."""

import csv
import errno
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blackholes.errors import UserError


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed and renamed to `path`, on error removed.

    The temporary name carries host and process, so that a job that a cluster runs twice cannot mix its halves;
    what a killed process of this host left behind is swept up here.

    Raises:
        UserError: the disk, or what is allowed of it, is full, or the folder cannot be written.
    """
    path = Path(path)
    host = socket.gethostname()
    temporary = path.with_name(f".{path.name}.{host}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.{host}.*.tmp"):
            if not _alive(int(stale.suffixes[-2][1:])):
                stale.unlink(missing_ok=True)
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except BaseException as error:
        size = _megabytes(temporary)
        with suppress(OSError):
            temporary.unlink()
        _refuse(path, error, f"after {size:,.1f} MB; nothing of it is kept")
        raise


@contextmanager
def resumable(path: str | os.PathLike, mark: str) -> Iterator[Path]:
    """As `atomic`, but what was written stays on error, under a temporary name that another process goes on with.

    Two processes that write the same file at once, since a killed workflow left one alive, share the temporary and
    do no harm: what they write under the same `mark` are the same bytes, and the first to end renames the file.

    Args:
        mark: identifies what is being written; what another mark left behind is removed.

    Raises:
        UserError: as `atomic`; also where another job took the file away to write something else.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{mark}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        forget(path, keep=temporary)
        yield temporary
    except BaseException as error:
        _refuse(path, error, f"after {_megabytes(temporary):,.1f} MB; it goes on from there when there is room")
        raise
    flush(path.parent)


def forget(path: str | os.PathLike, keep: Path | None = None) -> None:
    """Remove what `resumable` left of `path`, but for `keep`."""
    path = Path(path)
    for stale in path.parent.glob(f".{path.name}.*.part"):
        if stale != keep:
            stale.unlink(missing_ok=True)


def _refuse(path: Path, error: BaseException, left: str) -> None:
    """Raise what a user can act upon."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise UserError(f"{path}: {error.strerror} {left}") from error
    if isinstance(error, PermissionError):
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def _megabytes(path: Path) -> float:
    """Size on the disk in MB: by blocks, for a file that is not filled from its start."""
    with suppress(OSError):
        return path.stat().st_blocks * 512e-6
    return 0.0


def flush(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def table_writer(path: str | os.PathLike, columns: list[str]) -> Iterator:
    """A csv.writer of a table that appears, complete, when the context ends; the header line is written.

    Floats are written so that they read back to the bit.
    """
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        yield table


def write_table(path: str | os.PathLike, columns: list[str], rows: Iterable[Iterable]) -> None:
    """Write a CSV table with a header line, atomically (see table_writer)."""
    with table_writer(path, columns) as table:
        table.writerows(rows)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
