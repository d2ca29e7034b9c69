"""Identities of holes against sets of tokens followed by hand-written rules, and the files against the same."""

import csv
from collections import Counter
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.kernels import lineage as kernel
from blackholes.runs import black_holes, lineage
from helpers import names
from hypothesis import example, given, settings
from hypothesis import strategies as st

KINDS = ["stays", "moves", "evaporation", "dissolution", "capture", "formation"]


def as_labels(groups):
    """Any names of groups → the smallest token of each."""
    return [groups.index(group) for group in groups]


def holes_of(labels):
    """Smallest token → tokens, of the groups of two or more."""
    groups = {}
    for token, label in enumerate(labels):
        groups.setdefault(label, set()).add(token)
    return {label: tokens for label, tokens in groups.items() if len(tokens) >= 2}


# --- the oracle


def slow_identities(sequence):
    """For every step: smallest token of a hole → its identity; docs/definitions.md, one sentence after the other."""
    found, number = [], 0
    for step, labels in enumerate(sequence):
        after, identities = holes_of(labels), {}
        before = holes_of(sequence[step - 1]) if step else {}
        would_pass = {}  # child → the parents whose identity would pass to it
        for parent, tokens in before.items():
            shared = {child: len(tokens & after[child]) for child in after if tokens & after[child]}
            if shared:
                heir = min(child for child in shared if shared[child] == max(shared.values()))
                would_pass.setdefault(heir, {})[parent] = shared[heir]
        for child in sorted(after):
            gives = would_pass.get(child, {})
            if gives:
                parent = min(parent for parent in gives if gives[parent] == max(gives.values()))
                identities[child] = found[-1][parent]
            else:
                identities[child], number = number, number + 1
        found.append(identities)
    return found


def slow_moves(sequence, flicker):
    """[step, from, to, tokens, flicker] of all tokens that leave one identity for another, or for none (−1)."""
    places = []  # for every step, the identity of every token
    for labels, identities in zip(sequence, slow_identities(sequence), strict=True):
        places.append([identities.get(label, -1) for label in labels])
    moves = []
    for step in range(1, len(sequence)):
        groups = {}
        for token, (a, b) in enumerate(zip(places[step - 1], places[step], strict=True)):
            if a != b:
                groups.setdefault((a, b), set()).add(token)
        moves += [[step, a, b, tokens, False] for (a, b), tokens in groups.items()]
    for first in moves:
        for second in moves:
            later = 0 < second[0] - first[0] <= flicker
            between = [m for m in moves if first[0] < m[0] < second[0] and m[3] & first[3]]
            if later and second[3] == first[3] and not between:
                left, entered = first[1], second[2]
                ended = left not in places[second[0] - 1]
                new = entered not in places[second[0] - 1]
                if left == entered or (left != -1 and entered != -1 and ended and new):
                    first[4] = second[4] = True
    return moves


def slow_segments(sequence):
    """The graph of all (step, hole), and its parts that neither split nor merge, as a partition of its nodes."""
    graph = nx.DiGraph()
    for step, labels in enumerate(sequence):
        for hole, tokens in holes_of(labels).items():
            graph.add_node((step, hole))
            for old, others in (holes_of(sequence[step - 1]) if step else {}).items():
                if tokens & others:
                    graph.add_edge((step - 1, old), (step, hole), tokens=len(tokens & others))
    kept = nx.DiGraph(graph)
    kept.remove_edges_from([(a, b) for a, b in graph.edges if graph.out_degree(a) > 1 or graph.in_degree(b) > 1])
    return graph, {frozenset(part) for part in nx.weakly_connected_components(kept)}


def follow(sequence, flicker=10, cuts=()):
    """(populations, flows) of the kernel as lists of dictionaries."""
    pieces = np.split(np.array(sequence, np.int32), sorted(cuts))
    batches = list(kernel.flows((torch.from_numpy(piece) for piece in pieces), flicker))
    populations, flows = (np.concatenate(some).tolist() for some in zip(*batches, strict=True))
    return (
        [dict(zip(kernel.POPULATION, row, strict=True)) for row in populations],
        [dict(zip(kernel.FLOW, row, strict=True)) for row in flows],
    )


@st.composite
def histories(draw, steps=7):
    """Labels of steps in which few tokens change, so that they come and go between the same holes."""
    V = draw(st.integers(1, 8))
    groups = draw(st.lists(st.integers(0, 3), min_size=V, max_size=V))
    sequence = [list(groups)]
    for _ in range(draw(st.integers(0, steps))):
        some = st.lists(st.tuples(st.integers(0, V - 1), st.integers(0, 3) | st.integers(10, 12)), max_size=4)
        if len(sequence) > 1 and draw(st.booleans()):
            groups = list(sequence[-2])  # as it was
        for token, group in draw(some):
            groups[token] = group
        sequence.append(list(groups))
    return [as_labels(groups) for groups in sequence]


# --- the kernel


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(0, 4), st.sets(st.integers(1, 6)))
@example([[0]], 0, set())
@example([as_labels(groups) for groups in ("aaab", "aabb", "aaab", "aabb")], 1, set())
def test_against_the_slow_reading(sequence, flicker, cuts):
    populations, flows = follow(sequence, flicker, {cut for cut in cuts if cut < len(sequence)})
    wanted = [(step, a, b, len(tokens), int(mark)) for step, a, b, tokens, mark in slow_moves(sequence, flicker)]
    moved = [tuple(flow[key] for key in ("step", "from_hole", "to_hole", "tokens", "flicker")) for flow in flows]
    assert sorted(m for m, flow in zip(moved, flows, strict=True) if flow["kind"]) == sorted(wanted)
    assert [flow["step"] for flow in flows] == sorted(flow["step"] for flow in flows)

    identities = slow_identities(sequence)
    for step, now in enumerate(identities):
        sizes = {now[label]: len(tokens) for label, tokens in holes_of(sequence[step]).items()}
        last = {row["hole"]: row["population"] for row in populations if row["step"] <= step}  # the last of each
        assert {hole: population for hole, population in last.items() if population} == sizes


@settings(max_examples=150, deadline=None)
@given(histories(), st.sets(st.integers(0, 6)), st.sets(st.integers(1, 6)))
@example([as_labels("aaab"), as_labels("aabb"), as_labels("aabb"), as_labels("abab")], {1, 2, 3}, {2})
def test_identities_of_tokens(sequence, steps, cuts):
    steps = sorted(step for step in steps if step < len(sequence))
    ends = sorted({0, len(sequence), *(cut for cut in cuts if cut < len(sequence))})
    pieces = (torch.tensor(sequence[start:stop]) for start, stop in pairwise(ends))
    found = kernel.identities(pieces, np.array(steps, int))
    slow = slow_identities(sequence)
    assert found.tolist() == [[slow[step].get(label, kernel.NONE) for label in sequence[step]] for step in steps]


@settings(max_examples=150, deadline=None)
@given(histories())
def test_segments_against_networkx(sequence):
    graph, parts = slow_segments(sequence)
    populations, flows = follow(sequence)
    identities = slow_identities(sequence)
    segment_of = {}
    for step, now in enumerate(identities):
        last = {row["hole"]: row["segment"] for row in populations if row["step"] <= step}
        segment_of |= {(step, label): last[hole] for label, hole in now.items()}
    assert set(segment_of) == set(graph.nodes)
    found = {}
    for node, segment in segment_of.items():
        found.setdefault(segment, set()).add(node)
    assert {frozenset(part) for part in found.values()} == parts
    between = Counter()
    for a, b, tokens in graph.edges(data="tokens"):
        if segment_of[a] != segment_of[b]:
            between[b[0], segment_of[a], segment_of[b], tokens] += 1
    rows = [flow for flow in flows if kernel.NONE not in (flow["from_segment"], flow["to_segment"])]
    keys = ("step", "from_segment", "to_segment", "tokens")
    assert Counter(tuple(flow[key] for key in keys) for flow in rows) == between


@settings(max_examples=150, deadline=None)
@given(histories())
def test_tokens_are_conserved_at_every_step(sequence):
    """What an identity had, less what leaves it, plus what enters it, is what it has; singletons are the rest."""
    populations, flows = follow(sequence)
    V = len(sequence[0])
    held = Counter({row["hole"]: row["population"] for row in populations if row["step"] == 0})
    held[kernel.NONE] = V - held.total()
    for step in range(1, len(sequence)):
        for flow in flows:
            if flow["step"] == step:
                held[flow["from_hole"]] -= flow["tokens"]
                held[flow["to_hole"]] += flow["tokens"]
        assert held.total() == V
        last = {row["hole"]: row["population"] for row in populations if row["step"] <= step}
        assert {hole: held[hole] for hole in last} == last
        assert held[kernel.NONE] == V - sum(last.values())


HAND_MADE = {  # steps → (step, kind, from, to, tokens, flicker) of the flows that are not within an identity
    "the larger part keeps the identity": (["aaaaa", "abbbb"], [(1, "evaporation", 0, -1, 1, 0)]),
    "of two equal parts the one with the smallest token": (["aaaa", "aabb"], [(1, "moves", 0, 1, 2, 0)]),
    "of two parents the one that gives more": (["aabbb", "ccccc"], [(1, "moves", 0, 1, 2, 0)]),
    "of two parents that give as many the first": (["aabb", "cccc"], [(1, "moves", 1, 0, 2, 0)]),
    "a parent whose identity goes elsewhere does not count": (
        ["aaaaaaabb", "aaaabbbbb"],
        [(1, "moves", 0, 1, 3, 0)],
    ),
    "a split that is undone": (["aaaaa", "aaabb", "aaaaa"], [(1, "moves", 0, 1, 2, 1), (2, "moves", 1, 0, 2, 1)]),
    "a split of which one token is missing in the end": (
        ["aaaaaaa", "aaaabbb", "aaaaaac"],
        [(1, "moves", 0, 1, 3, 0), (2, "moves", 1, 0, 2, 0), (2, "evaporation", 1, -1, 1, 0)],
    ),
    "a fusion that is undone by a new identity": (
        ["aaabb", "aaaaa", "aaabb"],
        [(1, "moves", 1, 0, 2, 1), (2, "moves", 0, 2, 2, 1)],
    ),
    "a hole that comes back": (
        ["aab", "xyb", "aab"],
        [(1, "dissolution", 0, -1, 2, 1), (2, "formation", -1, 1, 2, 1)],
    ),
    "a token that comes back to another hole": (
        ["aaabbb", "aaxbbb", "aabbbb"],
        [(1, "evaporation", 0, -1, 1, 0), (2, "capture", -1, 1, 1, 0)],
    ),
    "a token that comes back": (
        ["aaab", "aaxb", "aaab"],
        [(1, "evaporation", 0, -1, 1, 1), (2, "capture", -1, 0, 1, 1)],
    ),
}


@pytest.mark.parametrize("case", HAND_MADE)
def test_by_hand(case):
    steps, wanted = HAND_MADE[case]
    _, flows = follow([as_labels(step) for step in steps])
    keys = ("from_hole", "to_hole", "tokens", "flicker")
    found = [(f["step"], KINDS[f["kind"]], *(f[key] for key in keys)) for f in flows if f["kind"]]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize(("gap", "marked"), [(1, 1), (3, 1), (4, 0)])
def test_flicker_is_so_many_steps(gap, marked):
    sequence = [as_labels(step) for step in ["aaa", *["aab"] * gap, "aaa"]]
    _, flows = follow(sequence, flicker=3)
    assert [flow["flicker"] for flow in flows] == [marked, marked]


def test_many_flows_are_held_back_and_many_identities_begin():
    """More than the buffers have at first: pairs that break and form anew at every step, each undone after two."""
    V, S = 600, 300
    even = [k // 2 * 2 for k in range(V)]
    sequence = [even if step % 2 == 0 else list(range(V)) for step in range(S)]
    populations, flows = follow(sequence, flicker=S)
    assert len(flows) == (S - 1) * V // 2
    assert all(flow["flicker"] for flow in flows)
    assert max(row["hole"] for row in populations) + 1 == V // 2 * (S // 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(2, 3), "labels are torch.float32, where int32 or int64 is expected"),
        (torch.zeros(3, dtype=torch.int32), "labels have shape (3,), where (S, V) is expected"),
        (torch.tensor([[0, 0], [1, 1]]), "labels of step 1 do not name the smallest token with an equal vector"),
        (torch.tensor([[0, 1, 1], [0, 0, 1]]), "labels of step 1 do not name the smallest token with an equal vector"),
        (torch.tensor([[0, 1], [-1, 0]]), "labels of step 1 do not name the smallest token with an equal vector"),
    ],
)
def test_labels_of_another_kind_are_refused(labels, message):
    with pytest.raises(UserError) as caught:
        list(kernel.flows(iter([labels]), 10))
    assert str(caught.value) == message


def test_pieces_must_have_the_same_tokens():
    with pytest.raises(UserError, match="labels have 3 tokens from step 1 on, where 2 are expected"):
        list(kernel.flows((torch.zeros(1, V, dtype=torch.int32) for V in (2, 3)), 10))


# --- files


def write(folder, sequence, **options):
    """lineage.csv and lineage_events.csv as lists of dictionaries, and the graph."""
    folder.mkdir(exist_ok=True)
    write_tensors(folder / "counts", {"labels": torch.tensor(sequence, dtype=torch.int32)})
    files = [str(folder / name) for name in ("lineage.csv", "lineage.graphml", "lineage_events.csv")]
    lineage.write(str(folder / "counts"), lineage.Outputs(*files), **options)
    with open(files[0], newline="") as table, open(files[2], newline="") as events:
        return list(csv.DictReader(table)), list(csv.DictReader(events)), nx.read_graphml(files[1])


def numbers(text):
    return [int(word) for word in text.split()]


@settings(max_examples=60, deadline=None)
@given(sequence=histories())
def test_the_files_against_the_slow_reading(tmp_path_factory, sequence):
    holes, events, graph = write(tmp_path_factory.mktemp("lineage"), sequence)
    identities, moves = slow_identities(sequence), slow_moves(sequence, 10)
    members = [{now[label]: t for label, t in holes_of(sequence[s]).items()} for s, now in enumerate(identities)]
    assert [int(row["hole"]) for row in holes] == list(range(1, 1 + len({h for now in members for h in now})))
    for number, row in enumerate(holes):
        steps = [step for step, now in enumerate(members) if number in now]
        born, died = steps[0], steps[-1] + 1
        assert steps == list(range(born, died))
        sources = {a for step, a, b, *_ in moves if (step, b) == (born, number) and a >= 0}
        given = {b for step, a, b, *_ in moves if a == number and b >= 0 and born_at(members, b) == step}
        given |= {b for step, a, b, *_ in moves if (step, a) == (died, number) and b >= 0}
        ends = any((step, a) == (died, number) and b >= 0 for step, a, b, *_ in moves)
        assert int(row["born"]) == born
        assert row["born_by"] == ("start" if born == 0 else "fission" if sources else "formation")
        alive = died == len(sequence)
        assert row["died"] == ("" if alive else str(died))
        assert row["died_by"] == ("" if alive else "fusion" if ends else "dissolution")
        assert numbers(row["parents"]) == sorted(hole + 1 for hole in sources)
        assert numbers(row["children"]) == sorted(hole + 1 for hole in given)
        peak = max(len(members[step][number]) for step in steps)
        first = next(step for step in steps if len(members[step][number]) == peak)
        assert (int(row["peak_population"]), int(row["peak_step"])) == (peak, first)
        assert numbers(row["tokens"]) == sorted(members[first][number])

    known = black_holes.events(np.array(sequence, np.int32))  # an own reading, with an oracle of its own
    assert Counter((step, kind, len(tokens)) for step, kind, _, _, tokens in known) == Counter(
        (int(row["step"]), row["kind"], int(row["n_tokens"])) for row in events
    )
    assert nx.is_directed_acyclic_graph(graph)
    full, parts = slow_segments(sequence)
    assert graph.number_of_nodes() == len(parts)
    inside = sum(len(part) - 1 for part in parts)
    assert graph.number_of_edges() == full.number_of_edges() - inside
    for _, node in graph.nodes(data=True):
        changes = [tuple(map(int, pair.split(":"))) for pair in node["populations"].split()]
        for step in range(node["first_step"], node["last_step"] + 1):
            population = [size for at, size in changes if at <= step][-1]
            assert population == len(members[step][node["hole"] - 1])


def born_at(members, hole):
    return next(step for step, now in enumerate(members) if hole in now)


def test_events_are_flicker_if_all_that_moves_is(tmp_path):
    """At step 1 a pair and a triple leave; only the pair comes back."""
    steps = ["aaaaaaaaa", "aaaabbccc", "aaaaaaccc"]
    _, events, graph = write(tmp_path, [as_labels(step) for step in steps])
    assert [(row["step"], row["kind"], row["flicker"]) for row in events] == [
        ("1", "fission", "0"),
        ("2", "fusion", "1"),
    ]
    assert (events[0]["parents"], events[0]["children"]) == ("1", "1 2 3")
    assert (events[1]["parents"], events[1]["children"]) == ("1 2", "1")
    moved = sorted((data["step"], data["tokens"], data["flicker"]) for *_, data in graph.edges(data=True))
    assert moved == [(1, 2, True), (1, 3, False), (1, 4, False), (2, 2, True), (2, 4, False)]
    _, events, _ = write(tmp_path, [as_labels(step) for step in [steps[0], "aaaaaaabb", steps[0]]], flicker=0)
    assert [row["flicker"] for row in events] == ["0", "0"]


def test_no_hole_at_any_step(tmp_path):
    holes, events, graph = write(tmp_path, [[0, 1, 2]] * 3)
    assert (holes, events, graph.number_of_nodes()) == ([], [], 0)
    assert (tmp_path / "lineage.csv").read_text() == ",".join(lineage.HOLE_COLUMNS) + "\n"


def test_pieces_do_not_change_the_bytes(tmp_path):
    random = np.random.default_rng(0)
    sequence = [as_labels(row) for row in (random.integers(0, 9, (300, 40))).tolist()]
    done = []
    for folder, budget in (("a", 1.0), ("b", 1e-7)):
        ticks = []
        write(tmp_path / folder, sequence, budget_gb=budget, progress=lambda *call: ticks.append(call))
        assert ticks[-1] == (300, 300)
        done.append([(tmp_path / folder / name).read_bytes() for name in names(tmp_path / folder)])
    assert len(ticks) == 300
    assert done[0] == done[1]


def test_bad_files_are_named(tmp_path):
    bad = tmp_path / "counts"
    write_tensors(bad, {"labels": torch.ones(3, 4, dtype=torch.int32) * 3})
    outputs = lineage.Outputs(*(str(tmp_path / "out" / name) for name in "abc"))
    with pytest.raises(UserError, match=rf"^{bad}: labels of step 0 do not name the smallest token"):
        lineage.write(str(bad), outputs)
    assert names(tmp_path / "out") == []
    write_tensors(bad, {"labels": torch.ones(3, 4)})
    with pytest.raises(UserError, match=rf"^{bad}: tensor 'labels' is F32"):
        lineage.write(str(bad), outputs)
