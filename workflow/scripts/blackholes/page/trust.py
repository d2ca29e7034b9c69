"""Where the results come from: what they took, versions, digests, configuration, and whether they were checked."""

import csv
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from blackholes.page.results import Results

_INTERNAL = ("report_command", "verify_arguments", "packs", "captions")  # put into the configuration by the rules


@dataclass
class Stage:
    """The jobs of one kind, as their benchmark files say."""

    name: str
    jobs: int
    seconds: float  # of all jobs together, as a clock beside each shows
    cpu_seconds: float
    memory_mb: float  # the most that one of them used


def stages(root: Path) -> list[Stage]:
    """What each stage took, from benchmarks/<stage>/*.tsv; the longest first."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for path in sorted((root / "benchmarks").rglob("*.tsv")):
        stage = path.relative_to(root / "benchmarks").parts[0].removesuffix(".tsv").replace("_", " ")
        with suppress(OSError, ValueError, KeyError), open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                numbers = [_number(row.get(key)) for key in ("s", "cpu_time", "max_rss")]
                found.setdefault(stage, []).append((numbers[0], numbers[1], numbers[2]))
    made = [
        Stage(name, len(rows), sum(r[0] for r in rows), sum(r[1] for r in rows), max(r[2] for r in rows))
        for name, rows in found.items()
    ]
    return sorted(made, key=lambda stage: -stage.seconds)


def _number(text: str | None) -> float:
    with suppress(ValueError, TypeError):
        return float(text)  # type: ignore[arg-type]
    return 0.0  # `-` or `NA`: shorter than what Snakemake measures


@dataclass
class File:
    """A file that the page was made from, as it was recorded when it was written."""

    name: str
    job: str
    bytes: int
    digest: str


def files(results: Results) -> list[File]:
    """Every file that the page was made from, with its record if it has one."""
    found = []
    for name, path in sorted(results.files.items()):
        record = _json(results.root / "logs" / "records" / f"{name}.json")
        found.append(File(name, record.get("job", ""), path.stat().st_size, record.get("digest", "")))
    return found


def versions(root: Path) -> dict[str, list[str]]:
    """Package → the versions that the jobs' records name; several where a folder was made with several."""
    found: dict[str, set[str]] = {}
    for path in (root / "logs").rglob("*.json"):
        if "records" not in path.relative_to(root / "logs").parts:
            for package, version in _json(path).get("versions", {}).items():
                found.setdefault(package, set()).add(version)
    return {package: sorted(of) for package, of in found.items()}


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        if isinstance(found := json.loads(path.read_text(encoding="utf-8")), dict):
            return found
    return {}


def configuration(config: Mapping[str, Any]) -> str:
    """The configuration with all defaults, as YAML."""
    plain = {key: value for key, value in config.items() if key not in _INTERNAL}
    return yaml.safe_dump(json.loads(json.dumps(plain, default=str)), sort_keys=False, allow_unicode=True, width=100)


def machine() -> dict[str, str]:
    """Of this computer: its system, processor and number of cores. The jobs may have run on others."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        processor = names[0] if names else processor
    return {
        "system": platform.platform(terse=True),
        "processor": f"{processor}, {os.cpu_count()} cores",
        "Python": platform.python_version(),
    }


def disk_bytes(root: Path) -> int:
    """Of all files in the folder of the results."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def verified(root: Path) -> str:
    """What `snakemake verify` found, as a sentence."""
    path = root / "verify.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            states = [row["state"] for row in csv.DictReader(file)]
        when = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, ValueError, KeyError):
        return "These results have not been checked as a whole: run snakemake with the target verify to do so."
    counts = {state: states.count(state) for state in sorted(set(states), key=lambda state: state != "ok")}
    said = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    return f"The check of all files (verify) found on {when:%d %B %Y, %H:%M} UTC: {said}."
