"""How often verdicts are right on real runs: draws from a hundred short runs of ours (verdict_runs.csv).

In each draw twenty runs play the published ones, of which means are known, or a list, and twenty others are ours. With
the same settings an experiment has to agree; with a learning rate 1.2 times as high, the other divisor of the loss, or
a starting point whose norm is not 1, it must not. Margins are those of quantities.csv.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
from blackholes.reproduction import verdicts
from blackholes.reproduction.published import QUANTITIES

FILE = Path(__file__).parent / "verdict_runs.csv"
SIDE = 20  # runs of a side
ROWS = {  # quantity, and its columns: one, or those of a curve
    "black holes at step 1": ("black holes", ["holes 1"]),
    "tokens in black holes at step 1": ("tokens in black holes", ["tokens 1"]),
    "tokens a black hole at step 1": ("tokens a black hole", ["tokens a hole 1"]),
    "black holes at step 100": ("black holes", ["holes 100"]),
    "tokens in black holes at step 100": ("tokens in black holes", ["tokens 100"]),
    "mean tokens a black hole": ("mean tokens a black hole", ["mean tokens a hole"]),
    "increases of the number of black holes": ("increases of the number of black holes", ["increases"]),
    "training loss": ("training loss", [f"loss {step}" for step in range(10, 101, 10)]),
    "centroid norm": ("centroid norm", [f"centroid {step}" for step in (10, 20, 50, 100)]),
}
LISTS = ("black holes at step 1", "increases of the number of black holes")  # published as a list of runs


@pytest.fixture(scope="module")
def runs():
    """arm → column → (R,)."""
    with open(FILE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    arms = dict.fromkeys(row["arm"] for row in rows)
    columns = [name for name in rows[0] if name not in ("arm", "seed")]
    return {arm: {c: np.array([float(r[c]) for r in rows if r["arm"] == arm]) for c in columns} for arm in arms}


def judged(published, ours):
    """Verdicts of the rows, and the joint one."""
    rows = []
    for name, (quantity, columns) in ROWS.items():
        theirs = np.stack([published[column] for column in columns], 1)
        mine = np.stack([ours[column] for column in columns], 1)
        variance = float(theirs.var(ddof=1)) if name in LISTS else None
        reference = verdicts.Reference(theirs.mean(0), len(theirs), variance)
        margins = np.array([QUANTITIES[quantity].margin_of(value) for value in reference.values])
        rows.append(verdicts.compare(mine, reference, margins))
    found = verdicts.judge(rows)
    return [row.verdict for row in found], verdicts.joint(found)


def shares(runs, arm, draws, monkeypatch):
    """Of joint verdicts over draws; printed with what each row says."""
    monkeypatch.setattr(verdicts, "DRAWS", 1_000)
    random, told = np.random.default_rng(0), []
    for _ in range(draws):
        order = random.permutation(len(next(iter(runs["ours"].values()))))
        published = {column: values[order[:SIDE]] for column, values in runs["ours"].items()}
        own = order[SIDE : 2 * SIDE] if arm == "ours" else random.permutation(SIDE)
        told.append(judged(published, {column: values[own] for column, values in runs[arm].items()}))
    words = ("agrees", "undecided", "differs")
    print(f"\n{arm}: {draws} draws\n| row | {' | '.join(words)} |\n|---|---:|---:|---:|")
    for i, name in enumerate(ROWS):
        each = [rows[i] for rows, _ in told]
        print(f"| {name} | {' | '.join(f'{each.count(word) / draws:.0%}' for word in words)} |")
    joint = [verdict for _, verdict in told]
    found = {word: joint.count(word) / draws for word in words}
    print(f"| **jointly** | {' | '.join(f'{found[word]:.1%}' for word in words)} |")
    return found


def test_ours_against_ours_agrees(runs, monkeypatch):
    found = shares(runs, "ours", 200, monkeypatch)
    assert found["agrees"] >= 0.95
    assert found["differs"] == 0


@pytest.mark.parametrize("arm", ["learning rate × 1.2", "the other divisor", "unit norm off"])
def test_another_setting_is_told_apart(runs, monkeypatch, arm):
    found = shares(runs, arm, 50, monkeypatch)
    assert found["differs"] >= 0.9
    assert found["agrees"] == 0
