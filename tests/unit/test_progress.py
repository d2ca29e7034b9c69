"""How long a call still takes, against sums by hand."""

import pytest
from blackholes.orchestration.progress import DOUBT, TimeLeft


def job(outputs, after=(), threads=1):
    return {"outputs": [outputs], "after": list(after), "threads": threads}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def both_run(third, clock, first=10.0):
    """Jobs 1 and 2, of the same length, have started; 3 waits for them."""
    time = TimeLeft(CHAIN, {1: first, 2: first, 3: third}, 2, clock)
    time.start(1)
    time.start(2)
    return time


CHAIN = {1: job("a"), 2: job("b"), 3: job("c", ["a", "b"])}


def test_as_expected():
    clock = Clock()
    time = TimeLeft(CHAIN, {1: 10.0, 2: 6.0, 3: 5.0}, 2, clock)
    assert time.left() == 15, "1 and 2 side by side, then 3"
    assert TimeLeft(CHAIN, {1: 10.0, 2: 6.0, 3: 5.0}, 1, clock).left() == 21
    time.start(1)
    time.start(2)
    clock.now += 6
    time.end(2)
    assert time.left() == 9
    assert time.elapsed == 6
    clock.now += 4
    time.end(1)
    assert time.left() == 5
    time.start(3)
    clock.now += 5
    time.end(3)
    assert time.left() == 0


def test_a_slow_machine_is_noticed():
    clock = Clock()
    time = both_run(100.0, clock)
    clock.now += 30
    time.end(1)
    time.end(2)
    assert time.left() == pytest.approx(100 * (60 + DOUBT) / (20 + DOUBT))


def test_a_job_that_takes_longer_than_it_should_is_about_to_end():
    clock = Clock()
    time = both_run(7.0, clock, first=1.0)
    clock.now += 50
    assert time.left() == 5 + 7, "a tenth of what it has taken, then 3"


def test_what_fails_takes_what_depends_on_it_along():
    clock = Clock()
    time = TimeLeft(CHAIN | {4: job("d"), 5: job("e", ["c"])}, dict.fromkeys(range(1, 6), 600.0), 1, clock)
    time.start(1)
    clock.now += 1
    time.fail(1)
    assert time.waiting == [2, 4]
    assert time.left() == 1200, "and says nothing of the speed"
    time.drop(4)
    assert time.left() == 600


def test_jobs_that_run_are_first():
    clock = Clock()
    time = TimeLeft({1: job("a"), 2: job("b"), 3: job("c")}, {1: 50.0, 2: 50.0, 3: 60.0}, 2, clock)
    time.start(1)
    time.start(2)
    assert time.left() == 110


def test_jobs_that_do_nothing_themselves_count_for_nothing():
    time = TimeLeft(CHAIN, {1: 1.0, 2: 1.0, 3: 1.0}, 2, Clock())
    time.start(0)
    time.end(0)
    assert time.left() == 2
