"""Published values of a finished checkpoint beside ours.

Nothing here is random, so the interval of a difference is the difference: counts agree if they are equal, distances if
they are within 5e-6 (relative) of the published ones, which is the accuracy of both methods. `not comparable`: our
matrix, box or threshold differs from the published one, as far as one can tell without the published file. `not run`:
the checkpoint is not configured here.
"""

import json
import math
from collections.abc import Iterable, Mapping

from blackholes.artifacts import provenance
from blackholes.artifacts.tables import read_statistics
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError
from blackholes.reproduction import published
from blackholes.reproduction.published import CHECKPOINT, CHECKPOINT_SETTINGS, CHECKPOINT_VALUES, CheckpointValue

MATRIX = ("tokens", "dimensions", "dtype")  # the settings that the census depends on
TOLERANCE = 5e-6  # of distances, relative


def rows(files: Mapping[str, str] | None) -> list[dict]:
    """One row per published value, with the columns of reproduction.csv.

    Args:
        files: census (census.json), overdensity (overdensity.csv) and sphere (sphere.safetensors) of the checkpoint;
            None: it was not run.

    Raises:
        UserError: naming a file that cannot be read or lacks a value.
    """
    theirs = f"{published.CHECKPOINT_WORDS}, {_box_and_threshold(CHECKPOINT_SETTINGS)}"
    if files is None:
        not_run = {"verdict": "not run", "reason": f"{CHECKPOINT} was not run"}
        return [_published(value, theirs) | not_run for value in CHECKPOINT_VALUES]
    measured = {"census": _census(files["census"]), "overdensity": _overdensity(files["overdensity"])}
    settings = {key: measured["census"][key] for key in MATRIX}
    settings |= {"box": _box(files["sphere"]), "threshold": measured["overdensity"]["threshold"]}
    differences = {"census": _differences(settings, MATRIX), "overdensity": _differences(settings, CHECKPOINT_SETTINGS)}
    return [
        _published(value, theirs)
        | {"our_conditions": f"{_size(settings)}, {_box_and_threshold(settings)}"}
        | _verdict(value, float(_number(measured, value, files)), differences[value.file])
        for value in CHECKPOINT_VALUES
    ]


def _published(value: CheckpointValue, conditions: str) -> dict:
    return {
        **{
            "experiment": CHECKPOINT,
            "quantity": value.quantity,
            "unit": value.unit,
            "published": (float(value.value),),
        },
        **{"published_runs": 1, "published_conditions": conditions, "our_conditions": ""},
    }


def _verdict(value: CheckpointValue, ours: float, differences: list[str]) -> dict:
    row = {"ours": (ours,), "runs": 1}
    if differences:
        return row | {"verdict": "not comparable", "reason": "; ".join(differences)}
    difference, whole = ours - value.value, float(value.value).is_integer()
    margin = 0.0 if whole else TOLERANCE * max(abs(ours), abs(value.value))
    row |= dict.fromkeys(("difference", "low", "high"), difference) | {"margin": margin}
    reason = "counts have to be equal" if whole else f"distances have to be within {TOLERANCE:g}, relative"
    return row | {"verdict": "agrees" if abs(difference) <= margin else "differs", "reason": reason}


def _differences(settings: Mapping, keys: Iterable[str]) -> list[str]:
    return [
        f"{key} {_short(settings[key])}, published {_short(CHECKPOINT_SETTINGS[key])}"
        for key in keys
        if settings[key] != CHECKPOINT_SETTINGS[key]
    ]


def _box_and_threshold(settings: Mapping) -> str:
    return f"{_short(settings['box'])}, edges ≤ {settings['threshold']:g}"


def _size(settings: Mapping) -> str:
    return f"{settings['tokens']:,} × {settings['dimensions']:,} {settings['dtype']}"


def _short(value) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {' to '.join(f'{limit:g}' for limit in limits)}" for key, limits in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _number(measured: Mapping[str, Mapping], value: CheckpointValue, files: Mapping[str, str]) -> float:
    if value.key not in measured[value.file]:
        others = ", ".join(measured[value.file])
        raise UserError(f"{files[value.file]}: no '{value.key}'; expected it beside {others}")
    return measured[value.file][value.key]


def _census(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            census = json.load(file)
        return {key: census[key] for key in MATRIX} | census | {"largest": max(census["populations"], default=0)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected a census of black holes") from error


def _overdensity(path: str) -> dict[str, float]:
    values = {name: value for name, value in read_statistics(path).items() if not math.isnan(value)}
    if "threshold" not in values:
        raise UserError(f"{path}: no 'threshold'; expected the statistics of an overdensity")
    return values


def _box(path: str) -> dict[str, list[float]]:
    with open_tensors(path) as file:
        return {key: limits for key, limits in provenance.mapping(path, file.metadata, "box").items() if limits}
