"""Checkpoints from the hub: which files are requested at which revision, and the messages of failed downloads."""

import pytest
import torch
from blackholes.artifacts import checkpoint_files
from blackholes.artifacts.tensors import write_tensors
from blackholes.checkpoints import embedding as checkpoints
from blackholes.checkpoints import hub
from blackholes.errors import UserError
from helpers import names
from hub_server import COMMIT
from hub_server import hub as serve
from huggingface_hub import constants
from huggingface_hub.utils import _http
from planted import NAME, write_sharded

E = torch.arange(40, dtype=torch.float32).view(10, 4).bfloat16()
SHARD = "model-00002-of-00003.safetensors"
MODEL = "someone/model"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HF_XET_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


def use(monkeypatch, address):
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def served(tmp_path, cache, monkeypatch):
    """(folder of the repository, requests)"""
    folder = write_sharded(tmp_path / "repository", E)
    (folder / "tokenizer.json").write_text('{"é": 1}', encoding="utf-8")
    with serve(folder) as (address, asked):
        use(monkeypatch, address)
        yield folder, asked


def refusal(*arguments, fetch=hub.fetch_weights):
    with pytest.raises(UserError) as caught:
        fetch(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("revision", [COMMIT, "v1"])
@pytest.mark.parametrize("tensor", ["auto", NAME])
def test_only_the_index_and_the_embeddings_shard_are_fetched(served, revision, tensor):
    _, asked = served
    index = hub.fetch_weights(MODEL, revision, tensor)
    assert {file for method, file in asked if method == "GET" and file} == {checkpoint_files.INDEX, SHARD}
    assert index.parent.name == COMMIT
    assert names(index.parent) == [SHARD, checkpoint_files.INDEX]
    source = {"hub": MODEL, "revision": revision, "path": None, "tensor": tensor}
    assert checkpoints.find(None, source).shape == (10, 4)


def test_a_single_file(tmp_path, cache, monkeypatch):
    (tmp_path / "repository").mkdir()
    write_tensors(tmp_path / "repository" / "model.safetensors", {"wte.weight": E})
    with serve(tmp_path / "repository") as (address, _):
        use(monkeypatch, address)
        file = hub.fetch_weights(MODEL, COMMIT)
    assert checkpoint_files.locate(file).tensor == "wte.weight"


def test_cached_files_need_no_network(served, monkeypatch):
    _, asked = served
    first = hub.fetch_weights(MODEL, COMMIT)
    asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch_weights(MODEL, COMMIT) == first
    assert asked == []


def test_the_tokenizer(served, tmp_path):
    hub.fetch_tokenizer(MODEL, COMMIT, str(tmp_path / "out" / "tokenizer.json"))
    assert (tmp_path / "out" / "tokenizer.json").read_text(encoding="utf-8") == '{"é": 1}'


def test_no_tokenizer(served, tmp_path):
    folder, _ = served
    (folder / "tokenizer.json").unlink()
    message = refusal(MODEL, COMMIT, str(tmp_path / "out" / "tokenizer.json"), fetch=hub.fetch_tokenizer)
    assert message == f"{MODEL} at {COMMIT}: no tokenizer.json; set `tokenizer: null` to go without token texts"
    assert names(tmp_path / "out") == []


def test_no_such_tensor(served):
    message = refusal(MODEL, COMMIT, "wte.weight")
    assert message == f"{MODEL} at {COMMIT}: no tensor 'wte.weight'; set tensor to one of {NAME}"


def test_no_usual_name(served):
    folder, _ = served
    write_sharded(folder, E, name="strange")
    listed = ", ".join([f"model.layers.{k}.mlp.weight" for k in (0, 1)] + ["strange", "model.layers.2.mlp.weight"])
    assert refusal(MODEL, COMMIT) == f"{MODEL} at {COMMIT}: no tensor with a usual name; set tensor to one of {listed}"


def test_no_such_repository_revision_or_file(served):
    folder, _ = served
    assert f"nobody/model at {COMMIT}: " in refusal("nobody/model", COMMIT)
    assert "cannot be fetched: RepositoryNotFoundError" in refusal("nobody/model", COMMIT)
    assert "cannot be fetched: RevisionNotFoundError" in refusal(MODEL, "v2")
    (folder / SHARD).unlink()
    message = refusal(MODEL, COMMIT)
    words = "expected model.safetensors or model.safetensors.index.json"
    assert message == f"{MODEL} at {COMMIT}: it has no {SHARD}; {words}"
    (folder / checkpoint_files.INDEX).unlink()
    assert "it has no model.safetensors; expected" in refusal(MODEL, "v1")


def test_bad_index(served):
    folder, _ = served
    (folder / checkpoint_files.INDEX).write_text("{}")
    assert refusal(MODEL, COMMIT).endswith("not a sharded index; expected JSON with a weight_map from tensors to files")


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network(cache, monkeypatch, offline):
    with serve(cache) as (address, _):
        pass  # nobody listens there any more
    use(monkeypatch, address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # between attempts
    message = refusal(MODEL, COMMIT)
    start = f"{MODEL} at {COMMIT}: model.safetensors.index.json: the hub cannot be reached ("
    assert message.startswith(start)
    assert message.endswith(") and the file is not in the cache")
    assert "LocalEntryNotFoundError" not in message, message  # what huggingface_hub makes of every cause
    assert len(message) < 400
