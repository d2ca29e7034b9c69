"""The live lines of a terminal, in a terminal of the test's own, read as what stands on its screen."""

import codecs
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
BEGIN = """
import os, sys, time
from blackholes.orchestration.live import Screen
screen = Screen(lambda: "0:07 so far, about 1:00 left")
def say(text):
    os.write(2, (text + "\\n").encode())
"""


class Terminal:
    """The lines that a terminal of this width shows: of its commands those that rich and our jobs use."""

    def __init__(self, columns):
        self.columns, self.lines, self.row, self.column = columns, [""], 0, 0

    def feed(self, data):
        for command, number, letter, character in re.findall(r"(\x1b\[\??(\d*)([A-Za-z]))|(.)", data, re.DOTALL):
            if letter == "A":
                self.row -= int(number)
            elif letter == "K":
                self.lines[self.row] = ""
            elif command:
                assert letter in "hlm", f"not known: {command!r}"
            elif character == "\r":
                self.column = 0
            elif character == "\n" or self.column == self.columns:
                self.row, self.column = self.row + 1, 0
                self.lines += [""] * (self.row + 1 - len(self.lines))
            if character and character not in "\r\n":
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
                self.column += 1


def shown(program, columns=70):
    """(what the terminal's screen showed after each piece that this program wrote, its exit status)."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm", "PYTHONPATH": str(SCRIPTS)}
    environment = {key: value for key, value in environment.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    program = f"{BEGIN}\n{program}"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    screen, looks, decoder = Terminal(columns), [], codecs.getincrementaldecoder("utf-8")()
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the program has ended
            break
        screen.feed(decoder.decode(data))
        looks.append([line for line in screen.lines if line])
    os.close(ours)
    return looks, process.wait()


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
