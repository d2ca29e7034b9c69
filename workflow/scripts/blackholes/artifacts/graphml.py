"""Directed graphs in GraphML, written in pieces: nodes and edges come in any order, and are not kept in memory."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO
from xml.sax.saxutils import escape

from blackholes.artifacts.files import atomic

_TYPES = {int: "int", float: "double", bool: "boolean", str: "string"}


class GraphWriter:
    """What `graph_writer` yields."""

    def __init__(self, nodes: TextIO, edges: TextIO):
        self._nodes, self._edges = nodes, edges

    def node(self, name: int, values: Sequence) -> None:
        self._nodes.write(f'<node id="{name}">{_data("n", values)}</node>\n')

    def edge(self, source: int, target: int, values: Sequence) -> None:
        self._edges.write(f'<edge source="{source}" target="{target}">{_data("e", values)}</edge>\n')


@contextmanager
def graph_writer(
    path: str | os.PathLike, nodes: Mapping[str, type], edges: Mapping[str, type]
) -> Iterator[GraphWriter]:
    """Write a graph that appears, complete, when the context ends.

    Edges wait in a temporary file, since some readers want every node before the first edge.

    Args:
        nodes, edges: attribute → int, float, bool or str; values are then given in this order.
    """
    with (
        atomic(path) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
        tempfile.TemporaryFile("w+", dir=temporary.parent, encoding="utf-8") as waiting,
    ):
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n')
        for kind, attributes in {"node": nodes, "edge": edges}.items():
            for number, (name, of) in enumerate(attributes.items()):
                what = f'for="{kind}" attr.name="{escape(name)}" attr.type="{_TYPES[of]}"'
                file.write(f'<key id="{kind[0]}{number}" {what}/>\n')
        file.write('<graph edgedefault="directed">\n')
        yield GraphWriter(file, waiting)
        waiting.seek(0)
        shutil.copyfileobj(waiting, file)
        file.write("</graph>\n</graphml>\n")


def _data(kind: str, values: Sequence) -> str:
    return "".join(f'<data key="{kind}{number}">{_text(value)}</data>' for number, value in enumerate(values))


def _text(value: object) -> str:
    if isinstance(value, str):
        return escape(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
