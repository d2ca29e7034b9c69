"""An HDF5 history, read by a process of its own (see `artifacts.hdf5_reader`), whatever the file does to libhdf5."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from blackholes.errors import UserError

COMMAND = [sys.executable, "-m", "blackholes.artifacts.hdf5_reader"]
PATIENCE = 120.0  # seconds without a byte until the process is taken to hang; it sends at most some 64 MB at once


class Reader:
    """A process that has opened a history and reads snapshots out of it."""

    def __init__(self, path: str | os.PathLike, key: str):
        package = Path(__file__).parents[2]
        places = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._path, self._key, self._ahead = path, key, bytearray()
        self._process = subprocess.Popen(
            [*COMMAND, os.fspath(path), key],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )

    def facts(self) -> dict[str, Any]:
        """shape, metadata and dead_mask; raises UserError for a file that is refused."""
        facts = json.loads(self._line())
        if "error" in facts:
            raise UserError(f"{self._path}: {facts['error']}")
        return facts

    def rows(self, start: int, stop: int, shape: tuple[int, ...]) -> np.ndarray:
        """Snapshots start … stop − 1 of this shape each, uint16."""
        bits = np.empty((max(0, stop - start), *shape), np.uint16)
        if not bits.size:
            return bits
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{start} {stop}\n".encode())
        except BrokenPipeError:
            self._fail("the process that reads it ended")
        size = int(self._line())
        if size < 0:
            self._fail(self._line().decode("utf-8", "replace"), start)
        if size != bits.nbytes:
            self._fail("the process that reads it sent something else", start)
        self._fill(bits.reshape(-1).view(np.uint8).data)
        return bits

    def close(self) -> None:
        """End the process, which has nothing to finish."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _line(self) -> bytes:
        piece = bytearray(1 << 16)
        while b"\n" not in self._ahead:
            self._ahead += piece[: self._some(memoryview(piece))]
        line, _, self._ahead = self._ahead.partition(b"\n")
        return bytes(line)

    def _fill(self, left: memoryview) -> None:
        left[: len(self._ahead)] = self._ahead
        left, self._ahead = left[len(self._ahead) :], bytearray()
        while left:
            left = left[self._some(left) :]

    def _some(self, room: memoryview) -> int:
        """Read what the process says into `room`, at least a byte; raises UserError where it says nothing more."""
        pipe = self._process.stdout
        assert pipe is not None
        if not select.select([pipe], [], [], PATIENCE)[0]:
            self._fail(f"libhdf5 did not answer for {PATIENCE:g} s")
        length = pipe.readinto(room)  # type: ignore[attr-defined]  # of a raw file
        if not length:
            status = self._process.wait()
            self._fail(f"libhdf5 crashed with signal {-status}" if status < 0 else "the process that reads it ended")
        return length

    def _fail(self, reason: str, start: int | None = None) -> NoReturn:
        where = "" if start is None else f" at step {start}"
        raise UserError(f"{self._path}: dataset '{self._key}' cannot be read{where}: {reason}")


@contextmanager
def open_reader(path: str | os.PathLike, key: str) -> Iterator[Reader]:
    """A Reader that ends with the context."""
    reader = Reader(path, key)
    try:
        yield reader
    finally:
        reader.close()
