"""Files of the configuration, read without Snakemake, and which folder a call with them writes its results to."""

import argparse
import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blackholes.config import bounds, model
from blackholes.errors import UserError

BASE = Path(__file__).resolve().parents[4] / "config" / "config.yaml"  # beside the Snakefile


def results_folder(arguments: Sequence[str]) -> Path:
    """The folder that a call of Snakemake with these arguments writes to: the last `results` of its configuration.

    Raises:
        UserError: a file of the configuration cannot be read, or is no YAML.
    """
    called = _called(arguments)
    folder = model.Config.model_fields["results"].default
    for overlay in _overlays(called):
        folder = overlay.get("results", folder)
    return Path(os.path.normpath(Path(called.directory, str(folder))))


def load(arguments: Sequence[str]) -> model.Config:
    """The configuration of a call of Snakemake with these arguments.

    Raises:
        UserError: a file of it cannot be read, or it is refused.
    """
    overlays = _overlays(_called(arguments))
    merged: dict = {}
    # As Snakemake: what overlays name comes first, then what only config.yaml has; overlays' values replace the base's.
    # The order counts: tables follow it, and the checkpoint `trained` is the model of the first experiment.
    for part in (*overlays, _read(BASE), *overlays):
        _merge(merged, copy.deepcopy(part))
    return model.load(merged)


def refuse_without_base(config: Mapping) -> None:
    """Raise UserError for an overlay alone, say where config.yaml was replaced and not merged into."""
    if missing := [key for key in model.Config.model_fields if key not in config]:
        raise UserError(
            f"config/config.yaml, which has every key, is not part of it: no {', '.join(missing[:3])}"
            f"{', …' if len(missing) > 3 else ''}; expected overlays that are merged into it"
        )


def _called(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="*", action="extend", default=[])
    parser.add_argument("--config", "-C", nargs="*", action="extend", default=[])
    parser.add_argument("--directory", "-d", default="")
    return parser.parse_known_args(list(arguments))[0]


def _overlays(called: argparse.Namespace) -> list[dict]:
    """What is merged over config.yaml, in this order."""
    import yaml  # comes with snakemake

    values = (pair.partition("=") for pair in called.config)
    return [*map(_read, called.configfile), *({key: yaml.safe_load(value)} for key, _, value in values)]


def _read(path: str | os.PathLike) -> dict:
    """The mapping in a file of the configuration, whose size and structure are checked before anything is built."""
    import yaml

    bounds.check_file(path)
    return yaml.safe_load(bounds.text(path))


def _merge(into: dict, overlay: Mapping) -> None:
    """As Snakemake: a mapping is merged key by key, anything else is replaced."""
    for key, value in overlay.items():
        old: Any = into.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            _merge(old, value)
        else:
            into[key] = value
