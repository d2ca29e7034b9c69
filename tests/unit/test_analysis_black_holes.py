"""Black holes against counting tuples, and events against a slow reading of docs/definitions.md, word by word."""

import csv
from collections import Counter

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors
from blackholes.kernels import duplicates
from blackholes.runs import black_holes
from helpers import random_history, run_statistics, write_history
from hypothesis import example, given, settings
from hypothesis import strategies as st

SERIES = ("counts", "populations", "largest_bh_size", "n_unique", "n_singletons")


# --- counts


def counted(snapshot):
    """The five numbers of one snapshot (V, D) from a Counter of its vectors."""
    sizes = Counter(tuple(vector) for vector in snapshot.tolist()).values()  # −0.0 == 0.0 here, too
    holes = [size for size in sizes if size >= 2]
    return len(holes), sum(holes), max(holes, default=0), len(sizes), sum(size == 1 for size in sizes)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 1), (4, 1, 3), (20, 30, 2), (20, 30, 1), (3, 200, 4)])
def test_counts_against_counting_tuples(shape):
    history = random_history(*shape, seed=sum(shape))
    found = black_holes.counts(duplicates.labels(history))
    assert tuple(found) == SERIES
    assert all(series.dtype == torch.int32 for series in found.values())
    assert list(zip(*(series.tolist() for series in found.values()), strict=True)) == [counted(s) for s in history]


def test_counts_of_one_hole_and_of_none():
    found = black_holes.counts(torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 0, 1]]))
    assert {name: series.tolist() for name, series in found.items()} == {
        "counts": [1, 0, 2],
        "populations": [4, 0, 4],
        "largest_bh_size": [4, 0, 2],
        "n_unique": [1, 4, 2],
        "n_singletons": [0, 4, 0],
    }


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30))
def test_increases(holes):
    wanted = [(t, holes[t - 1], holes[t]) for t in range(1, len(holes)) if holes[t] > holes[t - 1]]
    assert black_holes.increases(np.array(holes, np.int32)) == wanted


# --- events


def as_labels(groups):
    """Any names of groups → the smallest token of each."""
    return [groups.index(group) for group in groups]


def holes_of(labels):
    """Smallest token → tokens, of the groups of two or more."""
    groups = {}
    for token, label in enumerate(labels):
        groups.setdefault(label, set()).add(token)
    return {min(tokens): tokens for tokens in groups.values() if len(tokens) >= 2}


def slow_events(sequence):
    """docs/definitions.md, one sentence after the other."""
    found = []
    for step in range(1, len(sequence)):
        before, after = holes_of(sequence[step - 1]), holes_of(sequence[step])
        in_a_hole_before, in_a_hole_after = set().union(*before.values()), set().union(*after.values())
        for hole, tokens in before.items():
            children = [child for child in after if after[child] & tokens]
            singletons_later = tokens - in_a_hole_after
            # fission: a hole whose tokens are found in two or more holes a step later
            if len(children) >= 2:
                found.append((step, "fission", [hole], children, tokens & in_a_hole_after))
            # evaporation: tokens of a hole that are singletons a step later
            if singletons_later:
                found.append((step, "evaporation", [hole], children, singletons_later))
            # dissolution: a hole none of whose tokens is in a hole a step later
            if not tokens & in_a_hole_after:
                found.append((step, "dissolution", [hole], [], tokens))
        for hole, tokens in after.items():
            parents = [parent for parent in before if before[parent] & tokens]
            singletons_before = tokens - in_a_hole_before
            # fusion: a hole whose tokens came from two or more
            if len(parents) >= 2:
                found.append((step, "fusion", parents, [hole], tokens & in_a_hole_before))
            # capture: singletons that a hole takes in
            if singletons_before and parents:
                found.append((step, "capture", parents, [hole], singletons_before))
            # formation: a hole made of singletons alone
            if tokens == singletons_before:
                found.append((step, "formation", [], [hole], tokens))
    return sorted((step, kind, sorted(p), sorted(c), sorted(tokens)) for step, kind, p, c, tokens in found)


def events(sequence):
    return list(black_holes.events(np.array(sequence, np.int32)))


HAND_MADE = {  # (before, after) → the events, without their step
    "nothing": ("aabc", "aabc", []),
    "nothing without holes": ("abcd", "abcd", []),
    "fission": ("aaaa", "aabb", [("fission", [0], [0, 2], [0, 1, 2, 3])]),
    "fission, one token lost": (
        "aaaaa",
        "abbcc",
        [("evaporation", [0], [1, 3], [0]), ("fission", [0], [1, 3], [1, 2, 3, 4])],
    ),
    "fusion": ("aabb", "aaaa", [("fusion", [0, 2], [0], [0, 1, 2, 3])]),
    "fusion with a capture": (
        "aabbc",
        "aaaaa",
        [("capture", [0, 2], [0], [4]), ("fusion", [0, 2], [0], [0, 1, 2, 3])],
    ),
    "evaporation": ("aaab", "acab", [("evaporation", [0], [0], [1])]),
    "evaporation of the token that names the hole": ("aaab", "xaab", [("evaporation", [0], [1], [0])]),
    "capture": ("aabc", "aaac", [("capture", [0], [0], [2])]),
    "capture by a hole that is renamed": ("xaa", "aaa", [("capture", [1], [0], [0])]),
    "formation": ("abcd", "abcb", [("formation", [], [1], [1, 3])]),
    "dissolution": (
        "aabc",
        "xybc",
        [("dissolution", [0], [], [0, 1]), ("evaporation", [0], [], [0, 1])],
    ),
    "exchange": (  # each gives the other a token
        "aaabbb",
        "aabbba",
        [
            ("fission", [0], [0, 2], [0, 1, 2]),
            ("fission", [3], [0, 2], [3, 4, 5]),
            ("fusion", [0, 3], [0], [0, 1, 5]),
            ("fusion", [0, 3], [2], [2, 3, 4]),
        ],
    ),
    "new hole of a token that was free and one that was not": (
        "aaab",
        "aabb",
        [("capture", [0], [2], [3]), ("fission", [0], [0, 2], [0, 1, 2])],
    ),
}


@pytest.mark.parametrize("case", HAND_MADE)
def test_events_by_hand(case):
    before, after, wanted = HAND_MADE[case]
    sequence = [as_labels(before), as_labels(after)]
    assert sorted(events(sequence)) == [(1, *event) for event in wanted]
    assert slow_events(sequence) == [(1, *event) for event in wanted]  # the oracle is tested, too


@st.composite
def label_sequences(draw):
    V = draw(st.integers(1, 8))
    groups = st.lists(st.integers(0, draw(st.integers(0, V))), min_size=V, max_size=V)
    return [as_labels(step) for step in draw(st.lists(groups, min_size=1, max_size=5))]


@settings(max_examples=400)
@given(label_sequences())
@example([[0]])
@example([[0, 0, 0], [0, 0, 0]])
def test_events_against_the_slow_reading(sequence):
    found = events(sequence)
    assert sorted(found) == slow_events(sequence)
    assert [event[0] for event in found] == sorted(event[0] for event in found)  # in order of time
    assert all(list(ids) == sorted(set(ids)) for _, _, *lists in found for ids in lists)


@given(label_sequences())
def test_events_account_for_every_token_that_enters_or_leaves(sequence):
    found = events(sequence)
    for step in range(1, len(sequence)):
        inside = [set().union(*holes_of(labels).values()) for labels in sequence[step - 1 : step + 1]]
        moved = {(kind, token) for at, kind, _, _, tokens in found if at == step for token in tokens}
        left = {token for kind, token in moved if kind == "evaporation"}
        entered = {token for kind, token in moved if kind in ("capture", "formation")}
        assert left == inside[0] - inside[1]
        assert entered == inside[1] - inside[0]


# --- files


def test_the_files(tmp_path):
    history = random_history(12, 9, 1)
    files = run_statistics(write_history(tmp_path / "h", history), tmp_path / "out")
    with open_tensors(files.counts) as file:
        assert sorted(file.keys()) == sorted((*SERIES, "labels"))
        assert file.metadata == {"made": "here"}
        assert file.expect("labels", torch.int32, ("S", "V")) == (12, 9)
        labels = file.rows("labels")
        for name in SERIES:
            assert file.expect(name, torch.int32, (12,))
        assert [tuple(file.rows(name)[step].item() for name in SERIES) for step in range(12)] == [
            counted(snapshot) for snapshot in history
        ]
    for snapshot, found in zip(history.tolist(), labels.tolist(), strict=True):
        assert found == [snapshot.index(vector) for vector in snapshot]  # the smallest token with this vector

    with open(files.events, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["step", "kind", "parents", "children", "tokens"]
    read = [(int(step), kind, *([int(i) for i in ids.split()] for ids in lists)) for step, kind, *lists in rows[1:]]
    assert len(read) > 10
    assert sorted(read) == slow_events(labels.tolist())


def test_both_zeros_are_equal(tmp_path):
    history = torch.tensor([[[0.0, 1.0], [-0.0, 1.0], [0.0, -0.0]], [[2.0, -0.0], [1.0, 0.0], [2.0, 0.0]]]).bfloat16()
    files = run_statistics(write_history(tmp_path / "h", history), tmp_path / "out")
    with open_tensors(files.counts) as file:
        assert file.rows("labels").tolist() == [[0, 0, 2], [0, 1, 0]]
    assert files.said == "step 1: 1 hole with 2 of 3 tokens, 2 distinct vectors"


def test_one_step(tmp_path):
    files = run_statistics(write_history(tmp_path / "h", random_history(1)), tmp_path / "out")
    assert files.events.read_bytes() == b"step,kind,parents,children,tokens\n"
