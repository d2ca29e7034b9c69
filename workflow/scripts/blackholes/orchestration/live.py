"""The terminal of a call that someone watches: a line for each running job, redrawn in place, below what was said.

All that this process and its jobs write to the standard error passes through here. A line that says how far a job is
takes the place of the one before it; every other is printed above.
"""

import atexit
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

_FAR = re.compile(r"(?P<job>[^:]+): (?:\S+ )?\S+ [\d,]+/[\d,]+(?: · .*)?")  # as `Job.progress` says it
_ALL = re.compile(r"\d+ of \d+ steps \(.*\) done")  # Snakemake's, of all jobs
_END = "\0end"


class _Console(Console):
    def show_cursor(self, show: bool = True) -> bool:
        """Not hidden: whoever is killed could not show it again."""
        return False


class Screen:
    """Takes over the standard error until `stop`."""

    def __init__(self, jobs: Iterable[str], summary: Callable[[], str] = str):
        """Args:
        jobs: names of those that will run. summary: of the call as a whole, for the last line.
        """
        self._jobs, self._summary, self._said = frozenset(jobs), summary, ""
        self._rows, self._ended = dict[str, str](), set[str]()
        self._lock = threading.Lock()
        self._terminal = os.dup(2)
        reading, writing = os.pipe()
        sys.stderr.flush()
        os.dup2(writing, 2)
        os.close(writing)
        self._console = _Console(file=os.fdopen(os.dup(self._terminal), "w"), force_terminal=True, highlight=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._shown,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        self._reader = threading.Thread(target=self._read, args=(reading,), daemon=True)
        self._reader.start()
        atexit.register(self.stop)

    def start(self, job: str) -> None:
        """A job runs now."""
        with self._lock:
            self._rows.setdefault(job, "")
            self._ended.discard(job)

    def end(self, job: str) -> None:
        """A job runs no more."""
        with self._lock:
            self._rows.pop(job, None)
            self._ended.add(job)

    def stop(self) -> None:
        """Give the standard error back, when all that was written to it has been shown."""
        atexit.unregister(self.stop)
        if self._terminal < 0:
            return
        sys.stderr.flush()
        with suppress(OSError):
            os.write(2, f"\n{_END}\n".encode())
        os.dup2(self._terminal, 2)
        self._reader.join(timeout=10)
        self._live.stop()
        self._console.file.flush()
        os.close(self._terminal)
        self._terminal = -1

    def _read(self, pipe: int) -> None:
        with open(pipe, encoding="utf-8", errors="replace", newline="\n") as lines:
            blank = False
            for line in lines:
                text = line.rstrip("\n")
                if text == _END:
                    return
                if blank:
                    self._console.print()
                if not (blank := not text):  # an empty line is held back: the last of all is ours
                    self._take(text)

    def _take(self, line: str) -> None:
        plain = Text.from_ansi(line).plain
        with self._lock:
            if _ALL.fullmatch(plain):
                self._said = plain
                return
            job = found["job"] if (found := _FAR.fullmatch(plain)) else ""
            # on a busy machine what a job writes may be read before its start is known, or after its end
            if job in self._jobs:
                if job not in self._ended:
                    self._rows[job] = plain
                return
        self._console.print(Text.from_ansi(line), soft_wrap=True)

    def _shown(self) -> Group:
        with self._lock:
            rows = [text or job for job, text in self._rows.items()]
        last = " · ".join(filter(None, [self._said, self._summary()]))
        lines = [*rows[: max(self._console.height - 3, 1)], last] if last else rows
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))
