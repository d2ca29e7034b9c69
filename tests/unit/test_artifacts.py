"""Tensor files against the safetensors library, and writes that are seen whole or not at all."""

import csv
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from blackholes.artifacts import rows
from blackholes.artifacts.files import atomic, write_table, write_text
from blackholes.artifacts.tensors import TensorWriter, open_tensors, write_tensors
from blackholes.errors import UserError
from helpers import names
from hypothesis import given, settings
from hypothesis import strategies as st

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.uint16,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]
SHAPES = [(), (1,), (0,), (3,), (0, 4), (5, 0), (2, 3), (3, 1, 2)]


def same_bits(a, b):
    """Equal in dtype, shape and every bit."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    bits = BITS[a.dtype.itemsize]
    return torch.equal(a.reshape(-1).view(bits), b.reshape(-1).view(bits))


def test_the_comparator():
    x = torch.tensor([0.0, float("nan")])
    assert same_bits(x, x.clone())
    assert not same_bits(x, torch.tensor([-0.0, float("nan")]))
    assert not same_bits(x, x[None])
    assert not same_bits(x, x.double())
    assert same_bits(torch.tensor(True), torch.tensor(True))


def random_bits(dtype, shape, seed=0):
    """Any bits: NaN, infinities and −0 too."""
    random = np.random.default_rng(seed)
    if dtype == torch.bool:
        return torch.from_numpy(np.asarray(random.integers(0, 2, shape, dtype=np.uint8))).bool()
    data = random.bytes(int(np.prod(shape)) * dtype.itemsize)
    return torch.frombuffer(bytearray(data or b"\0" * 8), dtype=torch.uint8)[: len(data)].view(dtype).reshape(shape)


def everything():
    return {f"{dtype}{shape}": random_bits(dtype, shape) for dtype in DTYPES for shape in SHAPES}


# --- against the library


def test_the_library_reads_every_dtype_and_shape(tmp_path):
    tensors, path = everything(), tmp_path / "all.safetensors"
    write_tensors(path, tensors, {"seed": "42", "text": 'σ "quoted"\nline'})
    found = safetensors.torch.load_file(path)
    assert found.keys() == tensors.keys()
    assert all(same_bits(found[key], tensors[key]) for key in tensors)
    with safetensors.safe_open(path, framework="pt") as file:
        facts = file.metadata()
    assert re.fullmatch("[0-9a-f]{32}", facts.pop("payload_digest"))
    assert facts == {"seed": "42", "text": 'σ "quoted"\nline'}


def test_the_library_reads_arrays(tmp_path):
    arrays = {key: value.numpy() for key, value in everything().items() if value.dtype != torch.bfloat16}
    write_tensors(tmp_path / "a.safetensors", arrays)
    found = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        assert found[key].tobytes() == array.tobytes()


def test_we_read_what_the_library_writes(tmp_path):
    tensors = everything()
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", {"made": "elsewhere"})
    with open_tensors(tmp_path / "a.safetensors") as file:
        assert file.metadata == {"made": "elsewhere"}
        assert sorted(file.keys()) == sorted(tensors)
        for key, tensor in tensors.items():
            assert (file.shape(key), file.dtype(key)) == (tuple(tensor.shape), tensor.dtype)
            assert same_bits(file.rows(key), tensor)


def test_our_own_reader_reads_rows(tmp_path):
    tensor = random_bits(torch.bfloat16, (7, 3, 2))
    write_tensors(tmp_path / "a.safetensors", {"x": tensor, "scalar": 2.5, "whole": 7})
    with open_tensors(tmp_path / "a.safetensors") as file:
        assert same_bits(file.rows("x", 2, 5), tensor[2:5])
        assert same_bits(file.rows("x", 5), tensor[5:])
        assert same_bits(torch.cat([file.rows("x", i, i + 2) for i in range(0, 7, 2)]), tensor)
        assert file.rows("scalar").item() == 2.5
        assert file.rows("whole").item() == 7
        assert file.metadata == {}


def test_tensors_of_mixed_widths_are_aligned(tmp_path):
    tensors = {
        "flags": torch.ones(3, dtype=torch.bool),
        "counts": torch.arange(3),
        "half": torch.ones(5).bfloat16(),
        "empty": torch.empty(0),
        "one": torch.tensor(1.0),
    }
    write_tensors(tmp_path / "a.safetensors", tensors)
    head = int.from_bytes((tmp_path / "a.safetensors").read_bytes()[:8], "little")
    assert head % 8 == 0
    with open_tensors(tmp_path / "a.safetensors") as file:
        for key, tensor in tensors.items():
            assert file.rows(key).data_ptr() % tensor.dtype.itemsize == 0
            assert same_bits(file.rows(key), tensor)


def test_any_layout_in_memory_is_written_as_its_values(tmp_path):
    tensor = torch.arange(24.0).reshape(4, 6)
    views = {"transposed": tensor.T, "strided": tensor[:, ::2], "expanded": tensor[:1].expand(3, 6)}
    views |= {"one": torch.tensor(1.0).expand(1), "part": tensor[2:, 1:]}
    write_tensors(tmp_path / "a.safetensors", views | {"learned": tensor.clone().requires_grad_()})
    found = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(found[key], views[key]) for key in views)
    assert torch.equal(found["learned"], tensor)


# --- pieces


@st.composite
def appends(draw):
    """Two tensors cut into pieces at random, in a random order that keeps each tensor's own."""
    pieces = []
    for key, length in (("x", 7), ("y", 4)):
        cuts = sorted(draw(st.lists(st.integers(0, length), max_size=5)))
        pieces.append([(key, a, b) for a, b in zip([0, *cuts], [*cuts, length], strict=True)])
    order = draw(st.permutations([0] * len(pieces[0]) + [1] * len(pieces[1])))
    return [pieces[which].pop(0) for which in order]


@settings(max_examples=30)
@given(order=appends())
def test_any_order_and_any_pieces_give_the_same_bytes(order, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    tensors = {"x": random_bits(torch.bfloat16, (7, 3)), "y": random_bits(torch.int32, (4,), 1)}
    write_tensors(folder / "whole.safetensors", tensors, {"a": "1"})
    layout = {key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in tensors.items()}
    with TensorWriter(folder / "pieces.safetensors", layout, {"a": "1"}) as writer:
        for key, start, stop in order:
            writer.append(key, tensors[key][start:stop])
    assert (folder / "pieces.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()


def test_the_order_of_the_metadata_does_not_matter(tmp_path):
    write_tensors(tmp_path / "a", {"x": torch.ones(2)}, {"a": "1", "b": "2"})
    write_tensors(tmp_path / "b", {"x": torch.ones(2)}, {"b": "2", "a": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.ones(2, 3, dtype=torch.float64), "do not fit"),
        (torch.ones(2, 4), "do not fit"),
        (torch.ones(3), "do not fit"),
        (torch.ones(5, 3), "more rows"),
        (torch.ones(2, 3), "rows are missing in x"),
    ],
)
def test_bad_rows_leave_no_file(tmp_path, rows, message):
    with (
        pytest.raises(ValueError, match=message),
        TensorWriter(tmp_path / "a.safetensors", {"x": (torch.float32, (4, 3))}) as writer,
    ):
        writer.append("x", rows)
    assert names(tmp_path) == []


def test_a_missing_key_is_refused(tmp_path):
    layout = {"x": (torch.float32, (1,)), "y": (torch.float32, (2, 2)), "none": (torch.float32, (0, 2))}
    with pytest.raises(ValueError, match=r"a\.safetensors: rows are missing in y$"):
        with TensorWriter(tmp_path / "a.safetensors", layout) as writer:
            writer.append("x", torch.ones(1))
    assert names(tmp_path) == []


# --- seen whole or not at all


def test_no_final_name_before_the_end(tmp_path):
    target = tmp_path / "deep" / "er" / "a.safetensors"
    with TensorWriter(target, {"x": (torch.float32, (2,))}) as writer:
        writer.append("x", torch.ones(2))
        assert not target.exists()
        assert [name for name in names(target.parent) if not name.startswith(".")] == []
    assert names(target.parent) == ["a.safetensors"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(2)})
    before = (tmp_path / "a.safetensors").read_bytes()
    writer = TensorWriter(tmp_path / "a.safetensors", {"x": (torch.float32, (2,))})
    with pytest.raises(error), writer:  # noqa: PT012
        writer.append("x", torch.ones(2))
        raise error
    assert names(tmp_path) == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").read_bytes() == before


def test_an_exception_leaves_no_text_and_no_table(tmp_path):
    def rows():
        yield 1, 2
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_table(tmp_path / "a.csv", ["a", "b"], rows())
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "never.txt"):
        pass
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.txt: cannot be written: Permission denied"), atomic(tmp_path / "a.txt"):
        raise PermissionError(13, "Permission denied")
    assert names(tmp_path) == []


KILLED = """
import sys, torch
from blackholes.artifacts.tensors import TensorWriter
with TensorWriter(sys.argv[1], {"x": (torch.float32, (4, 1000))}) as writer:
    writer.append("x", torch.ones(2, 1000))
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_killed_write_leaves_no_file_and_the_next_one_cleans_up(tmp_path):
    target = tmp_path / "a.safetensors"
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", KILLED, str(target)]
    # a failure here closes its standard input, and so ends it
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"half\n"
        [alive] = names(tmp_path)

        # a second writer of the same file leaves the one that is alive alone
        write_tensors(target, {"x": torch.zeros(3)})
        assert names(tmp_path) == [alive, target.name]
        target.unlink()

        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert names(tmp_path) == [alive]
    assert alive.startswith(".")

    other = tmp_path / ".b.safetensors.elsewhere.1.tmp"  # another file's: not ours to sweep
    other.touch()
    write_tensors(target, {"x": torch.zeros(3)})
    assert names(tmp_path) == [other.name, target.name]
    assert torch.equal(safetensors.torch.load_file(target)["x"], torch.zeros(3))


def test_only_files_of_dead_processes_of_this_host_are_deleted(tmp_path):
    """Whether a process of another host is alive cannot be known here."""
    dead = 2**22 + 1  # beyond the largest process id that Linux gives
    ours, theirs = (tmp_path / f".a.txt.{host}.{dead}.tmp" for host in (socket.gethostname(), "elsewhere"))
    ours.touch()
    theirs.touch()
    write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == [theirs.name, "a.txt"]


def test_data_is_flushed_before_the_rename_and_the_folder_after(tmp_path, disk_calls):
    path = tmp_path / "a.txt"
    write_text(path, "x" * 1000)
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert disk_calls == [("fsync", file, 1000), ("replace", file, path), ("fsync", folder, tmp_path.stat().st_size)]


@pytest.mark.parametrize("when", ["at the end", "in the middle"])
def test_a_background_disk_error_is_raised_by_the_writer(tmp_path, monkeypatch, when):
    """Linux reports a failed write-back once: the fsync that comes after it succeeds."""
    fsync, failed = os.fsync, Event()

    def fail_once(handle):
        if failed.is_set():
            return fsync(handle)
        failed.set()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(rows, "_FLUSH", 1)  # byte: a flush after the first piece
    monkeypatch.setattr(os, "fsync", fail_once)

    def write():
        with TensorWriter(tmp_path / "a.safetensors", {"x": (torch.float32, (100,))}) as writer:
            for piece in torch.ones(100).split(100 if when == "at the end" else 1):
                writer.append("x", piece)
                assert failed.wait(10)
                time.sleep(0.001)  # until the flush has ended, and the next may begin

    with pytest.raises(OSError, match="Input/output error"):
        write()
    assert names(tmp_path) == []


def test_names_that_look_like_patterns(tmp_path):
    write_text(tmp_path / "a[1]*.txt", "x")
    assert names(tmp_path) == ["a[1]*.txt"]


# --- reading what is not right


def refused(path):
    with pytest.raises(UserError) as caught, open_tensors(path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_missing_file(tmp_path):
    assert refused(tmp_path / "no.safetensors").endswith("no such file")


def test_a_folder(tmp_path):
    refused(tmp_path)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.arange(6).reshape(2, 3), "y": torch.ones(3, dtype=torch.bool)}, {"k": "v"})
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refused(path)
    path.write_bytes(data)
    with open_tensors(path) as file:
        assert torch.equal(file.rows("x"), torch.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 64,
        b"\xff" * 64,
        b"step,loss\n1,2.5\n",
        (2).to_bytes(8, "little") + b"[]",
        (8).to_bytes(8, "little") + b'{"x": 1}',
        b"\x89HDF\r\n\x1a\n" + b"\0" * 200,
    ],
)
def test_garbage(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    assert "not a complete safetensors file" in refused(tmp_path / "a.safetensors")


def test_trailing_bytes(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.ones(3)})
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path)


@pytest.mark.parametrize(
    ("key", "dtype", "shape", "message"),
    [
        ("w", torch.float32, ("S", "V", "V"), "no tensor 'w' (F32 (S, V, V)); the file has float8, pairs, scalar, x"),
        ("x", torch.bfloat16, ("S", "V", "D"), "tensor 'x' is F32 (2, 3, 4), expected BF16 (S, V, D)"),
        ("x", torch.float32, ("S", "V"), "tensor 'x' is F32 (2, 3, 4), expected F32 (S, V)"),
        ("x", torch.float32, ("S", "V", 5), "tensor 'x' is F32 (2, 3, 4), expected F32 (S, V, 5)"),
        ("x", torch.float32, ("S", "V", "V"), "tensor 'x' is F32 (2, 3, 4), expected F32 (S, V, V)"),
        ("scalar", torch.float32, ("S",), "tensor 'scalar' is F32 (), expected F32 (S)"),
        ("float8", torch.float32, ("S",), "tensor 'float8' is F8_E4M3 (2), expected F32 (S)"),
    ],
)
def test_expect_names_what_was_expected(tmp_path, key, dtype, shape, message):
    path = tmp_path / "a.safetensors"
    tensors = {"x": torch.ones(2, 3, 4), "pairs": torch.ones(2, 3, 3), "scalar": torch.tensor(1.0)}
    safetensors.torch.save_file(tensors | {"float8": torch.zeros(2).to(torch.float8_e4m3fn)}, path)
    with open_tensors(path) as file:
        assert file.expect("x", torch.float32, ("S", "V", "D")) == (2, 3, 4)
        assert file.expect("x", torch.float32, (2, "V", 4)) == (2, 3, 4)
        assert file.expect("pairs", torch.float32, ("S", "V", "V")) == (2, 3, 3)
        with pytest.raises(UserError) as caught:
            file.expect(key, dtype, shape)
    assert str(caught.value) == f"{path}: {message}"


def test_an_empty_tensor_is_not_what_was_expected(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"x": torch.empty(0, 3)})
    with open_tensors(tmp_path / "a.safetensors") as file, pytest.raises(UserError, match=r"is F32 \(0, 3\)"):
        file.expect("x", torch.float32, ("S", "V"))


# --- tables


@settings(max_examples=50)
@given(values=st.lists(st.floats(), min_size=1))
def test_floats_read_back_to_the_bit(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    narrow = [np.float32(value) for value in np.array(values).clip(-3e38, 3e38)]
    write_table(path, ["wide", "array", "narrow"], zip(values, np.array(values), narrow, strict=True))
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for column, kind, wanted in (
        ("wide", np.float64, values),
        ("array", np.float64, values),
        ("narrow", np.float32, narrow),
    ):
        found = np.array([kind(row[column]) for row in rows])
        wanted = np.array(wanted, kind)
        unlike_nan = ~np.isnan(wanted)
        assert np.array_equal(np.isnan(found), np.isnan(wanted))
        assert found[unlike_nan].tobytes() == wanted[unlike_nan].tobytes()


def test_a_table_has_a_header_quotes_and_plain_line_ends(tmp_path):
    write_table(tmp_path / "a.csv", ["token", "n"], [[",", 1], ['"', 2], ["\n", 3], ["é", np.int64(4)]])
    assert (tmp_path / "a.csv").read_bytes() == 'token,n\n",",1\n"""",2\n"\n",3\né,4\n'.encode()


def test_a_text_is_utf_8_whatever_the_locale(tmp_path):
    write_text(tmp_path / "a.txt", "σ\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xcf\x83\n"


def test_a_fifo_is_no_tensor_file(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="is no regular file but a FIFO"), open_tensors(tmp_path / "a.safetensors"):
        pass


def test_a_file_larger_than_memory_is_read_in_pieces(tmp_path):
    """A sparse file of 2^43 bytes, more than any machine here could map for writing."""
    rows, width = 2**42, 1
    path, header = (
        tmp_path / "a.safetensors",
        {"a": {"dtype": "BF16", "shape": [rows, width], "data_offsets": [0, 2 * rows]}},
    )
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 2 * rows)
        file.seek(-2, 2)
        file.write(b"\x80\x3f")
    with open_tensors(path) as file:
        assert file.shape("a") == (rows, width)
        assert file.rows("a", rows - 3).tolist() == [[0.0], [0.0], [1.0]]
        assert file.rows("a", 5, 5 + 2**21).count_nonzero() == 0


def test_what_was_read_is_the_readers_own(tmp_path):
    """A change of a tensor in memory reaches neither the file nor the next reader; it outlives the open file."""
    path = tmp_path / "a.safetensors"
    numbers = torch.arange(3 * 2**19).view(3, -1)
    write_tensors(path, {"a": numbers, "flag": torch.tensor([True, False]), "none": torch.empty(0, 4)})
    with open_tensors(path) as file:
        large, small = file.rows("a"), file.rows("a", 0, 1)[:, :4]
        assert torch.equal(file.rows("flag"), torch.tensor([True, False]))
        assert file.rows("none").shape == (0, 4)
        assert file.rows("a", 2, 2).shape == (0, 2**19)
        large.zero_()
        small.zero_()
        assert torch.equal(file.rows("a"), numbers)
    assert not large.any()
    with open_tensors(path) as file:
        assert torch.equal(file.rows("a", 1), numbers[1:])


def test_a_tensor_of_numbers_that_torch_lacks(tmp_path):
    header = {"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"x")
    with (
        open_tensors(path) as file,
        pytest.raises(UserError, match="tensor 'a' is F4, a type of number that is not read"),
    ):
        file.rows("a")


def test_a_tensor_at_an_odd_place(tmp_path):
    header = {
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\x07" + np.array([1.5, -2], "<f4").tobytes())
    with open_tensors(path) as file:
        assert file.rows("b").tolist() == [1.5, -2.0]
        assert file.rows("a").tolist() == [7]
