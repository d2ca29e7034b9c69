"""What was found in a checkpoint, in a line: its holes, and which tokens look most unused. Imports no torch."""

import csv
import json
import os
from pathlib import Path

UNUSED = ("unreachable", "special", "padding")  # categories of tokens that no text gives


def answer(census: str | os.PathLike) -> str:
    """`0 holes among 30,522 tokens; 994 unused tokens rank first`

    Args:
        census: census.json; what ranks first is read from the tokens.csv beside it, if that is there.
    """
    facts = json.loads(Path(census).read_text(encoding="utf-8"))
    sizes = ", ".join(f"{size:,}" for size in facts["populations"][:5]) + ", …" * (facts["holes"] > 5)
    of = f" of {sizes}" if sizes else ""
    found = f"{facts['holes']:,} hole{'s' * (facts['holes'] != 1)}{of} among {facts['tokens']:,} tokens"
    first = first_ranks(Path(census).with_name("tokens.csv"))
    return f"{found}; {first}" if first else found


def has_holes(census: str | os.PathLike) -> bool:
    """Whether a checkpoint has a black hole."""
    return bool(json.loads(Path(census).read_text(encoding="utf-8"))["holes"])


def first_ranks(table: str | os.PathLike) -> str:
    """How many tokens that no text gives look more unused than the first that one does; or the first three, if none.

    Empty where there is no table, and where none of its tokens is such.
    """
    if not os.path.exists(table):
        return ""
    with open(table, newline="", encoding="utf-8") as file:
        tokens = sorted((int(row["rank"]), row["category"], row["text"]) for row in csv.DictReader(file))
    given = [category not in UNUSED for _, category, _ in tokens]
    if all(given):
        return ""
    first = given.index(True) if any(given) else len(given)
    if first:
        return f"{first:,} unused token{'s' * (first != 1)} rank{'s' * (first == 1)} first"
    return f"{', '.join(repr(text) for _, _, text in tokens[:3])} rank first"
