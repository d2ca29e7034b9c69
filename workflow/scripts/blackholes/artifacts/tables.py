"""Readers of the CSV tables that more than one part of the workflow reads. Imports no torch, and no pandas."""

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np

from blackholes.errors import UserError

Path = str | os.PathLike
LOG = ("loss", "grad_norm", "learning_rate")  # the series of training_log.csv


def read_columns(path: Path, columns: Mapping[str, Callable], rows: int | None = None) -> dict[str, list]:
    """Column → its values, of a CSV table with a header line; columns that are not asked for are not read.

    Args:
        columns: name → a function that converts a field's text, as int, float, str; it raises ValueError for bad text.
        rows: how many to read at most.

    Raises:
        UserError: naming the file and what was expected; for a bad value also its row, counted from 1.
    """
    header, *lines = _lines(path, rows)
    for name in columns:
        if name not in header:
            raise UserError(f"{path}: no column '{name}'; expected columns {', '.join(columns)}")
    return {
        name: [_value(path, number, line, name, header.index(name), kind) for number, line in enumerate(lines, 1)]
        for name, kind in columns.items()
    }


def read_training_log(path: Path, series: Sequence[str] = LOG, last: int | None = None) -> dict[str, np.ndarray]:
    """Columns of training_log.csv by name, `step` (1, 2, …) and each of `series`, float64 (N,).

    Args:
        last: the number of steps to read, all of which must be there; None: all in the file, at least one.

    Raises:
        UserError: as `read_columns`; also where a step is missing.
    """
    columns = read_columns(path, {"step": int} | dict.fromkeys(series, float), last)
    length = len(columns["step"])
    expected = max(1, length) if last is None else last
    if columns["step"] != list(range(1, expected + 1)):
        gap = next((row for row, step in enumerate(columns["step"], 1) if step != row), length + 1)
        raise UserError(f"{path}: no step {gap} in row {gap}; expected a row for each of the steps 1 to {expected}")
    return {name: np.array(values) for name, values in columns.items()}


def read_tokens(path: Path) -> dict[str, np.ndarray]:
    """tokens.csv of a corpus, ordered by `token_id`: `character`, `count`, `status` (dead | live).

    A token of several characters, whose column is `text`, is one of `character` too.

    Raises:
        UserError: as `read_columns`; also for a table without rows.
    """
    name = "text" if "text" in _lines(path, 0)[0] else "character"
    table = read_columns(path, {"token_id": int, name: str, "count": int, "status": str})
    table["character"] = table.pop(name)
    if not table["token_id"]:
        raise UserError(f"{path}: no rows; expected one for each token")
    order = np.argsort(table["token_id"], kind="stable")
    return {name: np.array(values, object if name == "character" else None)[order] for name, values in table.items()}


def read_holes(path: Path, vocabulary: int) -> dict[int, np.ndarray]:
    """Hole → its token ids, int64 (n,), of a checkpoint's black_holes.csv, in its order.

    Args:
        vocabulary: number of tokens of the checkpoint.

    Raises:
        UserError: as `read_columns`; also for a hole without its population, with a token that another hole has, or
            with one that the vocabulary has not.
    """

    def numbers(text: str) -> np.ndarray:
        return np.array(text.split(), np.int64)

    table = read_columns(path, {"hole": int, "population": int, "token_ids": numbers})
    holes, seen = dict(zip(table["hole"], table["token_ids"], strict=True)), np.zeros(vocabulary, bool)
    if len(holes) < len(table["hole"]):
        raise UserError(f"{path}: two rows are of one hole; expected a row for each")
    for (name, ids), population in zip(holes.items(), table["population"], strict=True):
        if population < 1:
            raise UserError(f"{path}: hole {name} has a population of {population}; expected its number of tokens")
        if len(ids) != population:
            raise UserError(f"{path}: hole {name} has {len(ids)} token_ids; expected its population, {population}")
        if ids.min() < 0 or ids.max() >= vocabulary:
            raise UserError(f"{path}: hole {name} holds token {ids.max()}; expected 0 to {vocabulary - 1}")
        if seen[ids].any() or len(set(ids.tolist())) < len(ids):
            raise UserError(f"{path}: a token of hole {name} is there twice; expected each token in one hole at most")
        seen[ids] = True
    return holes


def read_statistics(path: Path) -> dict[str, float]:
    """Statistic → value, of overdensity.csv; NaN where it has none, as a mean of no pairs.

    Raises:
        UserError: as `read_columns`.
    """
    table = read_columns(path, {"statistic": str, "value": lambda text: float(text or "nan")})
    return dict(zip(table["statistic"], table["value"], strict=True))


def _lines(path: Path, rows: int | None) -> list[list[str]]:
    """The fields of the header line (none in an empty file), then of up to `rows` lines (None: of all).

    Every line of a table that is written here ends with a line break, so a last line without one was cut off.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            table = csv.reader(file)
            lines = [next(table, []), *islice(filter(None, table), rows)]
        with open(path, "rb") as raw:
            if raw.seek(0, os.SEEK_END):
                raw.seek(-1, os.SEEK_END)
                if raw.read(1) != b"\n":
                    raise UserError(f"{path}: the last line has no end: the table was cut off there")
        return lines
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {error}; expected a CSV table in UTF-8") from error


def _value(path: Path, number: int, line: list[str], name: str, index: int, kind: Callable):
    try:
        return kind(line[index])
    except IndexError as error:
        raise UserError(f"{path}: row {number}: no {name}; the row has only {len(line)} fields") from error
    except (ValueError, OverflowError) as error:  # NumPy's of a number too large
        words: dict[Callable, str] = {int: "a whole number", float: "a number"}
        expected = words.get(kind, "numbers")
        raise UserError(f"{path}: row {number}: {name} is '{line[index]}'; expected {expected}") from error
