"""The live lines of a terminal, in a terminal of the test's own, read as what stands on its screen."""

import sys
from pathlib import Path

import pytest
import terminal

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
BEGIN = """
import os, sys, time
from blackholes.orchestration.live import Screen
jobs = {"train qwen/run_001", "distances qwen/run_002", "a"}
screen = Screen(jobs, lambda: "0:07 so far, about 1:00 left")
def say(text):
    os.write(2, (text + "\\n").encode())
"""


def shown(program):
    """As `terminal.shown`, of a Python program."""
    return terminal.shown([sys.executable, "-c", f"{BEGIN}\n{program}"], env={"PYTHONPATH": str(SCRIPTS)})


def test_a_line_for_each_job_below_what_was_said():
    looks, status = shown("""
screen.start("train qwen/run_001")
screen.start("distances qwen/run_002")
say("train qwen/run_001: seed 43 starts")
say("train qwen/run_001: step 1/100 · 5.0 steps/s · 0:20 left · loss 4.8")
say("3 of 9 steps (33%) done")
say("train qwen/run_001: step 50/100 · 5.0 steps/s · 0:10 left · loss 3.1")
time.sleep(1)
screen.end("distances qwen/run_002")
say("distances qwen/run_002: they take 5 MB")
say("other: step 1/2")
time.sleep(1)
screen.stop()
say("after")
""")
    assert status == 0
    assert [
        "train qwen/run_001: seed 43 starts",
        "train qwen/run_001: step 50/100 · 5.0 steps/s · 0:10 left · loss 3.1",
        "distances qwen/run_002",
        "3 of 9 steps (33%) done · 0:07 so far, about 1:00 left",
    ] in looks
    said = ["train qwen/run_001: seed 43 starts", "distances qwen/run_002: they take 5 MB", "other: step 1/2"]
    assert [
        *said,
        "train qwen/run_001: step 50/100 · 5.0 steps/s · 0:10 left · loss 3.1",
        "3 of 9 steps (33%) done · 0:07 so far, about 1:00 left",
    ] in looks
    assert looks[-1] == [*said, "after"], "what ran has left the screen"


def test_how_far_a_job_was_is_told_neither_before_its_start_nor_after_its_end():
    """On a busy machine its lines are read before Snakemake has said that it started, or after it has ended."""
    looks, _ = shown("""
say("train qwen/run_001: step 1/100 · 5.0 steps/s · 0:20 left")
time.sleep(1)
screen.start("train qwen/run_001")
screen.end("train qwen/run_001")
say("train qwen/run_001: step 100/100 · 5.0 steps/s · 0:00 left")
say("train qwen/run_001: the last that it says")
screen.stop()
""")
    assert looks[-1] == ["train qwen/run_001: the last that it says"]


def test_long_lines_are_cut_below_and_whole_above():
    long = "x" * 90
    looks, _ = shown(f"""
screen.start("a")
say("a: step 1/2 · {long}")
say("error: {long}")
time.sleep(1)
screen.stop()
""")
    assert ["error: " + "x" * 63, "x" * 27, "a: step 1/2 · " + "x" * 55 + "…", "0:07 so far, about 1:00 left"] in looks
    assert looks[-1] == ["error: " + "x" * 63, "x" * 27]


@pytest.mark.parametrize("end", ["raise SystemExit(3)", "raise ValueError('why')", "sys.stderr.write('no newline')"])
def test_nothing_is_lost_at_the_end(end):
    looks, status = shown(f"say('one')\nsay('')\nsay('two')\n{end}")
    assert looks[-1][:2] == ["one", "two"]
    assert status == {"r": 3 if "3" in end else 1, "s": 0}[end[0]]
    last = {"raise SystemExit(3)": "two", "raise ValueError('why')": "ValueError: why"}.get(end, "no newline")
    assert looks[-1][-1] == last


def test_escapes_and_markup_are_shown_as_they_are():
    looks, _ = shown("say('[bold]no[/bold] \\x1b[33myellow\\x1b[0m {x}')\nscreen.stop()")
    assert looks[-1] == ["[bold]no[/bold] yellow {x}"]
