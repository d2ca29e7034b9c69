"""What the page's explorer is given: steps, holes, places, and where the bands of a lineage lie."""

import base64
import gzip
import json

import numpy as np
import pytest
from blackholes.artifacts.tensors import write_tensors
from blackholes.figures.runs import lineage as figure
from blackholes.page import explorer, facts
from blackholes.page.results import Results
from blackholes.runs import lineage
from page_results import config, labels_of, settings, write_results, write_run


def read(packed):
    """An array as core.js and explorer.js read it: bytes, then sums that overflow in 16 bits."""
    values = np.frombuffer(base64.b64decode(packed["bytes"]), "<i2").reshape(packed["shape"])
    return np.cumsum(values.astype(np.int64), 0).astype(np.uint16).view(np.int16)


@pytest.fixture
def made(tmp_path):
    """(Results, experiments) with an explorer's file of run 1 of `one`."""
    paths = write_results(tmp_path)
    folder = tmp_path / "one/run_001"
    outputs = lineage.Outputs(
        *(str(folder / name) for name in ("lineage.csv", "lineage.graphml", "lineage_events.csv"))
    )
    lineage.write(str(folder / "black_hole_counts.safetensors"), outputs, flicker=0)
    plane = np.random.default_rng(1).normal(size=(4, 6, 2)).astype(np.float32)
    tensors = {
        "steps": np.arange(4, dtype=np.int32),
        "identities": np.array([[1] * 6, [1, 1, 2, 2, 2, 1], [1, 0, 2, 2, 0, 1], [1, 0, 0, 0, 0, 1]], np.int32),
        "plane": plane,
        "shares": np.array([0.7, 0.2], np.float32),
    }
    write_tensors(folder / "explorer.safetensors", tensors)
    names = ("explorer.safetensors", "lineage.graphml", "lineage_events.csv")
    results = Results(tmp_path, [*paths, *(folder / name for name in names)])
    tokens = facts.read_tokens(results, "text")
    return results, [facts.read(results, name, of, tokens) for name, of in config()["experiments"].items()], tensors


def test_a_run_is_read_back(made):
    results, (one, _), tensors = made
    found = explorer.of_run(results, one, "run_001")
    assert found["steps"] == [0, 1, 2, 3]
    assert np.array_equal(read(found["identities"]), tensors["identities"])
    assert np.abs(read(found["plane"]) * found["unit"] - tensors["plane"]).max() <= found["unit"] / 2
    assert found["shares"] == [0.7, 0.2]
    assert found["colours"] == {"1": 0, "2": 1}


def test_bands_and_ribbons_conserve_tokens(made):
    """At every step bands are as wide as the holes; ribbons carry what enters and what leaves."""
    results, (one, _), tensors = made
    found = explorer.of_run(results, one, "run_001")
    for step, identities in enumerate(tensors["identities"]):
        at = figure.place(step)
        widths = {
            hole: high - low for hole, start, end, low, high in found["bands"] if start <= at + 1e-3 <= end + 2e-3
        }
        held = {int(hole): int((identities == hole).sum()) for hole in np.unique(identities) if hole}
        assert {hole: width for hole, width in widths.items() if hole in held} == held
    for step in (1, 2, 3):
        to = round(figure.place(step), 4)
        after = int((tensors["identities"][step] > 0).sum())
        arriving = [tokens for _, _, end, _, _, tokens, opacity in found["ribbons"] if end == to and opacity > 0.5]
        assert sum(arriving) == after, "no token is captured here"


def test_events_are_those_of_the_table_without_flicker(made):
    results, (one, _), _ = made
    found = explorer.of_run(results, one, "run_001")
    lines = results.path("one/run_001/lineage_events.csv").read_text().splitlines()[1:]
    assert len(found["events"]) == sum(line.endswith(",0") for line in lines) > 2
    assert [1, "fission", "1", "1 2", 6] in found["events"]


def test_the_index_has_runs_with_a_file_only(made):
    results, experiments, _ = made
    found = explorer.build(results, experiments, config())
    (entry,) = found.index["experiments"]
    assert (entry["name"], entry["runs"], entry["last"], entry["holes"]) == ("one", ["run_001"], 3, True)
    assert entry["counts"] == [[[0, 1], [1, 2], [3, 1]]]
    assert sorted(found.packed) == ["explorer-corpus-text", "explorer-one-run_001"]
    corpus = json.loads(gzip.decompress(base64.b64decode(found.packed["explorer-corpus-text"])))
    assert corpus["short"][:2] == ["NUL", "<"]
    assert corpus["dead"] == [True, False, False, False, False, True]
    assert explorer.build(Results(results.root, []), [], config()) is None


def test_many_places_are_thinned(made, monkeypatch):
    results, experiments, _ = made
    monkeypatch.setattr(explorer, "MOST_PLACES", 13)
    found = explorer.build(results, experiments, config())
    run = json.loads(gzip.decompress(base64.b64decode(found.packed["explorer-one-run_001"])))
    assert run["steps"] == [0, 3]
    assert explorer.thinned(5, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert explorer.thinned(9, 0.34).tolist() == [0, 4, 8]


def test_differences_that_overflow_are_summed_back():
    values = np.array([[-16384, 40000], [16384, 0], [-16384, 65535]])
    back = np.cumsum(explorer.differences(values).astype(np.int64), 0).astype(np.uint16)
    assert np.array_equal(back, values.astype(np.uint16))


def test_a_run_without_holes_has_no_bands(tmp_path):
    folder = tmp_path / "apart/run_001"
    paths = write_run(folder, labels_of(*["abcdef"] * 4))
    outputs = lineage.Outputs(
        *(str(folder / name) for name in ("lineage.csv", "lineage.graphml", "lineage_events.csv"))
    )
    lineage.write(str(paths[0]), outputs)
    tensors = {"steps": np.arange(2, dtype=np.int32), "identities": np.zeros((2, 6), np.int32)}
    tensors |= {"plane": np.zeros((2, 6, 2), np.float32), "shares": np.zeros(2, np.float32)}
    write_tensors(folder / "explorer.safetensors", tensors)
    names = ("explorer.safetensors", "lineage.graphml", "lineage_events.csv")
    write_results(tmp_path)
    results = Results(tmp_path, [*paths, tmp_path / "corpus/text/tokens.csv", *(folder / name for name in names)])
    it = facts.read(results, "apart", settings(1, "normal"), facts.read_tokens(results, "text"))
    found = explorer.of_run(results, it, "run_001")
    assert (found["bands"], found["ribbons"], found["events"], found["folded"]) == ([], [], [], 0)
