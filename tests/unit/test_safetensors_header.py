"""The header of a safetensors file against the library's own writer and reader."""

import json
import os
import random
import re

import pytest
import torch
from blackholes.artifacts.safetensors_header import BITS, LIMIT, LONGEST, read_header
from blackholes.errors import UserError
from safetensors import SafetensorError, safe_open
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


def written(header, more=100):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(more)


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


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors: is no regular file but a FIFO"):
        read_header(tmp_path / "a.safetensors")


# --- as strict as the library

ONE = b'{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
TWO = {
    "x": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
    "y": {"dtype": "I16", "shape": [], "data_offsets": [2, 4]},
}


def one(**fields):
    return {"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]} | fields}


REFUSED = {  # by the library too
    "negative start": written(one(data_offsets=[-1, 1], shape=[2]), 1),
    "overlap": written({"x": one()["x"], "y": one()["x"]}, 1),
    "hole before": written(one(data_offsets=[1, 2]), 2),
    "hole between": written(one() | {"y": {"dtype": "U8", "shape": [1], "data_offsets": [2, 3]}}, 3),
    "trailing bytes": written(one(), 2),
    "float offset": written(one(data_offsets=[0, 1.0]), 1),
    "float size": written(one(shape=[1.0]), 1),
    "minus zero": written(b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[-0,1]}}', 1),
    "true as a number": written(one(data_offsets=[False, True]), 1),
    "three offsets": written(one(data_offsets=[0, 1, 1]), 1),
    "end before start": written({"x": one()["x"], "y": {"dtype": "U8", "shape": [1], "data_offsets": [1, 0]}}, 1),
    "shape larger than the data": written(one(shape=[2]), 1),
    "number of elements beyond 64 bits": written(one(shape=[2**63, 2, 0], data_offsets=[0, 0]), 0),
    "size beyond 64 bits": written(one(shape=[0, 2**64], data_offsets=[0, 0]), 0),
    "unknown dtype": written(one(dtype="U9"), 1),
    "dtype is a list": written(one(dtype=[]), 1),
    "half a byte": written(one(dtype="F4"), 1),
    "metadata of numbers": written(one() | {"__metadata__": {"a": 1}}, 1),
    "metadata is a list": written(one() | {"__metadata__": []}, 1),
    "metadata twice": written(b'{"__metadata__":{},"__metadata__":{},"x":' + ONE + b"}", 1),
    "a field twice": written(b'{"x":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
    "lone surrogate as a name": written(b'{"\\ud800":' + ONE + b"}", 1),
    "lone surrogate in metadata": written(b'{"__metadata__":{"a":"\\ud800"},"x":' + ONE + b"}", 1),
    "deep nesting": written(b'{"x":' + b"[" * 200 + b"]" * 200 + b"}", 1),
    "very deep nesting": written(b'{"x":' + b"[" * 100_000, 1),
    "byte order mark": written(b"\xef\xbb\xbf" + json.dumps(one()).encode(), 1),
    "UTF-16": written(json.dumps(one()).encode("utf-16"), 1),
    "NaN": written(b'{"x":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', 1),
    "zeros after": written(json.dumps(one()).encode() + b"\0", 1),
    "null": written(b"null", 0),
}
STRICTER = {  # the library reads these: of two values it takes one, and it passes over fields it does not know
    "a tensor twice": written(b'{"x":' + ONE + b',"x":' + ONE + b"}", 1),
    "a key of the metadata twice": written(b'{"__metadata__":{"a":"b","a":"c"},"x":' + ONE + b"}", 1),
    "another field": written(one(strides=[1]), 1),
    "a list for a tensor": written({"x": ["U8", [1], [0, 1]]}, 1),
}
READ = {
    "scalar": written(one(shape=[]), 1),
    "tensors of no bytes": written({k: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for k in "xy"}, 0),
    "an empty one at the end": written(one() | {"a": {"dtype": "F32", "shape": [0, 3], "data_offsets": [1, 1]}}, 1),
    "two elements in a byte": written(one(dtype="F4", shape=[2]), 1),
    "no metadata": written(one() | {"__metadata__": None}, 1),
    "no tensors": written({}, 0),
    "space around": written(b" \n" + json.dumps(one()).encode() + b"  ", 1),
    "not in order": written(dict(reversed(TWO.items())), 4),
    "zero times much": written(one(shape=[0, 2**64 - 1], data_offsets=[0, 0]), 0),
}


def ours(path):
    """Whether our reader takes a file; it raises nothing but a line that names it."""
    try:
        read_header(path)
    except UserError as error:
        said = str(error)
    else:
        return True
    assert said == f"{path}: not a complete safetensors file"
    return False


def theirs(path):
    try:
        with safe_open(path, framework="np"):
            return True
    except SafetensorError:
        return False


@pytest.mark.parametrize("case", [*REFUSED, *STRICTER, *READ])
def test_single_faults(tmp_path, case):
    path = tmp_path / "a.safetensors"
    path.write_bytes((REFUSED | STRICTER | READ)[case])
    assert ours(path) == (case in READ)
    assert theirs(path) == (case not in REFUSED)


def test_dtypes_are_the_librarys(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(REFUSED["unknown dtype"])
    with pytest.raises(SafetensorError) as caught:
        safe_open(path, framework="np")
    assert sorted(BITS) == sorted(re.findall(r"`(\w+)`", str(caught.value).partition("expected one of")[2]))
    for dtype, bits in BITS.items():
        for size in (bits - 1, bits, bits + 1):
            path.write_bytes(written(one(dtype=dtype, shape=[8], data_offsets=[0, size]), size))
            assert ours(path) == theirs(path) == (size == bits)


def test_random_changes_are_judged_as_by_the_library(tmp_path):
    """Of single characters, numbers and lengths; where only we refuse a file, a name is there twice."""
    path, chance, whole = tmp_path / "a.safetensors", random.Random(0), written(TWO | {"__metadata__": {"a": "b"}}, 4)
    verdicts = []
    for _ in range(3000):
        data, end = bytearray(whole), len(whole) - 4
        kind = chance.randrange(4)
        if kind == 0:
            data[chance.randrange(end)] = chance.choice(b'0123456789"[]{},:-.eExyU ')
        elif kind == 1:
            number = chance.choice(list(re.finditer(rb"\d+", data[8:end])))
            data[8 + number.start() : 8 + number.end()] = b"%d" % chance.choice([0, 1, 2, 3, 4, 8, 2**63, 2**64])
            data[:8] = (len(data) - 12).to_bytes(8, "little")
        elif kind == 2:
            data += bytes(chance.randrange(3))
        else:
            del data[len(data) - chance.randrange(1, 8) :]
        path.write_bytes(data)
        verdict = ours(path), theirs(path)
        verdicts.append(verdict)
        assert verdict != (True, False), bytes(data)
        assert verdict != (False, True) or data.count(b'"y":') == 2, bytes(data)
    assert 300 < verdicts.count((True, True)) < 2700
    assert verdicts.count((False, True)) < 30


def test_a_header_of_very_many_values_is_not_taken_apart(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(written(b'{"x":[' + b"0," * (LONGEST + 1) + b"0]}", 0))
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("parsed"))
    assert not ours(path)
