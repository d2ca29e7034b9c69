"""A terminal for tests: what stands on its screen after what a program wrote."""

import codecs
import os
import pty
import re
import struct
import subprocess
import termios
from fcntl import ioctl


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


def shown(command, columns=70, **options):
    """(what the terminal's screen showed after each piece that this command wrote, its exit status)."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = {**os.environ, **options.pop("env", {}), "TERM": "xterm"}
    environment = {
        key: value for key, value in environment.items() if key not in ("COLUMNS", "LINES", "NO_COLOR", "CI")
    }
    own = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "env": environment}
    process = subprocess.Popen(command, **own, **options)
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
