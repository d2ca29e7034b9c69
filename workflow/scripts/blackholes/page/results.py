"""The files of the results that a page is made from: only those that it is given, not what else is in the folder."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackholes.errors import UserError


@dataclass
class Table:
    """A CSV table: its columns in order, and all fields as text, row by row."""

    columns: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """The fields of a column. Raises KeyError where there is none."""
        if name not in self.columns:
            raise KeyError(name)
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def records(self) -> list[dict[str, str]]:
        """Every row as column → field."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Results:
    """Files by their names inside the folder of the results, as `qwen/summary.csv`."""

    def __init__(self, root: Path, paths: Iterable[str | Path]):
        self.root = Path(root)
        self.files = {Path(path).relative_to(self.root).as_posix(): Path(path) for path in paths}

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def path(self, name: str) -> Path:
        """Raises UserError where the page was not given this file."""
        if name not in self.files:
            raise UserError(f"{self.root / name}: the page needs this file, and was not given it")
        return self.files[name]

    def under(self, folder: str, suffix: str = "") -> list[str]:
        """Names of the files in a folder, in the order in which they were given; not those of its folders."""
        return [name for name in self.files if name.rpartition("/")[0] == folder and name.endswith(suffix)]

    def table(self, name: str) -> Table:
        """A CSV table. Raises UserError naming the file and what is wrong with it."""
        path = self.path(name)
        try:
            with open(path, newline="", encoding="utf-8") as file:
                columns, *rows = list(csv.reader(file)) or [[]]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: cannot be read: {error}; expected a CSV table in UTF-8") from error
        for number, row in enumerate(rows, 1):
            if len(row) != len(columns):
                raise UserError(f"{path}: row {number} has {len(row)} fields; expected {len(columns)}")
        return Table(columns, rows)

    def json(self, name: str) -> Any:
        """Raises UserError naming the file and what is wrong with it."""
        path = self.path(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read: {error}; expected JSON") from error
