"""Tables of the results as the page shows them: typed columns with units and a sentence each, packed."""

import csv
import math
from dataclasses import dataclass
from functools import cache

from blackholes.page.packing import pack
from blackholes.page.results import Results, Table
from blackholes.page.sources import COLUMNS

MOST_FIELDS = 4_000_000  # of a table in the page; of a larger one its first rows


@dataclass
class Column:
    """A column of a table."""

    name: str
    unit: str
    meaning: str
    number: bool  # all its fields are numbers or empty


@dataclass
class Grid:
    """A table of the page. `data` is packed: a list of values for each column, null for an empty field."""

    id: str
    group: str
    title: str
    file: str
    columns: list[Column]
    rows: int  # in the page
    all_rows: int  # in the file
    data: str


def grid(results: Results, name: str, group: str, title: str, most: int = MOST_FIELDS) -> Grid:
    """The table in a file. Its fields are not rounded: a number is shown as it is read.

    Args:
        most: fields that are put into the page at most, at least one row.
    """
    table = results.table(name)
    kept = table.rows[: max(1, most // max(1, len(table.columns)))]
    return _grid(name, group, title, Table(table.columns, kept), len(table.rows))


def _grid(name: str, group: str, title: str, table: Table, all_rows: int) -> Grid:
    kind = (
        "checkpoint_tokens.csv"
        if name.startswith("checkpoints/") and name.endswith("/tokens.csv")
        else name.rpartition("/")[2]
    )
    fields = [[row[i] for row in table.rows] for i in range(len(table.columns))]
    values = [_values(column) for column in fields]
    columns = [
        Column(column, *meaning(kind, column), isinstance(next((v for v in of if v is not None), ""), int | float))
        for column, of in zip(table.columns, values, strict=True)
    ]
    identity = "table-" + name.removesuffix(".csv").replace("/", "-").replace(".", "-")
    return Grid(identity, group, title, name, columns, len(table.rows), all_rows, pack(values))


def meaning(table: str, column: str) -> tuple[str, str]:
    """(unit, sentence) of a column, both empty where columns.csv has none."""
    return _meanings().get((table, column)) or _meanings().get(("*", column)) or ("", "")


@cache
def _meanings() -> dict[tuple[str, str], tuple[str, str]]:
    with open(COLUMNS, newline="", encoding="utf-8") as file:
        return {(row["table"], row["column"]): (row["unit"], row["meaning"]) for row in csv.DictReader(file)}


def _values(fields: list[str]) -> list[int | float | str | None]:
    """Fields as numbers if all are finite numbers or empty, otherwise as text; empty ones are None."""
    for kind in (int, float):
        try:
            numbers: list[int | float | str | None] = [None if field == "" else kind(field) for field in fields]
        except ValueError:
            continue
        if all(isinstance(number, str | None) or math.isfinite(number) for number in numbers) and any(
            field for field in fields
        ):
            return numbers
    return [field or None for field in fields]
