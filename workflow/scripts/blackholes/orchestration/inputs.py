"""Files that a configuration names, looked at before anything runs, in a dry run too. Imports no torch."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from blackholes.artifacts import checkpoint_files, records
from blackholes.artifacts.files import write_text
from blackholes.artifacts.provenance import digest, file_digest
from blackholes.config.corpus import Corpus
from blackholes.config.model import Config
from blackholes.errors import UserError

KNOWN = Path(".snakemake/texts.json")  # digest of settings and text → what the text gives
LARGEST = 16 * 2**20  # bytes of a text that is made tokens here; a larger one has enough of them for any vocabulary
ENOUGH = 2000  # tokens that can be learnt from the builtin text, whatever the Python


def refuse(config: Config) -> None:
    """Raise UserError, a line for each problem: texts, checkpoints or folders with which no job could succeed."""
    surveyed = survey(config)
    if problems := [*_corpora(config, surveyed), *_checkpoints(config), *_folders(config)]:
        raise UserError(*problems)


def survey(config: Config) -> dict[str, dict[str, Any]]:
    """Corpus → `tokens`, `size` (V) and `dead`, or `error`; of the corpora that need no network. Kept in KNOWN."""
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        known = json.loads(KNOWN.read_text(encoding="utf-8"))
    keys = {name: _key(corpus) for name, corpus in config.corpora().items() if _can_be_surveyed(corpus)}
    new = {key: config.corpora()[name] for name, key in keys.items() if key not in known}
    found = dict(zip(new, ask(list(new.values())), strict=True))
    if kept := {key: answer for key, answer in found.items() if "error" not in answer}:
        with suppress(OSError, UserError):  # a read-only folder: asked again next time
            write_text(KNOWN, json.dumps(known | kept, indent=0))
    return {name: (known | found)[key] for name, key in keys.items()}


def _can_be_surveyed(corpus: Corpus) -> bool:
    if corpus.source == "url":
        return False
    paths = [Path(path).expanduser() for path in (corpus.path, corpus.tokenizer_text) if path]
    with suppress(OSError):
        if any(path.is_file() and path.stat().st_size > LARGEST for path in paths):
            return False
    return bool(paths) or corpus.size > ENOUGH


def _key(corpus: Corpus) -> str:
    texts = []
    for path in (corpus.path, corpus.tokenizer_text):
        place = path and Path(path).expanduser()
        texts.append(file_digest(place) if place and place.is_file() and os.access(place, os.R_OK) else None)
    return digest([corpus.model_dump(mode="json"), texts, sys.version])


def ask(corpora: list[Corpus]) -> list[dict[str, Any]]:
    """What `training.survey` says of these corpora, in a process of its own."""
    if not corpora:
        return []
    scripts = str(Path(__file__).resolve().parents[2])
    asked = subprocess.run(
        [sys.executable, "-m", "blackholes.training.survey"],
        input=json.dumps([corpus.model_dump(mode="json") for corpus in corpora]),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": scripts},
    )
    if asked.returncode:
        raise UserError(f"the texts of the configuration cannot be looked at: {asked.stderr.strip()[-500:]}")
    return json.loads(asked.stdout)


def _corpora(config: Config, surveyed: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield from (answer["error"] for answer in surveyed.values() if "error" in answer)
    for name, it in config.experiments.items():
        n = surveyed.get(it.corpus.folder, {}).get("tokens")
        if n is None:
            continue
        of = f"since the corpus {it.corpus.folder} has {n:,} tokens"
        windows = n - it.model.context
        if windows < 1:
            yield f"experiments.{name}.model.context: {it.model.context} is not allowed; expected at most {n - 1}, {of}"
        elif it.batch_size > windows:
            yield f"experiments.{name}.batch_size: {it.batch_size} is not allowed; expected at most {windows:,}, {of}"


def _checkpoints(config: Config) -> Iterator[str]:
    for name, entry in config.checkpoints.items():
        if entry.path:
            try:
                checkpoint_files.locate(entry.path, entry.tensor)
            except UserError as error:
                yield f"checkpoints.{name}: {error}"


def _folders(config: Config) -> Iterator[str]:
    for name in config.experiments:
        folder = Path(config.results, name)
        if (folder / "logs" / records.FOLDER).is_dir():
            yield f"experiments.{name}: {folder} has the results of another configuration; expected another name"
