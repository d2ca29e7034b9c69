"""Finished checkpoints through Snakemake: what a run of ours made, a checkpoint of somebody else, what is refused."""

import csv
import json
import os
import socket

import pytest
import torch
from blackholes.artifacts.tensors import write_tensors
from planted import BOX, HOLE_TOKENS, NAME, POPULATIONS, ZERO_PAIRS, embedding, write_sharded
from safetensors import safe_open

TRAINED, PLANTED = "results/checkpoints/trained", "results/checkpoints/planted"
CHAIN = {"read_checkpoint", "census", "overdensity", "overdensity_distances", "token_table"}
ONLY = "snowballs: {trained: false}\ncheckpoints:\n  trained: false\n"


def load(checkout, name):
    with safe_open(checkout.path(name), framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 - no mapping


def table(checkout, name):
    with open(checkout.path(name), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- a run of ours


def test_the_holes_that_a_run_made_are_found(finished):
    """Its history says which tokens are equal after the last step; the checkpoint has to say the same."""
    counts, _ = load(finished, "results/qwen/run_001/black_hole_counts.safetensors")
    labels = counts["labels"][-1].long()
    sizes = torch.bincount(labels, minlength=len(labels))
    holes = {int(hole): (labels == hole).nonzero().flatten().tolist() for hole in (sizes > 1).nonzero().flatten()}
    assert holes, "the run has a hole"
    rows = table(finished, f"{TRAINED}/black_holes.csv")
    assert {int(row["hole"]): list(map(int, row["token_ids"].split())) for row in rows} == holes
    populations = [int(row["population"]) for row in rows]
    assert populations == sorted(map(len, holes.values()), reverse=True)
    characters = [json.loads(row["text"]) for row in rows]
    assert [len(texts) for texts in characters] == populations
    census = json.loads(finished.path(f"{TRAINED}/census.json").read_text())
    assert (census["tokens"], census["holes"], census["hole_tokens"]) == (128, len(holes), sum(populations))
    assert census["zero_pairs"] == sum(n * (n - 1) // 2 for n in populations)


def test_the_distances_of_its_box(finished):
    (weights, facts), (ball, _) = (load(finished, f"{TRAINED}/{name}.safetensors") for name in ("W", "sphere"))
    model, _ = load(finished, "results/qwen/run_001/model/model.safetensors")
    assert torch.equal(weights["W"], model["transformer.wte.weight"])
    assert (facts["tensor"], facts["file"]) == ("transformer.wte.weight", "model.safetensors")
    found, _ = load(finished, f"{TRAINED}/overdensity_distances.safetensors")
    tokens = ball["in_box"].nonzero().flatten()
    assert torch.equal(found["spike_token_ids"], tokens)
    vectors = weights["W"][tokens].double()
    expected = torch.stack([(vectors - vector).square().sum(1).sqrt() for vector in vectors])
    torch.testing.assert_close(found["distances"].double(), expected, rtol=5e-6, atol=0)
    statistics = {row["statistic"]: float(row["value"]) for row in table(finished, f"{TRAINED}/overdensity.csv")}
    upper = expected[tuple(torch.triu_indices(len(tokens), len(tokens), 1))]
    assert (statistics["tokens"], statistics["pairs"]) == (len(tokens), len(upper))
    assert statistics["zeros"] == (upper == 0).sum()
    assert statistics["lower median"] == pytest.approx(upper.median().item(), rel=5e-6)
    norms = sorted(vectors.square().sum(1).sqrt().tolist())
    threshold = norms[(len(norms) - 1) // 2] / 256  # by the box' own scale
    assert statistics["threshold"] == pytest.approx(threshold, rel=1e-6)
    assert statistics["edges"] == (upper <= threshold).sum()


def test_every_token_is_in_the_table(finished):
    rows = table(finished, f"{TRAINED}/tokens.csv")
    assert [int(row["token_id"]) for row in rows] == list(range(128))
    holes = {int(row["hole"]) for row in rows if row["hole"]}
    assert holes == {int(row["hole"]) for row in table(finished, f"{TRAINED}/black_holes.csv")}
    assert sorted(int(row["rank"]) for row in rows)[-1] <= 128
    assert rows[65]["text"] == "A"


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("W", {"model"}),
        ("sphere", {"W", "holes"}),
        ("black_hole_centroid", {"W", "holes"}),
        ("overdensity_distances", {"W", "sphere"}),
    ],
)
def test_files_say_where_they_come_from(finished, name, inputs):
    _, facts = load(finished, f"{TRAINED}/{name}.safetensors")
    for key in ("config_digest", "payload_digest", "versions"):
        assert facts[key], key
    assert inputs <= set(json.loads(facts["input_digests"]))
    assert str(finished.folder) not in json.dumps(facts)


def test_they_are_in_the_report(finished):
    page = finished.path("results/report.html").read_text(encoding="utf-8")
    for text in ('"Checkpoints"', f"{TRAINED}/black_holes.csv", f"{TRAINED}/overdensity.csv", "sky_map.png"):
        assert text in page, text


# --- somebody else's


def overlay(checkout, **entry):
    entry = {"path": "model", "box": BOX, **entry}
    checkout.path("overlay.yaml").write_text(f"{ONLY}  planted: {json.dumps(entry)}\n")


@pytest.fixture(scope="module")
def planted(finished, tmp_path_factory):
    """A checkout in which a planted checkpoint in shards was looked into, and the call."""
    checkout = finished.clean(tmp_path_factory.mktemp("planted"))
    W, *_ = embedding(V=3000, cloud=100)
    write_sharded(checkout.path("model"), W)
    overlay(checkout)
    return checkout, checkout.run("checkpoints", overlay="overlay.yaml")


def test_what_was_planted_comes_back_and_nothing_is_trained(planted):
    checkout, ran = planted
    assert set(ran.jobs) == CHAIN | {"checkpoint_figures"}
    census = json.loads(checkout.path(f"{PLANTED}/census.json").read_text())
    assert (census["populations"], census["zero_pairs"]) == (POPULATIONS, ZERO_PAIRS)
    statistics = {row["statistic"]: float(row["value"]) for row in table(checkout, f"{PLANTED}/overdensity.csv")}
    assert (statistics["tokens"], statistics["zeros"]) == (HOLE_TOKENS + 113, ZERO_PAIRS)
    assert {row["text"] for row in table(checkout, f"{PLANTED}/black_holes.csv")} == {""}
    assert not checkout.path("results/qwen").exists()


def test_an_edit_of_the_embedding_counts_and_nothing_else_does(planted, tmp_path):
    checkout = planted[0].copy(tmp_path / "clone")
    shards = [checkout.path(f"model/model-0000{k}-of-00003.safetensors") for k in (1, 2, 3)]
    for shard in shards:
        os.utime(shard)
    write_tensors(shards[0], {"model.layers.0.mlp.weight": torch.ones(8, 4, dtype=torch.bfloat16)})
    assert checkout.plan("checkpoints", overlay="overlay.yaml").jobs == {}
    W, *_ = embedding(V=3000, cloud=100)
    W[0, 5] += 0.5
    rest = {"model.layers.1.mlp.weight": torch.zeros(8, 4, dtype=torch.bfloat16)}
    write_tensors(shards[1], {NAME: W, **rest})
    assert set(checkout.plan("checkpoints", overlay="overlay.yaml").jobs) == CHAIN | {"checkpoint_figures"}


def test_another_box_or_threshold_leaves_what_does_not_depend_on_it(planted, tmp_path):
    checkout = planted[0].copy(tmp_path / "clone")
    overlay(checkout, box=BOX | {"r": [0.2, 0.6]})
    assert set(checkout.plan("checkpoints", overlay="overlay.yaml").jobs) == {
        *("overdensity", "overdensity_distances", "token_table", "checkpoint_figures")
    }
    overlay(checkout, threshold=0.003)
    changed = {"overdensity_distances", "token_table", "checkpoint_figures"}
    assert set(checkout.plan("checkpoints", overlay="overlay.yaml").jobs) == changed
    (checkout.path("model") / "tokenizer.json").write_text("{}")  # a tokenizer appears
    assert "census" in checkout.plan("checkpoints", overlay="overlay.yaml").jobs


# --- what is refused


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def nan(checkout):
    W = embedding(V=3000, cloud=100)[0]
    W[17, 3] = float("nan")
    write_sharded(checkout.path("model"), W)


def missing_shard(checkout):
    checkout.path("model/model-00002-of-00003.safetensors").unlink()


BAD = {  # what is wrong → (what is done about it, keys of the entry, the line)
    "nothing there": (None, {"path": "nowhere"}, "nowhere: no such file or folder"),
    "no such tensor": (
        None,
        {"tensor": "wte"},
        f"model: no tensor 'wte'; set tensor to one of {NAME} BF16 (3000, 24)",
    ),
    "a shard missing": (missing_shard, {}, "model/model-00002-of-00003.safetensors: no such file; is a shard missing?"),
    "NaN": (nan, {}, f"model/model-00002-of-00003.safetensors: {NAME} has NaN or infinity in the rows of tokens 17"),
    "no tokenizer": (None, {"tokenizer": "tok"}, "checkpoints.planted.tokenizer: tok: no such file"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_checkpoint_that_cannot_be_read(planted, tmp_path, wrong):
    spoil, entry, line = BAD[wrong]
    checkout = planted[0].clean(tmp_path / "clone")
    if spoil:
        spoil(checkout)
    overlay(checkout, **entry)
    said = checkout.run(f"{PLANTED}/census.json", overlay="overlay.yaml", status=1).said
    assert len([text for text in said.splitlines() if line in text]) == 1, said
    assert "Traceback" not in said
    assert checkout.results("logs/", "benchmarks/") == []


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"box": {"r": [5, 6]}}, "error: box: r 5 to 6: no token lies in it; expected limits within lat -"),
        (
            {"disk_budget_gb": 0.015},
            "box: lat -15 to 5, lon -10 to 20, r 0.2 to 0.5: the distances of 2,213 tokens",
        ),
        ({"basis": {"north": 25}}, "W.safetensors: basis: north 25, meridian 1 and equinox 3, where three different"),
    ],
)
def test_a_box_that_cannot_be(planted, tmp_path, entry, line):
    checkout = planted[0].copy(tmp_path / "clone")
    checkout.path(f"{PLANTED}/sphere.safetensors").unlink()
    overlay(checkout, **entry)
    said = checkout.run(f"{PLANTED}/sphere.safetensors", overlay="overlay.yaml", status=1).said
    assert len([text for text in said.splitlines() if line in text]) == 1, said
    assert "Traceback" not in said
    assert not {"sphere.safetensors", "black_hole_centroid.safetensors"} & set(os.listdir(checkout.path(PLANTED)))


def test_an_offline_hub(fresh, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(fresh.path("cache")))
    entry = {"hub": "someone/model", "revision": 40 * "a", "tokenizer": None}
    fresh.path("overlay.yaml").write_text(f"{ONLY}  far: {json.dumps(entry)}\n")
    said = fresh.run("results/checkpoints/far/W.safetensors", overlay="overlay.yaml", status=1).said
    line = f"error: someone/model at {40 * 'a'}: model.safetensors.index.json: the hub cannot be reached (Offline"
    assert len([text for text in said.splitlines() if line in text]) == 1, said
    assert "Traceback" not in said
    assert fresh.results("logs/", "benchmarks/") == []


def test_a_run_that_is_not_configured(fresh):
    fresh.path("overlay.yaml").write_text("checkpoints: {mine: {run: gone/run_001}}\n")
    said = fresh.run("checkpoints", overlay="overlay.yaml", status=1).said
    line = "configuration: checkpoints.mine.run: 'gone/run_001' is not allowed; expected a run of the experiments qwen,"
    assert len([text for text in said.splitlines() if line in text]) == 1, said
    assert not fresh.path("results").exists()
