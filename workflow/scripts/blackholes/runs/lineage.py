"""What became of each black hole of a run (row G): identities, the graph of their segments, and events with flicker.

The definitions are in kernels/lineage.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from blackholes.artifacts.files import table_writer, write_table
from blackholes.artifacts.graphml import GraphWriter, graph_writer
from blackholes.artifacts.tensors import TensorReader, open_tensors
from blackholes.errors import about
from blackholes.kernels import lineage

HOLE_COLUMNS = ["hole", "born", "born_by", "died", "died_by", "parents", "children"]
HOLE_COLUMNS += ["peak_population", "peak_step", "tokens"]
EVENT_COLUMNS = ["step", "kind", "parents", "children", "n_tokens", "flicker"]
NODES = {"hole": int, "first_step": int, "last_step": int, "populations": str}
EDGES = {"step": int, "tokens": int, "flicker": bool}


@dataclass
class Outputs:
    """The files of `write`."""

    holes: str  # lineage.csv
    graph: str  # lineage.graphml
    events: str  # lineage_events.csv


@dataclass
class Hole:
    """A row of lineage.csv; steps, None where it was not yet or is still there."""

    born: int
    born_by: str  # start, formation or fission
    died: int | None = None
    died_by: str = ""  # fusion or dissolution
    parents: set[int] = field(default_factory=set)
    children: set[int] = field(default_factory=set)
    peak: int = 0
    peak_step: int = 0
    peak_label: int = 0


class Flow(NamedTuple):
    """A row of the kernel's flows."""

    step: int
    kind: int
    from_segment: int
    to_segment: int
    from_hole: int
    to_hole: int
    tokens: int
    flicker: int


def write(
    counts: str,
    outputs: Outputs,
    flicker: int = 10,
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> None:
    """Write the lineage of a run from the `labels` of its black_hole_counts.safetensors.

    Identities are numbered from 1, in order of birth. lineage.csv: `born` and `died` are the first step with the hole
    and the first without; `parents` are the holes that gave it tokens at its birth, `children` those to which it gave
    tokens at theirs, or at its own death; `tokens` are those at its (first) peak. lineage.graphml: a node is a hole
    for as long as it neither splits nor merges, `populations` its population where that changes, as `step:population`;
    an edge is a number of tokens that go from one to the other at a step. lineage_events.csv: the events of events.csv
    by identity, and whether all flows of one are flicker; a dissolution is an evaporation too.

    Args:
        flicker: within how many steps flows undo each other.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    with open_tensors(counts) as file:
        S, V = file.expect("labels", torch.int32, ("S", "V"))
        pieces = _pieces(file, S, max(1, int(1e9 * budget_gb) // (40 * V)), progress)
        with (
            graph_writer(outputs.graph, NODES, EDGES) as graph,
            table_writer(outputs.events, EVENT_COLUMNS) as table,
            about(counts),
        ):
            holes = _Holes(graph)
            for populations, flows in lineage.flows(pieces, flicker):
                holes.set_populations(populations)
                rows = [Flow(*row) for row in flows.tolist()]
                for flow in rows:
                    holes.pass_tokens(flow)
                for kind, *event in events(rows):
                    table.writerow([event[0], kind, *event[1:]])
            holes.close(S)
        write_table(outputs.holes, HOLE_COLUMNS, _rows(holes.all, file))


def _pieces(file: TensorReader, S: int, length: int, progress: Callable[..., None]) -> Iterator[Tensor]:
    for start in range(0, S, length):
        stop = min(start + length, S)
        yield file.rows("labels", start, stop)
        progress(stop, S)


class _Holes:
    """Every identity so far, and the segments that go on, each with its populations."""

    def __init__(self, graph: GraphWriter):
        self.graph = graph
        self.all: list[Hole] = []
        self.open: dict[int, tuple[int, list[tuple[int, int]]]] = {}  # identity → its segment, (step, population)s

    def set_populations(self, rows: np.ndarray) -> None:
        for identity, segment, step, label, population in rows.tolist():
            if identity == len(self.all):
                self.all.append(Hole(step, "fission" if step else "start"))
            hole = self.all[identity]
            if identity in self.open and (population == 0 or self.open[identity][0] != segment):
                self._write_node(identity, step - 1)
            if population == 0:
                hole.died, hole.died_by = step, "fusion"
                continue
            self.open.setdefault(identity, (segment, []))[1].append((step, population))
            if population > hole.peak:
                hole.peak, hole.peak_step, hole.peak_label = population, step, label

    def pass_tokens(self, flow: Flow) -> None:
        source, target = flow.from_hole, flow.to_hole
        if flow.kind == lineage.FORMATION:
            self.all[target].born_by = "formation"
        elif flow.kind == lineage.DISSOLUTION:
            self.all[source].died_by = "dissolution"
        elif flow.kind == lineage.MOVES:
            born, died = self.all[target].born == flow.step, self.all[source].died == flow.step
            if born:
                self.all[target].parents.add(source + 1)
            if born or died:
                self.all[source].children.add(target + 1)
        if flow.from_segment != lineage.NONE and flow.to_segment != lineage.NONE:
            self.graph.edge(flow.from_segment, flow.to_segment, (flow.step, flow.tokens, bool(flow.flicker)))

    def close(self, S: int) -> None:
        """After the last step."""
        for identity in list(self.open):
            self._write_node(identity, S - 1)

    def _write_node(self, identity: int, last_step: int) -> None:
        segment, populations = self.open.pop(identity)
        text = " ".join(f"{step}:{population}" for step, population in populations)
        self.graph.node(segment, (identity + 1, populations[0][0], last_step, text))


def events(flows: list[Flow]) -> Iterator[tuple[str, int, str, str, int, int]]:
    """(kind, step, parents, children, tokens, flicker) of every event in flows of whole steps.

    Parents and children are identities from 1, separated by spaces: those that the event's tokens leave and enter.
    """

    def event(kind: str, some: list[Flow]):
        parents = sorted({flow.from_hole + 1 for flow in some if flow.from_hole != lineage.NONE})
        children = sorted({flow.to_hole + 1 for flow in some if flow.to_hole != lineage.NONE})
        marked = all(flow.flicker for flow in some if flow.kind != lineage.STAYS)
        tokens = sum(flow.tokens for flow in some)
        return kind, some[0].step, " ".join(map(str, parents)), " ".join(map(str, children)), tokens, int(marked)

    singles = {lineage.CAPTURE: ["capture"], lineage.FORMATION: ["formation"], lineage.EVAPORATION: ["evaporation"]}
    singles[lineage.DISSOLUTION] = ["evaporation", "dissolution"]
    for _, of_step in groupby(flows, attrgetter("step")):
        rows = list(of_step)
        between = [flow for flow in rows if flow.kind in (lineage.STAYS, lineage.MOVES)]
        for kind, end in (("fission", "from_hole"), ("fusion", "to_hole")):
            of_hole: dict[int, list[Flow]] = {}
            for flow in between:
                of_hole.setdefault(getattr(flow, end), []).append(flow)
            yield from (event(kind, some) for some in of_hole.values() if len(some) >= 2)
        yield from (event(kind, [flow]) for flow in rows for kind in singles.get(flow.kind, []))


def _rows(holes: list[Hole], file: TensorReader) -> Iterator[list]:
    """The table's rows: the tokens are read from the steps of the peaks, a step at a time."""
    tokens: dict[int, str] = {}
    for step, peaks in groupby(
        sorted(range(len(holes)), key=lambda i: holes[i].peak_step), lambda i: holes[i].peak_step
    ):
        labels = file.rows("labels", step, step + 1)[0].numpy()
        order = np.argsort(labels, kind="stable")
        for identity in peaks:
            first, end = np.searchsorted(labels[order], [holes[identity].peak_label, holes[identity].peak_label + 1])
            tokens[identity] = " ".join(map(str, order[first:end].tolist()))
    for identity, hole in enumerate(holes):
        ends = "" if hole.died is None else hole.died, hole.died_by
        relatives = (" ".join(map(str, sorted(ids))) for ids in (hole.parents, hole.children))
        yield [identity + 1, hole.born, hole.born_by, *ends, *relatives, hole.peak, hole.peak_step, tokens[identity]]
