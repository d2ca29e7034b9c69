"""Whether finished runs have the settings that the configuration has now, by what their files say of themselves.

A change of code is none of settings: a key that a run's file does not have counts as having its default.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from blackholes.artifacts.provenance import file_digest
from blackholes.artifacts.records import Records, read_json
from blackholes.artifacts.safetensors_header import read_header
from blackholes.config.corpus import Corpus
from blackholes.config.experiments import Experiment
from blackholes.config.model import Config
from blackholes.errors import UserError

HISTORY, TOKENS = "embedding_evolution.safetensors", "tokens.safetensors"
_SAME_TEXT = ("source", "path", "url")  # say where a text is from, and no more where it is the same text
_LONGEST = 60  # characters of a value


def run_differences(config: Config, results: Path, experiment: str, run: str) -> list[str]:
    """Lines `key: old → new` about a finished run, such as `run_001`, whose settings are not those of `config`.

    Empty where there is no such run, where it says nothing of its settings, and where they are the same.
    """
    history = results / experiment / run / HISTORY
    old = _recorded(history).get("settings")
    if experiment not in config.experiments or not isinstance(old, Mapping):
        return []
    it = config.experiments[experiment]
    lines = _lines(old, it.shared_settings(), Experiment().shared_settings())
    records = Records(results)
    job = read_json(results / records.read(history).get("record", "none"))
    corpora = [Path(name).parent.name for name in job.get("inputs", {}) if name.startswith("corpus/")]
    if corpora and it.corpus.folder not in corpora:
        return [f"corpus.name: {corpora[0]} → {it.corpus.folder}", *lines]
    return [f"corpus.{line}" for line in corpus_differences(config, results, it.corpus.folder)] + lines


def corpus_differences(config: Config, results: Path, name: str) -> list[str]:
    """Lines `key: old → new` about a corpus that was prepared with other settings. Another text is none of them."""
    recorded = _recorded(results / "corpus" / name / TOKENS)
    old, new = recorded.get("corpus"), config.corpora().get(name)
    if new is None or not isinstance(old, Mapping):
        return []
    settings = new.model_dump(mode="json", exclude={"name", "sha256"})
    with suppress(OSError):
        texts = [path and file_digest(Path(path).expanduser()) for path in (new.path, new.tokenizer_text)]
        if texts == recorded.get("text"):
            settings = {key: value for key, value in settings.items() if key not in _SAME_TEXT}
    return _lines(old, settings, Corpus().model_dump(mode="json"))


def other_runs(config: Config, results: Path) -> dict[str, list[str]]:
    """<experiment>/<run> → `run_differences`, of the finished runs in a folder that are not of this configuration.

    A run of an experiment that the configuration does not have has the one line that says so.
    """
    found = {}
    for history in sorted(results.glob(f"*/run_*/{HISTORY}")):
        experiment, run = history.parts[-3:-1]
        lines = run_differences(config, results, experiment, run)
        if experiment not in config.experiments:
            lines = ["no such experiment in this configuration"]
        if lines:
            found[f"{experiment}/{run}"] = lines
    return found


def together(runs: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """`other_runs` with runs of one experiment and the same lines as one entry: `qwen/run_001 to run_004 (4 runs)`."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, lines in runs.items():
        groups.setdefault((name.partition("/")[0], *lines), []).append(name)
    found = {}
    for (_, *lines), names in groups.items():
        last = names[-1].partition("/")[2]
        found[names[0] if len(names) == 1 else f"{names[0]} to {last} ({len(names)} runs)"] = lines
    return found


def _recorded(path: Path) -> dict[str, Any]:
    """The parameters of the job that wrote a file, from its own metadata; empty where it says none."""
    with suppress(UserError, OSError, ValueError, RecursionError):
        found = json.loads(read_header(path).metadata["config"]) if path.is_file() else {}
        return found if isinstance(found, dict) else {}
    return {}


def _lines(old: Mapping, new: Mapping, default: Mapping) -> list[str]:
    plain = json.loads(json.dumps([new, default]))
    return [f"{key}: {_short(was)} → {_short(now)}" for key, was, now in _differences(old, *plain)]


def _differences(old: Any, new: Any, default: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name, value in new.items():
            known = default.get(name) if isinstance(default, Mapping) else None
            yield from _differences(old.get(name, known), value, known, f"{key}.{name}" if key else name)
    elif old != new:
        yield key, old, new


def _short(value: Any) -> str:
    text = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
