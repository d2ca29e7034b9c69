"""The first screen: sentences, the letter grid, the table of experiments, answers, agreement, and cost."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from blackholes.checkpoints import answer
from blackholes.figures.runs.hole_members import short_name
from blackholes.page import colours, pictures, sentences, trust
from blackholes.page.facts import Facts
from blackholes.page.results import Results

MOST_CELLS = 512  # tokens that are written out in the letter grid
DIFFERENCES = (  # settings that may tell experiments apart, in the order in which they are named
    *("precision", "optimizer", "learning_rate", "weight_decay", "batch_size", "target_offset", "loss_divisor"),
    *("rounding", "compensation", "schedule", "clip", "steps"),
)


@dataclass
class Cell:
    """A token in the letter grid."""

    name: str
    title: str
    fill: str  # empty: a singleton
    ink: str
    dead: bool


@dataclass
class LetterGrid:
    """All tokens of one run at its last step."""

    experiment: str
    run: str
    step: int
    cells: list[Cell]
    alt: str


def build(results: Results, experiments: list[Facts], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the template's first section shows."""
    happened = [(it.name, sentences.of_experiment(it)) for it in experiments]
    happened += _checkpoints(results, config) + _snowballs(results, config) + _lattice(results, config)
    stages = trust.stages(results.root)
    return {
        "happened": happened,
        "grid": letter_grid(experiments, config),
        "experiments": [_row(it, experiments) for it in experiments],
        "questions": questions(results),
        "agreement": agreement(results),
        "cost": {
            "jobs": sum(stage.jobs for stage in stages),
            "seconds": sum(stage.seconds for stage in stages),
            "cpu_seconds": sum(stage.cpu_seconds for stage in stages),
            "memory_mb": max((stage.memory_mb for stage in stages), default=0.0),
            "longest": stages[0].name if stages else "",
            "longest_seconds": stages[0].seconds if stages else 0.0,
            "bytes": trust.disk_bytes(results.root),
        },
        "dead": [(it.name, int(it.tokens.dead.sum()), len(it.tokens.dead), it.tokens.words) for it in experiments],
    }


def letter_grid(experiments: list[Facts], config: Mapping[str, Any]) -> LetterGrid | None:
    """Of the first experiment with holes whose tokens can be written out; None where there is none."""
    it = next((it for it in experiments if it.has_holes and len(it.tokens.names) <= MOST_CELLS), None)
    if it is None:
        return None
    number = config["figures"]["run"]
    labels = it.at_end[number - 1]
    populations = np.bincount(labels, minlength=len(labels))
    holes = sorted(np.flatnonzero(populations > 1).tolist(), key=lambda hole: (-populations[hole], hole))
    fills = {hole: colours.HOLES[i] if i < len(colours.HOLES) else colours.SMALL_HOLES for i, hole in enumerate(holes)}
    cells = []
    for token, (name, label) in enumerate(zip(it.tokens.names, labels.tolist(), strict=True)):
        dead, held = bool(it.tokens.dead[token]), populations[label] > 1
        place = f"in a hole of {populations[label]:,}" if held else "alone"
        seen = "never in the text" if dead else sentences.plural(int(it.tokens.counts[token]), "time") + " in the text"
        fill = fills[label] if held else ""
        ink = colours.ink_on(fill) if held else ""
        cells.append(Cell(short_name(name), f"{name} (token {token}): {place}; {seen}", fill, ink, dead))
    left = sentences.plural(len(holes), "hole")
    alt = (
        f"All {len(cells)} {it.tokens.words} of {it.name}, run {number}, at step {it.last:,}: {left}, with "
        f"{int(populations[holes].sum())} {it.tokens.words}; {int(it.tokens.dead.sum())} are dead."
    )
    return LetterGrid(it.name, str(number), it.last, cells, alt)


def _row(it: Facts, experiments: list[Facts]) -> dict[str, str]:
    """A row of the table of experiments."""
    series = it.series
    return {
        "name": it.name,
        "what": difference(it, experiments[0]),
        "tokens": f"{len(it.tokens.dead):,}",
        "dead": f"{int(it.tokens.dead.sum()):,}",
        "runs": f"{len(it.runs):,}",
        "steps": f"{it.last:,}",
        "holes": sentences.span(series["counts"][:, -1].tolist()),
        "most": f"{int(series['counts'].max()):,}",
        "held": sentences.span(series["populations"][:, -1].tolist()),
        "distinct": sentences.span(series["n_unique"][:, -1].tolist()),
        "loss": f"{it.losses.mean():.3f}",
    }


def difference(it: Facts, first: Facts) -> str:
    """In a few words, how an experiment starts and which settings are others than the first one's."""
    init = it.settings["init"]
    start = {
        "qwen": "all tokens start at one point",
        "normal": "each token starts at its own point",
        "noise": f"all start at one point with noise of σ = {init.get('sigma')}",
    }.get(init["mode"], init["mode"])
    if init["mode"] == "noise" and init.get("drawn_in") == "bfloat16":
        start += ", drawn in bfloat16"
    others = [f"{key.replace('_', ' ')} {_short(it.settings[key])}" for key in DIFFERENCES
              if it is not first and it.settings.get(key) != first.settings.get(key)]  # fmt: skip
    if it is not first and it.settings["corpus"]["name"] != first.settings["corpus"]["name"]:
        others.insert(0, f"corpus {it.settings['corpus']['name']}")
    return "; ".join([start, *others])


def _short(value: Any) -> str:
    return ", ".join(f"{key} {of}" for key, of in value.items()) if isinstance(value, Mapping) else str(value)


@dataclass
class Question:
    """A row of questions.csv."""

    question: str
    answer: str  # yes, no, undecided; or what to run for one
    open: bool  # no run says anything
    effect: str  # with its unit, interval, and what it is of
    measure: str
    rule: str
    method: str
    detail: str
    figure: str  # id of the figure in the page, empty where it is not there


def questions(results: Results) -> list[Question]:
    """The questions, those with an answer first; none where the results have no questions.csv."""
    if "questions.csv" not in results:
        return []
    found = [_question(row, results) for row in results.table("questions.csv").records()]
    return sorted(found, key=lambda question: question.open)


def _question(row: Mapping[str, str], results: Results) -> Question:
    effect = f"{float(row['effect']):.3g} ({row['unit']})" if row["effect"] else ""
    if row["low"] and row["high"]:
        effect += f", 95\u00a0% interval {float(row['low']):.3g} to {float(row['high']):.3g}"
    if effect:
        counted = row["counted"].removesuffix("s") if row["n"] == "1" else row["counted"]
        effect += f"; of {row['n']} {counted}"
    path = row["figure"].rpartition(".")[0]
    figure = pictures.identity(*path.rpartition("/")[::2]) if row["figure"] in results else ""
    copied = {key: row[key] for key in ("question", "answer", "measure", "rule", "method", "detail")}
    return Question(**copied, open=row["answer"].startswith("needs"), effect=effect, figure=figure)


def agreement(results: Results) -> list[tuple[str, str]]:
    """(experiment, how far it agrees with what was published), from reproduction.csv where the results have it."""
    if "reproduction.csv" not in results:
        return []
    of: dict[str, list[dict[str, str]]] = {}
    for row in results.table("reproduction.csv").records():
        of.setdefault(row["experiment"], []).append(row)
    said = []
    for name, rows in of.items():
        judged = Counter(row["verdict"] for row in rows if row["quantity"] != "all judged rows")
        joint = next((row["verdict"] for row in rows if row["quantity"] == "all judged rows"), "")
        counts = ", ".join(f"{judged[word]} {word}" for word in ("agrees", "differs", "undecided") if judged[word])
        if counts:
            said.append((name, f"{joint}: {counts}" if joint else counts))
    return said


def _checkpoints(results: Results, config: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    said = []
    for name in config["checkpoints"]:
        if (file := f"checkpoints/{name}/census.json") not in results:
            continue
        census = results.json(file)
        if not census["holes"]:
            text = f"No two of the {census['tokens']:,} tokens have equal vectors."
        else:
            largest = ", ".join(f"{number:,}" for number in census["populations"][:5])
            more = " and fewer" if census["holes"] > 5 else ""
            text = (
                f"{sentences.plural(census['holes'], 'hole')} among {census['tokens']:,} tokens, "
                f"with {largest}{more} tokens; {sentences.plural(census['n_unique'], 'distinct vector')} in all."
            )
        said.append((f"Checkpoint {name}", [text, *_unused(results, f"checkpoints/{name}/tokens.csv")]))
    return said


def _unused(results: Results, table: str) -> list[str]:
    """Which tokens look most unused, where some can be told to be."""
    first = answer.first_ranks(results.path(table)) if table in results else ""
    return [f"By how unused their vectors look, {first}."] if first else []


def _snowballs(results: Results, config: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Whether noise and rounding alone could have made the holes."""
    asked, said = "Could noise and rounding alone have made the holes?", []
    for name in config["snowballs"]:
        if (file := f"snowballs/{name}/permutation_test.csv") not in results:
            continue
        found = {row["quantity"]: row["value"] for row in results.table(file).records()}
        if "joint_p" in found:
            p = float(found["joint_p"])
            verdict = "does not rule it out" if p > 0.05 else "speaks against it"
            text = f"{asked} The permutation test {verdict} (p = {p:.3g})."
        elif "not_tested" in found:
            text = f"{asked} Not tested: {found['not_tested']}."
        else:
            continue
        said.append((f"Snowballs {name}", [text]))
    return said


def _lattice(results: Results, config: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    said = []
    for name in config["lattice"]:
        if (file := f"lattice/{name}/lifecycle_medians.csv") not in results:
            continue
        rows = [row for row in results.table(file).records() if row["coordinates"] == "all" and row["late"]]
        parts = [f"the median {row['tokens']} token at step {float(row['late']):,.0f}" for row in rows]
        if parts:
            said.append((f"Motion of {name}", [f"Tokens move for the last time: {'; '.join(parts)}."]))
    return said
