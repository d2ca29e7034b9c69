"""How long a call still takes, from what its jobs took before and how fast this machine is now."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from blackholes.orchestration import costs

DOUBT = 20.0  # seconds of work after which what was measured counts as much as what was expected


class TimeLeft:
    """The jobs of a call, what each should take, and what those that ended took."""

    def __init__(
        self,
        jobs: Mapping[int, Mapping[str, Any]],
        seconds: Mapping[int, float],
        cores: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Args:
        jobs: number of a job → as `planning.described`. seconds: number → what it should take.
        """
        self._waiting, self._seconds, self._cores, self._clock = dict(jobs), dict(seconds), cores, clock
        self._began, self._started = clock(), dict[int, float]()
        self._expected = self._taken = 0.0  # of jobs that ended

    @property
    def elapsed(self) -> float:
        """Seconds since the first job could start."""
        return self._clock() - self._began

    def start(self, job: int) -> None:
        """A job has started. Those that do nothing themselves, as `all`, are no jobs here."""
        if job in self._waiting:
            self._started[job] = self._clock()

    def end(self, job: int) -> None:
        """A job has ended."""
        self._waiting.pop(job, None)
        if job in self._started:
            self._taken += self._clock() - self._started.pop(job)
            self._expected += self._seconds[job]

    def drop(self, job: int) -> None:
        """A job will not run to its end: it failed, or its result turned out to be the same as before."""
        self._waiting.pop(job, None)
        self._started.pop(job, None)

    def fail(self, job: int) -> None:
        """A job has failed, so what depends on it will not run."""
        gone = [self._waiting[job]] if job in self._waiting else []
        self.drop(job)
        while gone:
            made = set(gone.pop()["outputs"])
            for other, one in list(self._waiting.items()):
                if made & set(one["after"]):
                    gone.append(one)
                    self.drop(other)

    @property
    def waiting(self) -> list[int]:
        """Jobs that have not ended."""
        return list(self._waiting)

    def left(self) -> float:
        """Seconds until all have ended, about: as `blackholes.plan` says, by the speed of this call so far.

        A job that takes longer than it should is expected to take a tenth more than it has taken.
        """
        speed = (self._taken + DOUBT) / (self._expected + DOUBT)
        now, left, running = self._clock(), [], set[int]()
        for index, job in enumerate(self._waiting):
            gone = now - self._started.get(job, now)
            left.append(max(self._seconds[job] * speed - gone, gone / 10))
            if job in self._started:
                running.add(index)
        return costs.wall_clock(list(self._waiting.values()), left, self._cores, running) if left else 0.0
