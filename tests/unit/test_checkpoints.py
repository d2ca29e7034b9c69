"""The embedding as W.safetensors: the bytes of the checkpoint, in little memory, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from blackholes.artifacts import checkpoint_files
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.checkpoints import embedding as checkpoints
from blackholes.errors import UserError
from helpers import names, reported
from planted import append_hole, write_sharded

SOURCE = {"path": None, "hub": None, "revision": None, "tensor": "auto"}


def embedding(V=50, D=6, dtype=torch.bfloat16):
    return torch.randn(V, D, generator=torch.Generator().manual_seed(0)).to(dtype)


def written(path):
    with open_tensors(path) as file:
        return file.rows("W"), file.metadata


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_the_bytes_are_kept(tmp_path, monkeypatch, dtype, piece):
    monkeypatch.setattr(checkpoints, "_PIECE", piece)
    W = embedding(dtype=dtype)
    W[3] = -0.0
    place = checkpoint_files.locate(write_sharded(tmp_path / "model", W))
    calls = []
    summary = checkpoints.write_embedding(
        place, tmp_path / "W.safetensors", {"code_digest": "x"}, progress=lambda *args: calls.append(args)
    )
    found, facts = written(tmp_path / "W.safetensors")
    assert found.dtype == dtype
    assert torch.equal(found.view(torch.uint8), W.view(torch.uint8))
    assert torch.equal(checkpoints.read_embedding(tmp_path / "W.safetensors"), W)
    assert facts == {
        "code_digest": "x",
        "tensor": "model.embed_tokens.weight",
        "file": "model-00002-of-00003.safetensors",
    }
    assert summary == f"{place.words()} of model-00002-of-00003.safetensors"
    assert reported(calls)


def test_a_run_or_a_path(tmp_path):
    folder = write_sharded(tmp_path / "model", embedding())
    write_tensors(tmp_path / "run.safetensors", {"transformer.wte.weight": embedding()})
    assert checkpoints.find(None, SOURCE | {"path": str(folder)}).file.parent == folder
    assert checkpoints.find(str(tmp_path / "run.safetensors"), SOURCE).tensor == "transformer.wte.weight"
    with pytest.raises(UserError, match="no tensor 'x'"):
        checkpoints.find(None, SOURCE | {"path": str(folder), "tensor": "x"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_not_finite_are_named(tmp_path, monkeypatch, value):
    monkeypatch.setattr(checkpoints, "_PIECE", 100)
    W = embedding()
    W[7, 2] = W[40, 0] = value
    place = checkpoint_files.locate(write_sharded(tmp_path / "model", W))
    with pytest.raises(UserError) as caught:
        checkpoints.write_embedding(place, tmp_path / "out" / "W.safetensors")
    message = f"{place.file}: model.embed_tokens.weight has NaN or infinity in the rows of tokens 7, 40"
    assert str(caught.value) == message
    assert names(tmp_path / "out") == []
    W[10:30, 1] = value
    place = checkpoint_files.locate(write_sharded(tmp_path / "model", W))
    with pytest.raises(UserError, match=r"tokens 7, 10, 11, 12, 13, 14, 15, 16 and 14 more$"):
        checkpoints.write_embedding(place, tmp_path / "W.safetensors")


@pytest.mark.parametrize("tensors", [{"V": embedding()}, {"W": embedding().double()}, {"W": embedding()[0]}])
def test_read_embedding_refuses_other_files(tmp_path, tensors):
    write_tensors(tmp_path / "W.safetensors", tensors)
    with pytest.raises(UserError, match=r"W.safetensors: .*BF16 \(V, D\)"):
        checkpoints.read_embedding(tmp_path / "W.safetensors")


READ = """
import json, resource, sys
from blackholes.artifacts import checkpoint_files
from blackholes.checkpoints import embedding as checkpoints
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
checkpoints.write_embedding(checkpoint_files.locate(sys.argv[1]), sys.argv[2])
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def test_memory_and_time_do_not_depend_on_the_size(tmp_path):
    """A checkpoint of 500 GB, most of it a hole in its file; 120 MB of it are the embedding."""
    file = tmp_path / "model.safetensors"
    W = embedding(1000, 2048).repeat(30, 1)
    write_tensors(file, {"model.embed_tokens.weight": W})
    append_hole(file, 500 * 10**9)
    done = subprocess.run(
        [sys.executable, "-c", READ, file, tmp_path / "W.safetensors"],
        cwd=Path(checkpoints.__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    unit = 1024 if sys.platform != "darwin" else 1
    assert json.loads(done.stdout) * unit < 4 * checkpoints._PIECE
    assert torch.equal(checkpoints.read_embedding(tmp_path / "W.safetensors"), W)
