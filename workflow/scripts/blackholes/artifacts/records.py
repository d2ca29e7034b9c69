"""What is known of every file that a job writes: whose it is, and once the job has ended, what is in it.

A record is a small JSON file, `logs/records/<file>.json` in the folder of the results.

A job **claims** its outputs when it starts: it writes its own token into their records. Before a file gets its final
name the record is read again. Another token means that another job has begun to write the file since, say one of
another configuration, while this one was left behind by a Snakemake that was killed: then this job stops.

A job that ends completes the records: size and digest of each file, of a table also its number of rows. The jobs that
read the file compare. A tensor file is known by the digest of its header, which has the digest of the tensors' bytes;
any other file by the digest of all of it. So CSV tables stay what every reader takes for a table. Imports no torch.
"""

import csv
import json
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from blackholes.artifacts import digests
from blackholes.artifacts.files import atomic
from blackholes.artifacts.safetensors_header import PAYLOAD, read_header
from blackholes.errors import DamagedFile, UserError

FOLDER = "records"  # below logs/
_CHECK = "check"  # key of a record's own digest


@dataclass(frozen=True)
class Records:
    """The records of the files below one folder of results.

    Args:
        root: the folder of the results.
        token: of the job that writes; unique.
    """

    root: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def beside(cls, log: str | os.PathLike) -> "Records | None":
        """The records of the results whose logs/ holds this log; None for a log elsewhere."""
        folders = Path(log).parents  # the nearest first; a folder of that name may be around the results too
        return next((cls(folder.parent) for folder in folders if folder.name == "logs"), None)

    def name(self, file: str | os.PathLike) -> str:
        """A file's path from the folder of the results."""
        return os.path.relpath(file, self.root)

    def path(self, file: str | os.PathLike) -> Path | None:
        """Where the record of a file is; None for a file outside the results, of which there is none."""
        name = self.name(file)
        return None if name.startswith(os.pardir) else self.root / "logs" / FOLDER / f"{name}.json"

    def read(self, file: str | os.PathLike) -> dict[str, Any]:
        """The record of a file; empty where there is none, or none that can be relied on."""
        place = self.path(file)
        return read_json(place) if place else {}

    def claim(self, files: Iterable[str], job: str) -> None:
        """Say that a job begins to write these files."""
        for file in files:
            if place := self.path(file):
                write_json(place, {"job": job, "token": self.token})

    def check_owner(self, file: str | os.PathLike) -> None:
        """Return if no other job has claimed a file since this one did.

        Between this and a rename are some microseconds in which a claim goes unseen.

        Raises:
            UserError: another job has, and which.
        """
        known = self.read(file)
        if known.get("token", self.token) != self.token:
            raise UserError(f"{file}: another job ({known['job']}) has begun to write it since; this one stops")

    def complete(self, files: Iterable[str], job: str, record: str | os.PathLike) -> None:
        """Say what is in the files of a job that has ended, and where the job's own record is.

        Copies of them that `set_aside` kept are deleted.
        """
        for file in files:
            self.check_owner(file)
            if (place := self.path(file)) and os.path.isfile(file):
                known = {"job": job, "token": self.token, "record": self.name(record)}
                write_json(place, known | facts(file))
                aside(file).unlink(missing_ok=True)

    def digest(self, file: str | os.PathLike) -> str | None:
        """The digest of a file as the job that wrote it recorded it; None where that is not known."""
        return self.read(file).get("digest")

    def check(self, file: str | os.PathLike, whole: bool = True) -> None:
        """Return if a file is what its job wrote, as far as that was recorded.

        A missing file passes, and one that another job sets aside meanwhile.

        Args:
            whole: false: of a tensor file the header only, for a job that checks the tensors while it reads them.

        Raises:
            DamagedFile: it is not.
        """
        known = self.read(file)
        if "digest" in known and os.path.isfile(file):
            try:
                difference = _difference(file, known, whole)
            except OSError as error:
                difference = f"cannot be read: {error.strerror}"
            if difference and os.path.isfile(file):
                raise DamagedFile(file, difference)

    def set_aside(self, file: str | os.PathLike) -> str:
        """Rename a damaged file that was made here, so that the next call makes it anew; a few words for the user."""
        if not self.digest(file):
            return ""
        with suppress(OSError):
            with suppress(FileNotFoundError):  # another job that reads it was first
                os.replace(file, aside(file))
            return f"; it is kept as {aside(file)}, and the next call makes it anew"
        return "; delete it, and the next call makes it anew"


def aside(file: str | os.PathLike) -> Path:
    """The name under which a damaged file is kept until it was made anew."""
    return Path(file).with_name(f".{Path(file).name}.damaged")


def facts(file: str | os.PathLike) -> dict[str, str | int]:
    """What a record says of a file as it is now: `digest`, `bytes` and, of a table, `rows` below its header line."""
    header = digests.own_header(file)
    found: dict[str, str | int] = {
        "digest": xxhash.xxh3_128(header.raw).hexdigest() if header else digests.of_file(file),
        "bytes": os.path.getsize(file),
    }
    if Path(file).suffix == ".csv":
        found["rows"] = rows(file)
    return found


def rows(file: str | os.PathLike) -> int:
    """Rows of a CSV table, its header line left out; a field in quotes may have several lines."""
    with open(file, newline="", encoding="utf-8", errors="replace") as text:
        return max(0, sum(1 for _ in csv.reader(text)) - 1)


def write_json(place: Path, record: dict[str, Any]) -> None:
    """Write a record with its own digest, which `read_json` checks.

    It is not flushed, which takes long: an empty one, after a power cut, counts as none.
    """
    with atomic(place, durable=False) as temporary:
        temporary.write_text(_text(record), encoding="utf-8")


def read_json(place: Path) -> dict[str, Any]:
    """A record; empty where there is none, or where it is damaged, since then it says nothing of its file."""
    with suppress(OSError, ValueError, RecursionError):
        text = place.read_text(encoding="utf-8")
        record = json.loads(text)
        if isinstance(record, dict) and record.pop(_CHECK, None) and text == _text(record):
            return record
    return {}


def _text(record: dict[str, Any]) -> str:
    own = digests.of_text(json.dumps(record))
    return json.dumps(record | {_CHECK: own}, indent=2) + "\n"


def _difference(file: str | os.PathLike, known: dict[str, Any], whole: bool) -> str:
    """What tells a file from the one that its job wrote; empty if nothing does."""
    writer, size = known.get("job", "its job"), os.path.getsize(file)
    header = digests.own_header(file)
    if header is None:
        if size == known["bytes"] and digests.of_file(file) == known["digest"]:
            return ""
        if Path(file).suffix == ".safetensors":
            try:
                read_header(file)
            except UserError:
                return f"not a complete safetensors file; {writer} wrote {known['bytes']:,} bytes, here are {size:,}"
        if "rows" in known and (here := rows(file)) != known["rows"]:
            return f"damaged: {writer} wrote {known['rows']:,} rows, here are {here:,}"
        return f"damaged: not the {known['bytes']:,} bytes that {writer} wrote"
    same_header = xxhash.xxh3_128(header.raw).hexdigest() == known["digest"]
    intact = size == known["bytes"] or not same_header
    if intact and (whole or not same_header):
        intact = digests.of_tensors(file, header) == header.metadata[PAYLOAD]
    if not intact:
        return f"damaged: its tensors are not those that {writer} wrote"
    if not same_header:
        config = header.metadata.get("config_digest", "unknown")
        return f"foreign: a complete file, but not the one that {writer} wrote (its config_digest is {config})"
    return ""
