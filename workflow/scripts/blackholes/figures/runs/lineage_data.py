"""What the figure of a lineage draws: populations of holes, and tokens that pass between them, flicker folded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np

from blackholes.artifacts.tables import read_columns
from blackholes.errors import UserError

SINGLETONS = 0  # in place of a hole; holes are numbered from 1

# what reading another graph, or none, ends with: bad XML is a SyntaxError
_NO_LINEAGE = (OSError, SyntaxError, nx.NetworkXError, ValueError, LookupError, TypeError, ArithmeticError)


@dataclass
class Flows:
    """Populations and flows of holes at the K steps on which something changes, step 0 first."""

    steps: np.ndarray  # (K,)
    populations: dict[int, np.ndarray]  # hole → tokens (K,), 0 where it is not; in order of birth
    passed: list[dict[tuple[int, int], int]]  # for each step: (hole before, another hole) → tokens
    folded: int  # holes that are drawn as a part of where they came from


def read(graph: Path, events: Path, last: int) -> Flows:
    """From lineage.graphml and lineage_events.csv of a run whose last step is `last`."""
    table = read_columns(events, {"kind": str, "parents": str, "children": str, "flicker": int})
    rows = list(zip(*table.values(), strict=True))
    try:
        formed = {int(children) for kind, _, children, flicker in rows if flicker and kind == "formation"}
        dissolved = {int(parents) for kind, parents, _, flicker in rows if flicker and kind == "dissolution"}
    except ValueError as error:
        raise UserError(f"{events}: {error}; expected one hole where one formed or dissolved") from error
    try:
        return flows(nx.read_graphml(graph), formed, dissolved, last)
    except _NO_LINEAGE as error:
        raise UserError(f"{graph}: cannot be read ({error}); expected the graph of a lineage in GraphML") from error


def flows(graph: nx.DiGraph, formed: set[int], dissolved: set[int], last: int) -> Flows:
    """What is drawn of a lineage's graph; the holes whose formation, whose dissolution is flicker are given.

    A hole whose birth and end are both flicker is folded into the hole that most of its tokens came from.
    """
    hole_of: dict[str, int] = {}
    changes: dict[int, dict[int, int]] = {}
    for node, values in sorted(graph.nodes(data=True), key=lambda item: item[1]["first_step"]):
        hole = hole_of[node] = int(values["hole"])
        pairs = (pair.split(":") for pair in values["populations"].split())
        series = changes.setdefault(hole, {})
        series |= {int(step): int(population) for step, population in pairs}
        series[int(values["last_step"]) + 1] = 0  # unless another segment goes on
    changes = dict(sorted(changes.items()))
    edges = [
        (int(values["step"]), hole_of[a], hole_of[b], int(values["tokens"]), bool(values["flicker"]))
        for a, b, values in graph.edges(data=True)
        if hole_of[a] != hole_of[b]
    ]
    host = _hosts(changes, edges, formed, dissolved)
    steps = np.array([step for step in sorted({0}.union(*changes.values())) if step <= last])
    populations = {hole: np.zeros(len(steps), int) for hole in changes if hole not in host}
    for hole, series in changes.items():
        drawn_with = host.get(hole, hole)
        if drawn_with != SINGLETONS:
            at = np.searchsorted(list(series), steps, side="right")
            populations[drawn_with] += np.array([0, *series.values()])[at]
    passed: list[dict[tuple[int, int], int]] = [{} for _ in steps]
    for step, source, target, tokens, _ in edges:
        a, b = host.get(source, source), host.get(target, target)
        if a != b and SINGLETONS not in (a, b):
            of_step = passed[int(np.searchsorted(steps, step))]
            of_step[a, b] = of_step.get((a, b), 0) + tokens
    return Flows(steps, populations, passed, len(host))


def _hosts(
    changes: Mapping[int, Mapping[int, int]], edges: list[tuple], formed: set[int], dissolved: set[int]
) -> dict[int, int]:
    """Hole that is folded → the hole that it is drawn with, or SINGLETONS."""
    host: dict[int, int] = {}
    for hole, series in changes.items():  # in order of birth, so a host's own host is known
        born, died = min(series), max(series)
        came = [edge for edge in edges if edge[2] == hole and edge[0] == born]
        went = [edge for edge in edges if edge[1] == hole and edge[0] == died]
        begins = all(edge[4] for edge in came) if came else hole in formed
        ends = all(edge[4] for edge in went) if went else hole in dissolved
        if begins and ends:
            source = max(came, key=lambda edge: edge[3])[1] if came else SINGLETONS
            host[hole] = host.get(source, source)
    return host
