"""What the explorer shows: of each run tokens' holes and places at some steps, its lineage's layout, and its events."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from blackholes.artifacts.tables import read_columns
from blackholes.figures import data
from blackholes.figures.runs import lineage, lineage_data
from blackholes.figures.runs.hole_members import short_name
from blackholes.page import colours
from blackholes.page.facts import Facts, Tokens
from blackholes.page.packing import array, pack
from blackholes.page.results import Results

MOST_PLACES = 1_500_000  # tokens × steps of all runs together; of more, runs have fewer steps
_HALF = 2**14  # places are whole numbers between − this and this


@dataclass
class Explorer:
    """What the template needs: an index, and packed data by their ids."""

    index: dict[str, Any]
    packed: dict[str, str]


def build(results: Results, experiments: list[Facts], config: Mapping[str, Any]) -> Explorer | None:
    """Of all experiments that the page was given explorer.safetensors of; None where there is none."""
    runs = {
        it.name: [run for run in it.runs if f"{it.name}/{run}/explorer.safetensors" in results] for it in experiments
    }
    shapes = [
        data.shape(results.path(f"{it.name}/{run}/explorer.safetensors"), "identities")
        for it in experiments
        for run in runs[it.name]
    ]
    places = sum(steps * tokens for steps, tokens in shapes)
    share = min(1.0, MOST_PLACES / max(places, 1))
    packed: dict[str, str] = {}
    index = []
    for it in experiments:
        if not runs[it.name]:
            continue
        corpus = f"explorer-corpus-{it.settings['corpus']['name']}"
        packed.setdefault(corpus, pack(of_corpus(it.tokens)))
        for run in runs[it.name]:
            packed[f"explorer-{it.name}-{run}"] = pack(of_run(results, it, run, share))
        counts = [_changes(it.series["counts"][it.runs.index(run)]) for run in runs[it.name]]
        entry = {"name": it.name, "corpus": corpus, "last": it.last, "word": it.tokens.word, "holes": it.has_holes}
        index.append({**entry, "runs": runs[it.name], "counts": counts})
    return Explorer({"experiments": index}, packed) if index else None


def of_corpus(tokens: Tokens) -> dict[str, Any]:
    """Names of the tokens, long and short, their occurrences, and which are dead."""
    short = [short_name(name) for name in tokens.names]
    return {"names": tokens.names, "short": short, "counts": tokens.counts.tolist(), "dead": tokens.dead.tolist()}


def of_run(results: Results, it: Facts, run: str, share: float = 1.0) -> dict[str, Any]:
    """A run's data.

    `identities` and `plane` hold the first step and then differences from one step to the next, in 16 bits that
    overflow: they are short when compressed. A place is `plane` × `unit`, which rounds it to 1/16,384 of the largest.

    Args:
        share: of the steps that are kept, always with the first and the last.
    """
    tensors, _ = data.read_tensors(results.path(f"{it.name}/{run}/explorer.safetensors"))
    kept = thinned(len(tensors["steps"]), share)
    plane = tensors["plane"][kept].astype(float)
    unit = max(float(np.abs(plane).max()), np.finfo(float).tiny) / _HALF
    return {
        "steps": tensors["steps"][kept].tolist(),
        "identities": array(differences(tensors["identities"][kept])),
        "plane": array(differences(np.round(plane / unit))),
        "unit": unit,
        "shares": [round(float(share), 4) for share in tensors["shares"]],
        **_lineage(results, it, run),
    }


def thinned(number: int, share: float) -> np.ndarray:
    """Indices of a part of `number` steps, evenly, with the first and the last."""
    wanted = max(2, int(number * share))
    return np.arange(number) if wanted >= number else np.unique(np.linspace(0, number - 1, wanted).round().astype(int))


def differences(values: np.ndarray) -> np.ndarray:
    """int16 (K, …): the first row, then each less the one before, modulo 2¹⁶."""
    whole = values.astype(np.int64)
    return np.concatenate([whole[:1], np.diff(whole, axis=0)]).astype(np.uint16).view(np.int16)


def _changes(series: np.ndarray) -> list[list[int]]:
    """[step, value] of the first step and of every step at which a series changes."""
    steps = np.append(0, 1 + np.flatnonzero(np.diff(series)))
    return np.stack([steps, series[steps]], 1).tolist()


def _lineage(results: Results, it: Facts, run: str) -> dict[str, Any]:
    """The layout of a run's lineage as the figure has it, the colours of its holes, and its events without flicker."""
    graph, events = (results.path(f"{it.name}/{run}/{name}") for name in ("lineage.graphml", "lineage_events.csv"))
    flows = lineage_data.read(graph, events, it.last)
    drawn = lineage.layout(flows, it.last)
    order = sorted(flows.populations, key=lambda hole: -flows.populations[hole].max())
    table = read_columns(
        events, {"step": int, "kind": str, "parents": str, "children": str, "n_tokens": int, "flicker": int}
    )
    rows = [list(row[:5]) for row in zip(*table.values(), strict=True) if not row[5]]
    return {
        "colours": {str(hole): i for i, hole in enumerate(order[: len(colours.HOLES)])},
        "shown": lineage.place(drawn.shown),
        "bands": [[it.hole, _round(it.start), _round(it.end), it.low, it.high] for it in drawn.bands],
        "ribbons": [
            [
                r.hole,
                _round(lineage.turn(r.step)),
                _round(lineage.place(r.step)),
                r.before,
                r.after,
                r.tokens,
                r.opacity,
            ]
            for r in drawn.ribbons
        ],
        "folded": flows.folded,
        "events": rows,
    }


def _round(place: float) -> float:
    return round(place, 4)
