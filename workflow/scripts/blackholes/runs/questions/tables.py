"""The answers as tables: questions.csv, a row a question; question_values.csv, a row a number; questions.md."""

from collections.abc import Sequence

import numpy as np

from blackholes.artifacts.files import write_table, write_text
from blackholes.runs.questions import freeze, holes, motion
from blackholes.runs.questions.data import Run
from blackholes.runs.questions.verdict import Answer, answer

COLUMNS = ["key", "question", "answer", "effect", "unit", "low", "high", "n", "counted"]
COLUMNS += ["yes", "no", "measure", "rule", "method", "detail", "figure", "files"]
VALUE_COLUMNS = ["key", "experiment", "run", "seed", "value"]
QUESTIONS = [*freeze.QUESTIONS, *holes.QUESTIONS, *motion.QUESTIONS]


def write(runs: Sequence[Run], table: str, values: str, page: str, shown: str = "run_001") -> list[Answer]:
    """Ask every question, and write what is answered. Returns the answers.

    Args:
        shown: the run that figures of one run show.
    """
    answers = [answer(question, runs) for question in QUESTIONS]
    write_table(table, COLUMNS, (_row(one, shown) for one in answers))
    write_table(
        values,
        VALUE_COLUMNS,
        ((one.question.key, it.experiment, it.run, it.seed, it.value) for one in answers for it in one.values),
    )
    write_text(page, markdown(answers, shown))
    return answers


def _row(one: Answer, shown: str) -> list:
    asked = one.question
    numbers = ["" if np.isnan(number) else number for number in (one.effect, one.low, one.high)]
    texts = [
        asked.yes,
        asked.no,
        asked.measure,
        asked.rule,
        asked.method,
        one.detail,
        _figure(one, shown),
        " ".join(_files(one)),
    ]
    return [asked.key, asked.question, one.answer, numbers[0], asked.unit, *numbers[1:], one.n, one.counted, *texts]


def _figure(one: Answer, shown: str) -> str:
    """The figure that shows it, inside the results; empty without runs that say anything."""
    if not one.values:
        return ""
    first = one.values[0]
    return one.question.figure.format(experiment=first.experiment, run=first.run, shown=shown)


def _files(one: Answer) -> list[str]:
    return [pattern.format(experiment=name) for name in one.experiments for pattern in one.question.files]


def markdown(answers: Sequence[Answer], shown: str) -> str:
    """The page: a table of all answers, then how each was found."""
    lines = ["# Questions", "", "| question | answer | effect | 95 % interval | n |", "|---|---|---:|---|---|"]
    for one in answers:
        counted = f"{one.n} {one.counted}" if one.values else ""
        cells = [one.question.question, f"**{one.answer}**", *_effect(one), counted]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    for one in answers:
        asked = one.question
        lines += ["", f"## {asked.question}", "", f"**{one.answer}**", ""]
        if one.values:
            lines.append(f"- Effect: {' '.join(_effect(one)).strip()}, of {one.n} {one.counted}: {asked.measure}.")
        lines += [f"- Rule: {asked.rule}.", f"- Method: {asked.method}"]
        lines += [f"- {one.detail[0].upper()}{one.detail[1:]}."] if one.detail else []
        if figure := _figure(one, shown):
            lines.append(f"- Figure: [{figure}]({figure}). Files: {', '.join(f'`{it}`' for it in _files(one))}")
    return "\n".join(lines) + "\n"


def _effect(one: Answer) -> tuple[str, str]:
    """Effect with its unit, and interval, in words."""
    effect = "" if np.isnan(one.effect) else f"{one.effect:.3g} ({one.question.unit})"
    return effect, "" if np.isnan(one.low) else f"{one.low:.3g} to {one.high:.3g}"
