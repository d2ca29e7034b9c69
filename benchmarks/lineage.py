"""Lineage of black holes, from labels to its three files, beside a networkx graph built a step at a time.

python benchmarks/lineage.py [--steps 10001] [--tokens 128] [--rounds 3] [--share 1.0]

--steps 6001 --tokens 10000 is the size of config/thimble.yaml; --share is the part of the steps that networkx gets.
"""

import argparse
import tempfile
from pathlib import Path

import networkx as nx
import numpy as np
import torch
from _harness import Rival, compare
from blackholes.artifacts.tensors import write_tensors
from blackholes.runs import lineage


def restless_labels(S: int, V: int, seed: int = 0) -> np.ndarray:
    """Labels (S, V): one hole at first; at every step one token in 100 leaves its hole or enters that of another,
    and at one step in 50 half a hole leaves it as one, and comes back five steps later."""
    random = np.random.default_rng(seed)
    group, labels = np.zeros(V, np.int64), np.empty((S, V), np.int32)
    returns: dict[int, tuple[np.ndarray, int]] = {}
    for step in range(S):
        if step:
            for token in random.integers(0, V, random.poisson(V / 100)):
                group[token] = group[random.integers(0, V)] if random.random() < 0.5 else V + token
            if step in returns:
                some, home = returns.pop(step)
                group[some] = home
            elif random.random() < 0.02:
                home = group[random.integers(0, V)]
                some = np.flatnonzero(group == home)[::2]
                group[some] = 2 * V + some[0]
                returns[step + 5] = some, home
        _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
        labels[step] = first[inverse]
    return labels


def by_networkx(labels: np.ndarray) -> tuple[nx.DiGraph, dict[tuple[int, int], int]]:
    """The graph of all holes (step, label), whose edges are the tokens that they share, and identities."""
    graph, identity, new, before = nx.DiGraph(), {}, 0, {}
    for step, row in enumerate(labels):
        groups: dict[int, list[int]] = {}
        for token, label in enumerate(row.tolist()):
            groups.setdefault(label, []).append(token)
        now = {}
        for label, tokens in groups.items():
            if len(tokens) >= 2:
                graph.add_node((step, label), population=len(tokens))
                now |= dict.fromkeys(tokens, (step, label))
        for token, node in now.items():
            if token in before:
                old = before[token]
                tokens = graph.edges[old, node]["tokens"] if graph.has_edge(old, node) else 0
                graph.add_edge(old, node, tokens=tokens + 1)
        claims: dict = {}
        for old in sorted(set(before.values())):
            heirs = [(-data["tokens"], child) for child, data in graph[old].items()]
            if heirs:
                size, child = min(heirs)
                claims.setdefault(child, []).append((size, old))
        for node in sorted(set(now.values())):
            if node in claims:
                identity[node] = identity[min(claims[node])[1]]
            else:
                identity[node], new = new, new + 1
        before = now
    return graph, identity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_001)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0)
    arguments = parser.parse_args()
    labels = restless_labels(arguments.steps, arguments.tokens)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def ours(n):
            counts = folder / f"{n}.safetensors"
            if not counts.exists():  # it is written before the time is taken
                write_tensors(counts, {"labels": torch.from_numpy(labels[:n])})
            outputs = lineage.Outputs(*(str(folder / name) for name in ("holes", "graph", "events")))
            lineage.write(str(counts), outputs)
            return outputs

        n = min(200, len(labels))
        table = Path(ours(n).holes).read_text().splitlines()
        ours(len(labels))
        _, identity = by_networkx(labels[:n])
        assert len(table) - 1 == len(set(identity.values()))
        changes = int((labels[1:] != labels[:-1]).any(1).sum())
        compare(
            f"Lineage, {len(labels):,} × {arguments.tokens:,}, {changes:,} steps with a change",
            [
                Rival(
                    "networkx, a step at a time: graph and identities",
                    lambda n: by_networkx(labels[:n]),
                    arguments.share,
                ),
                Rival("ours: graph, identities and events, from file to files", ours),
            ],
            n=len(labels),
            rounds=arguments.rounds,
        )


if __name__ == "__main__":
    main()
