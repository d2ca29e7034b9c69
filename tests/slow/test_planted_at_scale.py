"""Qwen3-4B's populations planted in an embedding of its size: census, sphere, box and distances find them all."""

import csv
import json

import pytest
from blackholes.artifacts.tables import read_holes
from blackholes.artifacts.tensors import write_tensors
from blackholes.checkpoints import census, overdensity, overdensity_distances
from planted import BOX, HOLE_TOKENS, POPULATIONS, ZERO_PAIRS, embedding

V, D, IN_BOX = 151_936, 2_560, 20_373


@pytest.mark.slow
def test_thirteen_holes_among_151936_tokens(tmp_path):
    planted, members, inside = embedding(V, D, cloud=IN_BOX - HOLE_TOKENS - len(POPULATIONS))
    assert len(inside) == IN_BOX
    write_tensors(tmp_path / "W", {"W": planted})

    census.write(str(tmp_path / "W"), str(tmp_path / "holes.csv"), str(tmp_path / "census.json"))
    found = json.loads((tmp_path / "census.json").read_text())
    assert [found[key] for key in ("tokens", "holes", "hole_tokens", "zero_pairs")] == [V, 13, HOLE_TOKENS, ZERO_PAIRS]
    assert found["populations"] == POPULATIONS
    holes = read_holes(str(tmp_path / "holes.csv"), V).values()
    assert sorted(ids.tolist() for ids in holes) == sorted(members)  # none of the near misses, one cell away

    box = {"basis": {"north": 2, "meridian": 1, "equinox": 3}, "box": BOX, "disk_budget_gb": 10}
    sphere = str(tmp_path / "sphere")
    overdensity.write(
        str(tmp_path / "W"), str(tmp_path / "holes.csv"), sphere, str(tmp_path / "centroid"), box, metadata={}
    )
    names = ("distances", "overdensity.csv", "statistics")
    overdensity_distances.write(
        str(tmp_path / "W"), sphere, *(str(tmp_path / name) for name in names), threshold=0.002, metadata={}
    )
    with open(tmp_path / "overdensity.csv", newline="") as file:
        statistics = {row["statistic"]: float(row["value"]) for row in csv.DictReader(file)}
    assert statistics["tokens"] == IN_BOX
    assert statistics["pairs"] == IN_BOX * (IN_BOX - 1) // 2
    assert statistics["zeros"] == ZERO_PAIRS
