"""Files of the configuration, read without Snakemake: which folder a call with them writes its results to."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from blackholes.config import bounds
from blackholes.config.model import Config


def results_folder(arguments: Sequence[str]) -> Path:
    """The folder that a call of Snakemake with these arguments writes to: the last `results` of its configuration.

    Raises:
        UserError: a file of the configuration cannot be read, or is no YAML.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="*", action="extend", default=[])
    parser.add_argument("--config", "-C", nargs="*", action="extend", default=[])
    parser.add_argument("--directory", "-d", default="")
    called, _ = parser.parse_known_args(list(arguments))
    folder = Config.model_fields["results"].default
    for file in called.configfile:
        folder = _read(file).get("results", folder)
    for key, _, value in (pair.partition("=") for pair in called.config):
        folder = value if key == "results" else folder
    return Path(os.path.normpath(Path(called.directory, str(folder))))


def _read(path: str) -> dict:
    """The mapping in a file of the configuration, whose size and structure are checked before anything is built."""
    import yaml  # comes with snakemake

    bounds.check_file(path)
    found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}
