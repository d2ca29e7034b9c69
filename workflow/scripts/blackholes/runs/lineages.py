"""What became of the black holes of each run of an experiment, side by side (row G)."""

import statistics
from collections import Counter
from collections.abc import Sequence

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tables import read_columns

KINDS = ("fission", "fusion", "evaporation", "capture", "formation", "dissolution")
COLUMNS = ["run", "holes", "at_end", *(name for kind in KINDS for name in (kind, f"{kind}_flicker"))]
COLUMNS += ["median_life", "longest_life", "last_fission", "last_escape", "last_tokens", "last_texts", "same_last"]


def write(holes: Sequence[str], events: Sequence[str], escapes: Sequence[str], runs: Sequence[str], out: str) -> None:
    """Write lineages.csv, a row for each run.

    `holes` are identities, `at_end` those of the last step. An event is counted under its kind, or as flicker. Lives,
    in steps, are of holes that ended. `last_fission` is the last that is no flicker. `last_tokens` are the live tokens
    that left the dead last, at step `last_escape`, and `same_last` is the number of runs in which one of them did;
    empty where none left, or where some never did.

    Args:
        holes, events, escapes: lineage.csv, lineage_events.csv and escapes.csv of every run.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    rows, last_ones = [], []
    for run, *files in zip(runs, holes, events, escapes, strict=True):
        table = read_columns(files[0], {"born": int, "died": lambda text: int(text) if text else None})
        lives = [died - born for born, died in zip(table["born"], table["died"], strict=True) if died is not None]
        known = read_columns(files[1], {"step": int, "kind": str, "flicker": int})
        happened = list(zip(known["kind"], known["flicker"], known["step"], strict=True))
        counts = Counter((kind, flicker) for kind, flicker, _ in happened)
        fissions = [step for kind, flicker, step in happened if kind == "fission" and not flicker]
        step, tokens, texts = _last(files[2])
        last_ones.append(set(tokens))
        rows.append(
            [
                run,
                len(table["born"]),
                len(table["born"]) - len(lives),
                *(counts[kind, flicker] for kind in KINDS for flicker in (0, 1)),
                statistics.median(lives) if lives else "",
                max(lives, default=""),
                max(fissions, default=""),
                step,
                " ".join(map(str, tokens)),
                " ".join(texts),
            ]
        )
    same = [sum(bool(tokens & others) for others in last_ones) or "" for tokens in last_ones]
    write_table(out, COLUMNS, ([*row, number] for row, number in zip(rows, same, strict=True)))


def _last(escapes: str) -> tuple[int | str, list[int], list[str]]:
    """Step, ids and texts of the tokens that escaped last."""
    table = read_columns(escapes, {"token_id": int, "text": str, "escape_step": int, "censored": int})
    last = max(table["escape_step"], default=0)
    if last == 0 or any(table["censored"]):
        return "", [], []
    some = [i for i, step in enumerate(table["escape_step"]) if step == last]
    return last, [table["token_id"][i] for i in some], [table["text"][i] for i in some]
