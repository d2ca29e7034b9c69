"""Atomic writes: to a temporary file beside the target, which is flushed and then renamed."""

import csv
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blackholes.errors import UserError

_guards: dict[str, Callable[[str], None]] = {}  # final name → what is called before a file gets it


@contextmanager
def guarded(paths: Iterable[str], check: Callable[[str], None]) -> Iterator[None]:
    """While the context lasts, a file gets one of these names only if `check(path)` raises nothing just before."""
    before = dict(_guards)
    _guards.update({os.path.abspath(path): check for path in paths})
    try:
        yield
    finally:
        _guards.clear()
        _guards.update(before)


def check_guard(path: str | os.PathLike) -> None:
    """Call what `guarded` has for a file that is about to get its final name."""
    if guard := _guards.get(os.path.abspath(path)):
        guard(os.fspath(path))


@contextmanager
def atomic(path: str | os.PathLike, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed and renamed to `path`, on error deleted.

    The temporary name contains the host and the process id, so that two copies of a job on a cluster do not share it.
    Temporary files of killed processes of this host are deleted.

    Args:
        durable: false: not flushed, so that a power cut may leave the file empty. For files that can be missed.

    Raises:
        UserError: the disk or the quota is full, or the folder cannot be written; what `guarded` has raised.
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
        if durable:
            flush(temporary)
        check_guard(path)
        os.replace(temporary, path)
        if durable:
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

    Where nothing keeps two processes apart (see `sole_writer`), both may write the same file at once. They share the
    temporary file, which is harmless: with the same `mark` both write the same bytes; the first to finish renames it.

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


@contextmanager
def sole_writer(
    lock: str | os.PathLike, log: Callable[[str], None], pause: Callable[[], object] = lambda: time.sleep(0.2)
) -> Iterator[None]:
    """Only one process at a time is in here with this file, which is locked (flock) and deleted at the end.

    The lock ends with its process, however that ends. Where another process has it, `log` is told once who that is, and
    this one waits, calling `pause()` between two attempts. A network file system may keep such locks on one machine
    only, or have none: then `log` is told, and two processes are not kept apart.

    Raises:
        UserError: the folder cannot be written.
    """
    lock, told, handle = Path(lock), False, -1
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        while (handle := _locked(lock)) < 0:
            if not told:
                log(f"waits for {_holder(lock)}, which is writing in {lock.parent}")
                told = True
            pause()
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".ljust(200)[:200].encode(), 0)
    except OSError as error:
        _raise_user_error(lock, error, "while it was locked")
        log(f"{lock}: cannot be locked: {error.strerror}. Make sure that no other process writes in this folder")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        if handle >= 0:
            os.close(handle)


def _locked(lock: Path) -> int:
    """A descriptor of the file, which is locked; −1 where another process has it, or deleted it just now."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(lock)):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(handle)
        raise
    os.close(handle)
    return -1


def _holder(lock: Path) -> str:
    with suppress(OSError):
        return lock.read_text(errors="replace").strip() or "another process"
    return "another process"


def _raise_user_error(path: Path, error: BaseException, partial: str) -> None:
    """Raise UserError if the disk is full or the file cannot be written; return for other errors."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise UserError(f"{path}: {error.strerror} {partial}") from error
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
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
