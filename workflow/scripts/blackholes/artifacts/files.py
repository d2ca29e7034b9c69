"""Atomic writes: to a temporary file beside the target, which is flushed and then renamed."""

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
    """Yield a temporary path beside `path`; on success it is flushed and renamed to `path`, on error deleted.

    The temporary name contains the host and the process id, so that two copies of a job on a cluster do not share it.
    Temporary files of killed processes of this host are deleted.

    Raises:
        UserError: the disk or the quota is full, or the folder cannot be written.
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
        _raise_user_error(path, error, f"after {size:,.1f} MB; the partial file is deleted")
        raise


@contextmanager
def resumable(path: str | os.PathLike, mark: str) -> Iterator[Path]:
    """As `atomic`, but on error the partial file is kept for another process to resume.

    If a killed workflow left a process alive, two processes may write the same file at once. They share the temporary
    file, which is harmless: with the same `mark` both write the same bytes, and the first to finish renames it.

    Args:
        mark: identifies the content; partial files with another mark are deleted.

    Raises:
        UserError: as `atomic`; also if another job deleted the file to write other content.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{mark}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        forget(path, keep=temporary)
        yield temporary
    except BaseException as error:
        size = _megabytes(temporary)
        _raise_user_error(path, error, f"after {size:,.1f} MB; the partial file is kept: free some space and run again")
        raise
    flush(path.parent)


def forget(path: str | os.PathLike, keep: Path | None = None) -> None:
    """Delete the partial files that `resumable` left of `path`, except `keep`."""
    path = Path(path)
    for stale in path.parent.glob(f".{path.name}.*.part"):
        if stale != keep:
            stale.unlink(missing_ok=True)


def _raise_user_error(path: Path, error: BaseException, partial: str) -> None:
    """Raise UserError if the disk is full or the file cannot be written; return for other errors."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise UserError(f"{path}: {error.strerror} {partial}") from error
    if isinstance(error, PermissionError):
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def _megabytes(path: Path) -> float:
    """Space used on disk in MB. Counts blocks, since the file may be sparse."""
    with suppress(OSError):
        return path.stat().st_blocks * 512e-6
    return 0.0


def flush(path: Path) -> None:
    """Flush a file's bytes, or a folder's entries, to the disk."""
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
