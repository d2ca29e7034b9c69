"""What a notebook found in a finished checkpoint beside what we find in it.

Nothing here is drawn by chance, so there are no standard errors: counts agree when they are equal, distances when they
are within 5e-6 of the published ones, relative, which is what both ways to compute them can promise. Then the distance
in standard errors is given as 0, else as infinite. `not comparable` is another matrix, box or threshold, as far as can
be told without the published file; `not run` is what nobody here has had the file for.
"""

import json
import math
from collections.abc import Iterable, Mapping

from blackholes.artifacts.tables import read_statistics
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError
from blackholes.reproduction import published
from blackholes.reproduction.published import CHECKPOINT, CHECKPOINT_SETTINGS, CHECKPOINT_VALUES, CheckpointValue

MATRIX = ("tokens", "dimensions", "dtype")  # all that the census depends on
TOLERANCE = 5e-6  # of distances, relative


def rows(files: Mapping[str, str] | None) -> list[dict]:
    """One row a published value, by the columns of reproduction.csv.

    Args:
        files: census (census.json), overdensity (overdensity.csv) and sphere (sphere.safetensors) of the checkpoint;
            None: it was not run.

    Raises:
        UserError: a file that is not what it should be, by name.
    """
    theirs = f"{published.CHECKPOINT_WORDS}, {_words(CHECKPOINT_SETTINGS)}"
    if files is None:
        nothing = {"verdict": "not run", "reason": f"{CHECKPOINT} was not run"}
        return [_published(value, theirs) | nothing for value in CHECKPOINT_VALUES]
    found = {"census": _census(files["census"]), "overdensity": _overdensity(files["overdensity"])}
    settings = {key: found["census"][key] for key in MATRIX}
    settings |= {"box": _box(files["sphere"]), "threshold": found["overdensity"]["threshold"]}
    other = {"census": _differences(settings, MATRIX), "overdensity": _differences(settings, CHECKPOINT_SETTINGS)}
    return [
        _published(value, theirs)
        | {"our_conditions": f"{_size(settings)}, {_words(settings)}"}
        | _verdict(value, float(_number(found, value, files)), other[value.file])
        for value in CHECKPOINT_VALUES
    ]


def _published(value: CheckpointValue, conditions: str) -> dict:
    return {
        **{"quantity": value.quantity, "unit": value.unit, "experiment": CHECKPOINT, "step": None},
        **{"published": value.value, "published_std": None, "ours": None, "ours_std": None, "runs": None},
        **{"standard_errors": None, "verdict": None, "reason": None},
        **{"published_conditions": conditions, "our_conditions": None},
    }


def _verdict(value: CheckpointValue, ours: float, other: list[str]) -> dict:
    row = {"ours": ours, "runs": 1}
    if other:
        return row | {"verdict": "not comparable", "reason": "; ".join(other)}
    whole = float(value.value).is_integer()
    same = ours == value.value if whole else math.isclose(ours, value.value, rel_tol=TOLERANCE)
    distance = 0.0 if same else math.copysign(math.inf, ours - value.value)
    reason = "counts have to be equal" if whole else f"distances have to be within {TOLERANCE:g}, relative"
    return row | {"standard_errors": distance, "verdict": "agrees" if same else "differs", "reason": reason}


def _differences(settings: Mapping, keys: Iterable[str]) -> list[str]:
    return [
        f"{key} {_short(settings[key])}, published {_short(CHECKPOINT_SETTINGS[key])}"
        for key in keys
        if settings[key] != CHECKPOINT_SETTINGS[key]
    ]


def _words(settings: Mapping) -> str:
    return f"{_short(settings['box'])}, edges ≤ {settings['threshold']:g}"


def _size(settings: Mapping) -> str:
    return f"{settings['tokens']:,} × {settings['dimensions']:,} {settings['dtype']}"


def _short(value) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {' to '.join(f'{limit:g}' for limit in limits)}" for key, limits in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _number(found: Mapping[str, Mapping], value: CheckpointValue, files: Mapping[str, str]) -> float:
    if value.key not in found[value.file]:
        raise UserError(f"{files[value.file]}: no '{value.key}'; expected {', '.join(found[value.file])} and it")
    return found[value.file][value.key]


def _census(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            census = json.load(file)
        return {key: census[key] for key in MATRIX} | census | {"largest": max(census["populations"], default=0)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected a census of black holes") from error


def _overdensity(path: str) -> dict[str, float]:
    values = {name: value for name, value in read_statistics(path).items() if not math.isnan(value)}
    if "threshold" not in values:
        raise UserError(f"{path}: no 'threshold'; expected the statistics of an overdensity")
    return values


def _box(path: str) -> dict[str, list[float]]:
    with open_tensors(path) as file:
        if "box" not in file.metadata:
            raise UserError(f"{path}: no 'box' in its metadata, expected a file that this workflow made")
        return {key: limits for key, limits in json.loads(file.metadata["box"]).items() if limits}
