"""Every file of some results, compared with what is recorded of it, with its kind, and with the configuration."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackholes.artifacts import digests, records
from blackholes.artifacts.files import write_table
from blackholes.artifacts.records import Records
from blackholes.errors import DamagedFile
from blackholes.verify import contents
from blackholes.verify.plan import Plan

TABLE = "verify.csv"
COLUMNS = ["file", "state", "job", "why"]
WRONG = ("missing", "damaged", "foreign", "stale")  # the others are `ok` and `orphaned`
_NO_RESULTS = ("logs", "benchmarks")  # folders of what tells the time


@dataclass
class Found:
    """One file: its state, the job that wrote it, and what is wrong with it."""

    file: str  # inside the results
    state: str
    job: str = ""
    why: str = ""


def check(root: Path, plan: Plan | None = None) -> list[Found]:
    """Check every file below a folder of results, and every file that is missing there.

    Args:
        plan: what the configuration and the code say; None: they are not asked.
    """
    return list(_Check(root, plan).all())


def made(root: Path) -> list[str]:
    """The files below a folder of results that have a record."""
    folder = root / "logs" / records.FOLDER
    names = (path.relative_to(folder).as_posix().removesuffix(".json") for path in folder.rglob("*.json"))
    return sorted(str(root / name) for name in names if (root / name).is_file())


def write(root: Path, found: list[Found]) -> Path:
    """Write verify.csv: a row a file. Returns its path."""
    write_table(root / TABLE, COLUMNS, ((one.file, one.state, one.job, one.why) for one in found))
    return root / TABLE


def set_aside(root: Path, found: list[Found]) -> list[str]:
    """Rename the files that are damaged or foreign, so that the next call makes them anew; their new names."""
    kept = []
    for one in found:
        file = root / one.file
        if one.state in ("damaged", "foreign") and file.is_file():
            os.replace(file, records.aside(file))
            kept.append(str(records.aside(file)))
    return kept


class _Check:
    def __init__(self, root: Path, plan: Plan | None):
        self.root, self.plan, self.records = root, plan, Records(root)
        self.sizes: contents.Sizes = {}
        # folders inside it with the results of another configuration
        self.others = [logs.parents[1] for logs in root.rglob(f"logs/{records.FOLDER}") if logs.parents[1] != root]
        self.present = sorted(self._names(path for path in root.rglob("*") if path.is_file()))
        folder = root / "logs" / records.FOLDER
        self.recorded = sorted(
            path.relative_to(folder).as_posix().removesuffix(".json") for path in folder.rglob("*.json")
        )
        self.planned = {os.path.relpath(file, root): why for file, why in plan.files.items()} if plan else {}
        known = ((self._known(name).get("digest"), name) for name in self.recorded)
        self.by_digest = {digest: name for digest, name in known if digest}

    def _names(self, paths: Iterator[Path]) -> Iterator[str]:
        for path in paths:
            name = path.relative_to(self.root)
            if any(path.is_relative_to(other) for other in self.others):
                continue
            if name.parts[0] not in _NO_RESULTS and name.as_posix() != TABLE:
                yield name.as_posix()

    def _known(self, name: str) -> dict[str, Any]:
        return self.records.read(self.root / name)

    def all(self) -> Iterator[Found]:
        for name in sorted({*self.present, *self.recorded, *self.planned}):
            if found := self._one(name):
                yield found
        yield from self._records_of_jobs()

    def _one(self, name: str) -> Found | None:
        known, path = self._known(name), self.root / name
        job = known.get("job", "")
        if not path.is_file():
            expected = name in self.planned if self.plan else "digest" in known
            return Found(name, "missing", job, "no such file") if expected else None
        if name in self.recorded and not known:
            return Found(name, "damaged", job, f"{self.records.path(path)}: its record is damaged")
        if "digest" not in known:
            if name in self.planned:
                return Found(name, "foreign", job, "no record says that a job wrote it")
            return Found(name, "orphaned", job, "no record says that a job wrote it")
        if damage := self._damage(name, path):
            state, why = damage
            return Found(name, state, job, why)
        if self.plan and name not in self.planned:
            return Found(name, "orphaned", job, "the configuration has nothing that makes it")
        if old := self._old(name, known):
            return Found(name, "stale", job, old)
        return Found(name, "ok", job)

    def _damage(self, name: str, path: Path) -> tuple[str, str] | None:
        """(state, why) of a file that is not what its job wrote, or not what its kind has to be."""
        try:
            self.records.check(path)
        except DamagedFile as error:
            whose = self.by_digest.get(str(records.facts(path)["digest"]))
            if whose not in (None, name):
                return "foreign", f"it is {whose}"
            return ("foreign" if error.foreign else "damaged"), error.wrong
        wrong = contents.problem(path, self.sizes)
        return ("damaged", wrong) if wrong else None

    def _old(self, name: str, known: dict[str, Any]) -> str:
        """Why a file would be another if it was made today; empty if it would not."""
        place = self.root / known["record"]
        record = records.read_json(place)
        if not record:
            return f"{place}: the record of its job is missing or damaged"
        for source, digest in record["inputs"].items():
            now = self._known(source).get("digest")
            if now not in (None, digest):
                return f"made from another {source}"
        header = digests.own_header(self.root / name)
        config = header.metadata.get("config_digest") if header else None
        if config not in (None, record["config_digest"]):
            return f"its config_digest is {config}, its job's {record['config_digest']}"
        return self.planned.get(name, "")

    def _records_of_jobs(self) -> Iterator[Found]:
        """Records of jobs that cannot be relied on."""
        logs = self.root / "logs"
        for place in sorted(logs.rglob("*.json")):
            if records.FOLDER not in place.relative_to(logs).parts[:1] and not records.read_json(place):
                yield Found(place.relative_to(self.root).as_posix(), "damaged", why="the record of a job is damaged")
