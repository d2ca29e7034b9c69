"""What the configuration and the code of today say of the results: which files there should be, and which are old.

Snakemake itself is asked (`--summary`), so the rules' inputs and parameters are said nowhere a second time. One of the
parameters of every rule is a digest of its code.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from blackholes.errors import UserError

_OK = ("ok", "no update")  # status and plan of a file that is as it should be


@dataclass
class Plan:
    """Of every file that the present configuration makes, why it would be made anew; empty if it would not."""

    files: dict[str, str] = field(default_factory=dict)
    without_rule: set[str] = field(default_factory=set)  # no rule of this configuration makes them


def ask(arguments: Sequence[str], others: Iterable[str] = (), results: str | os.PathLike = "results") -> Plan:
    """Ask Snakemake about the target `all`, and about other files that were made once.

    Args:
        arguments: of Snakemake, such as --configfile and what follows it.
        results: the folder that they are in.

    Raises:
        UserError: Snakemake refuses the configuration; with its last line.
    """
    plan, others = Plan(), sorted(others)
    said = _summary(["all"], arguments)
    if said.returncode:
        raise UserError(f"Snakemake cannot say what the results should be: {refusal(said.stdout + said.stderr)}")
    plan.files = _files(said.stdout)
    others = [file for file in others if file not in plan.files]
    while others:
        said = _summary(others, arguments)
        if not said.returncode:
            plan.files |= _files(said.stdout)
            break
        missing = re.search(r"No rule to produce (\S+)", said.stdout + said.stderr)
        folder = _folder(missing[1], results) if missing else ""
        gone = [file for file in others if not folder or _folder(file, results) == folder]
        plan.without_rule |= set(gone or others)
        others = [file for file in others if file not in plan.without_rule]
    return plan


def refusal(said: str) -> str:
    """The line in what Snakemake printed that says why it refused: below that of the kind of error, else the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    kinds = [
        number for number, line in enumerate(lines[:-1]) if re.match(r"\w+(Error|Exception)( in file .*)?:$", line)
    ]
    return lines[kinds[0] + 1 if kinds else -1] if lines else "it says nothing"


def _folder(file: str, results: str | os.PathLike) -> str:
    """What one entry of the configuration makes: <experiment>, checkpoints/<name>."""
    parts = os.path.relpath(file, results).split("/")
    return "/".join(parts[: 2 if parts[0] in ("checkpoints", "snowballs", "lattice", "corpus") else 1])


def _summary(targets: Sequence[str], arguments: Sequence[str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", *targets, "--summary", "--nolock", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def _files(table: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in table.splitlines():
        cells = line.split("\t")  # file, date, rule, logs, status, plan
        if len(cells) == 6 and cells[0] != "output_file":
            found[cells[0]] = "" if tuple(cells[4:]) == _OK else cells[4] if cells[4] != "ok" else cells[5]
    return found
