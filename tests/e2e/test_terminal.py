"""What a call shows: in a terminal a line for each running job, elsewhere lines alone; how long it still takes."""

import re

import terminal
from e2e.checkout import environment

ALL = re.compile(r"\d+ of \d+ steps \(\d+%\) done · \d:\d\d so far, about \d:\d\d left")
RESULT = "black_holes qwen/run_001: step 30: "


def test_in_a_terminal(clone):
    command = clone.command("statistics", "--forcerun", "black_holes")
    looks, status = terminal.shown(command, columns=100, cwd=clone.folder, env=environment())
    assert status == 0
    running = [look[-2:] for look in looks if len(look) > 1 and ALL.fullmatch(look[-1])]
    assert any(re.match(r"black_holes (qwen|normal|thimble)/run_00\d", job) for job, _ in running)
    assert any(line.startswith(RESULT) for line in looks[-1]), "stays, as all that is no progress"
    assert not any(ALL.fullmatch(line) or "step 31/31" in line for line in looks[-1])
    assert looks[-1][-1].startswith("Elapsed time: ")


def test_elsewhere(clone):
    said = clone.run("results/qwen/summary.csv", "--forcerun", "black_holes").said
    assert "Why finished jobs run again:\n  black_holes qwen/001, qwen/002: it was asked for\n" in said
    counts = [line for line in said.splitlines() if "steps (" in line]
    assert counts
    assert all(ALL.fullmatch(line) for line in counts)
    assert RESULT in said
    assert "\x1b" not in said
