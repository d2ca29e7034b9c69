"""The header of a safetensors file against the library's own writer."""

import json

import pytest
import torch
from blackholes.artifacts.safetensors_header import LIMIT, read_header
from blackholes.errors import UserError
from safetensors.torch import save, save_file


def test_what_the_library_wrote(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"x": torch.arange(6, dtype=torch.int32).view(2, 3), "y": torch.ones(5).bfloat16()}
    save_file(tensors, path, {"code_digest": "c0de"})
    header, data = read_header(path), path.read_bytes()
    assert header.metadata == {"code_digest": "c0de"}
    assert {name: (at["dtype"], at["shape"]) for name, at in header.tensors.items()} == {
        "x": ("I32", [2, 3]),
        "y": ("BF16", [5]),
    }
    assert data.startswith(header.raw)
    start, stop = (len(header.raw) + offset for offset in header.tensors["x"]["data_offsets"])
    assert data[start:stop] == tensors["x"].numpy().tobytes()


def test_without_metadata_and_without_tensors(tmp_path):
    (tmp_path / "a").write_bytes(save({"x": torch.ones(1)}))
    assert read_header(tmp_path / "a").metadata == {}
    (tmp_path / "b").write_bytes(save({}))
    assert read_header(tmp_path / "b").tensors == {}


def written(header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1\0\0",
        b"\xff" * 64,
        b"\0" * 64,
        written(b"[]"),
        written(b"{"),
        written(b"\xff\xfe"),
        written({"x": 1}),
        written({"x": {"dtype": "U8", "shape": [101], "data_offsets": [0, 101]}}),
        written({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}),
        written({"x": {"dtype": "U8", "data_offsets": [0, 1]}}),
        (101).to_bytes(8, "little") + b"{}" + b" " * 98,  # a header longer than the file
    ],
)
def test_what_is_no_safetensors_file(tmp_path, data):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_header(path)
    assert str(caught.value) == f"{path}: not a complete safetensors file"


def test_a_header_beyond_the_formats_limit_is_not_read(tmp_path):
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as file:  # takes no room on the disk
        file.write((LIMIT + 1).to_bytes(8, "little") + b"{}")
        file.truncate(LIMIT + 100)
    with pytest.raises(UserError, match="not a complete safetensors file"):
        read_header(path)


def test_files_that_cannot_be_read(tmp_path):
    for path, message in ((tmp_path / "nowhere", "no such file"), (tmp_path, "cannot be read: Is a directory")):
        with pytest.raises(UserError) as caught:
            read_header(path)
        assert str(caught.value) == f"{path}: {message}"
