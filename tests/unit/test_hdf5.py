"""HDF5 histories: copies of safetensors ones, bit for bit, always with the same bytes; reading; what is refused."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from blackholes.artifacts import hdf5, histories
from blackholes.artifacts.histories import open_history, write_hdf5
from blackholes.artifacts.provenance import file_digest
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError

S, V, D = 7, 5, 4
METADATA = {"code_digest": "0", "seed": "42", "config": "x" * 2000, "device": "cpu"} | {
    f"key {i}": "σ" * i for i in range(1, 12)
}


@pytest.fixture
def history():
    """Any bits but NaN: zeros of both signs too."""
    bits = np.random.default_rng(0).integers(0, 2**16, (S, V, D), dtype=np.uint16) & 0xBFFF
    bits[0, 0, :2] = 0, 0x8000
    return torch.from_numpy(bits).view(torch.bfloat16)


DEAD = torch.arange(V) % 3 == 0


def write(path, history, metadata=METADATA):
    """The HDF5 copy of a history with every third token dead."""
    source = path.with_suffix(".safetensors")
    write_tensors(source, {"embedding_history": history}, metadata)
    write_hdf5(source, path, torch.arange(history.shape[1]) % 3 == 0)
    source.unlink()
    return path


def same_bits(a, b):
    return torch.equal(a.view(torch.int16), b.view(torch.int16))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_h5py_reads_it(tmp_path, history):
    write(tmp_path / "a.h5", history)
    with h5py.File(tmp_path / "a.h5") as file:
        assert sorted(file) == ["W", "dead_mask"]
        assert (file["W"].dtype, file["W"].chunks, file["W"].compression) == (np.uint16, (1, V, D), None)
        np.testing.assert_array_equal(file["W"][:], history.view(torch.uint16).numpy())
        assert file["dead_mask"].dtype == bool
        np.testing.assert_array_equal(file["dead_mask"][:], np.arange(V) % 3 == 0)
        assert dict(file.attrs) == METADATA


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 1), (300, 130, 3), (5, 3000, 64)])
@pytest.mark.parametrize("length", [1, 4, 1000])
def test_any_shape_in_pieces_of_any_length(tmp_path, shape, length, monkeypatch):
    monkeypatch.setattr(histories, "chunk_length", lambda *_, **__: length)
    bits = np.random.default_rng(1).integers(0, 2**16, shape, dtype=np.uint16)
    write(tmp_path / "a.h5", torch.from_numpy(bits).view(torch.bfloat16))
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["W"][:], bits)
    with open_history(tmp_path / "a.h5") as found:
        assert (found.steps, found.tokens, found.dimensions) == shape
        np.testing.assert_array_equal(found.rows(0, shape[0]).view(torch.uint16).numpy(), bits)


def test_a_piece_is_small_however_long_the_history_is(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(histories, "chunk_length", lambda size, **_: asked.append(size) or 1)
    write(tmp_path / "a.h5", torch.zeros(3, 300, 64, dtype=torch.bfloat16))
    assert asked == [300 * 64 * 2]


def test_the_same_bytes_every_time(tmp_path, history, monkeypatch):
    one = write(tmp_path / "a.h5", history).read_bytes()
    monkeypatch.setattr(histories, "chunk_length", lambda *_, **__: 2)
    assert write(tmp_path / "b.h5", history).read_bytes() == one
    assert names(tmp_path) == ["a.h5", "b.h5"]


def test_a_copy_of_a_copy_keeps_its_mask(tmp_path, history):
    one = write(tmp_path / "a.h5", history)
    write_hdf5(one, tmp_path / "b.h5")
    assert (tmp_path / "b.h5").read_bytes() == one.read_bytes()


def test_without_a_mask(tmp_path, history):
    write_tensors(tmp_path / "a.safetensors", {"embedding_history": history})
    write_hdf5(tmp_path / "a.safetensors", tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["W"]
        assert not file.attrs


def test_the_script(tmp_path, history):
    tokens = {"token_ids": torch.zeros(3, dtype=torch.uint8), "token_counts": torch.zeros(V, dtype=torch.int64)}
    write_tensors(tmp_path / "tokens.safetensors", tokens | {"dead_mask": DEAD})
    write_tensors(tmp_path / "a.safetensors", {"embedding_history": history}, METADATA)

    class Files(SimpleNamespace):
        def items(self):
            return vars(self).items()

        def __iter__(self):
            return iter(vars(self).values())

    snakemake = SimpleNamespace(
        input=Files(history=str(tmp_path / "a.safetensors"), tokens=str(tmp_path / "tokens.safetensors")),
        output=Files(hdf5=str(tmp_path / "script.h5")), params=Files(), wildcards=Files(), threads=1, log=[],
        rule="history_hdf5", resources={}, config={"training": {"progress_seconds": 5}},
    )  # fmt: skip
    script = Path(histories.__file__).parents[2] / "history_hdf5.py"
    exec(compile(script.read_text(), script, "exec"), {"snakemake": snakemake})
    assert (tmp_path / "script.h5").read_bytes() == write(tmp_path / "b.h5", history).read_bytes()


@pytest.mark.parametrize("room", [100, 5000, 60_000])
def test_a_full_disk(tmp_path, room):
    """In the attributes, in the mask and in the middle of the history."""
    source, out = tmp_path / "a.safetensors", tmp_path / "a.h5"
    write_tensors(source, {"embedding_history": torch.zeros(40, 50, 64, dtype=torch.bfloat16)}, METADATA)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(UserError) as caught:
            write_hdf5(source, out, torch.zeros(50, dtype=torch.bool))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"{out}: File too large after 0.")
    assert names(tmp_path) == ["a.safetensors"]
    write_hdf5(source, out)
    with open_history(out) as found:
        assert not found.rows(0, 40).any()


@pytest.mark.parametrize("wrong", ["missing", "key", "dtype", "mask"])
def test_a_history_that_cannot_be_copied(tmp_path, history, wrong):
    source = tmp_path / "a.safetensors"
    if wrong != "missing":
        key = "W" if wrong == "key" else "embedding_history"
        write_tensors(source, {key: history.float() if wrong == "dtype" else history})
    said = {
        "missing": "no such file",
        "key": "no tensor 'embedding_history' (BF16 (S, V, D)); the file has W",
        "dtype": "tensor 'embedding_history' is F32 (7, 5, 4), expected BF16 (S, V, D)",
        "mask": "has 5 tokens, but dead_mask is for 6",
    }[wrong]
    before = names(tmp_path)
    with pytest.raises(UserError) as caught:
        write_hdf5(source, tmp_path / "a.h5", torch.zeros(6, dtype=torch.bool) if wrong == "mask" else None)
    assert str(caught.value) == f"{source}: {said}"
    assert names(tmp_path) == before


def test_h5py_is_not_loaded_for_a_safetensors_history(tmp_path, history):
    write_tensors(tmp_path / "a.safetensors", {"embedding_history": history})
    code = (
        "import sys; from blackholes.artifacts.histories import open_history\n"
        f"with open_history({str(tmp_path / 'a.safetensors')!r}) as history: history.rows(0, 1)\n"
        "sys.exit('h5py' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


# --- reading


@pytest.mark.parametrize("length", [1, 3, 7, 100])
def test_both_formats_are_read_alike(tmp_path, history, length):
    write(tmp_path / "a.h5", history)
    write_tensors(tmp_path / "a.safetensors", {"embedding_history": history}, METADATA)
    for name in ("a.h5", "a.safetensors"):
        with open_history(tmp_path / name) as found:
            pieces = list(found.chunks(length))
            assert [start for start, _ in pieces] == list(range(0, S, length))
            assert same_bits(torch.cat([piece for _, piece in pieces]), history)
            assert found.metadata == METADATA
            assert found.path == tmp_path / name


def test_dead_mask_and_keys(tmp_path, history):
    write(tmp_path / "a.h5", history)
    with open_history(tmp_path / "a.h5") as found:
        assert found.dead_mask.tolist() == [True, False, False, True, False]
    write_tensors(tmp_path / "a.safetensors", {"W": history})
    with open_history(tmp_path / "a.safetensors", key="W") as found:
        assert same_bits(found.rows(2, 4), history[2:4])
        assert found.dead_mask is None
    with h5py.File(tmp_path / "theirs", "w") as file:  # another name, key, byte order and chunks
        bits = history.view(torch.uint16).numpy()
        file.create_dataset("run/embeddings", data=bits.astype(">u2"), chunks=(2, 3, 4), compression="gzip")
    with open_history(tmp_path / "theirs", key="run/embeddings") as found:
        assert same_bits(found.rows(0, S), history)
        assert found.dead_mask is None


def test_a_truncated_file(tmp_path, history):
    data = write(tmp_path / "a.h5", history).read_bytes()
    for length in (0, 4, 40, len(data) // 2, len(data) - 1):
        (tmp_path / "a.h5").write_bytes(data[:length])
        with pytest.raises(UserError, match=r"a\.h5: not a complete HDF5 file"), open_history(tmp_path / "a.h5"):
            pass


def test_refused_input(tmp_path, history):
    bits = history.view(torch.uint16).numpy()

    def refused(why, **datasets):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for key, value in datasets.items():
                file.create_dataset(key, **(value if isinstance(value, dict) else {"data": value}))
        with pytest.raises(UserError) as error, open_history(tmp_path / "a.h5"):
            pass
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(f"{tmp_path / 'a.h5'}: ")
        assert why in str(error.value)

    expected = "uint16 (S, V, D), the bits of bfloat16"
    refused(f"no dataset 'W' ({expected}); the file has V, X", V=bits, X=bits)
    refused(f"dataset 'W' is float32 (7, 5, 4), expected {expected}", W=history.float().numpy())
    refused(f"dataset 'W' is int16 (7, 5, 4), expected {expected}", W=bits.astype(np.int16))
    refused(f"dataset 'W' is uint16 (5, 4), expected {expected}", W=bits[0])
    refused(f"dataset 'W' is uint16 (0, 5, 4), expected {expected}", W=bits[:0])
    refused("dataset 'W' is incomplete", W={"shape": (S, V, D), "dtype": "<u2", "chunks": (1, V, D)})
    with pytest.raises(UserError, match="no such file"), open_history(tmp_path / "b.h5"):
        pass
    (tmp_path / "c.h5").write_text("text")
    with pytest.raises(UserError, match=r"c\.h5: not a complete HDF5 file"), open_history(tmp_path / "c.h5"):
        pass
    write_tensors(tmp_path / "d.safetensors", {"embedding_history": history.float()})
    with pytest.raises(UserError, match=r"is F32 \(7, 5, 4\), expected BF16"), open_history(tmp_path / "d.safetensors"):
        pass


def refusal(path, key=None):
    with pytest.raises(UserError) as error, open_history(path, key) as found:
        found.rows(0, found.steps)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def secret(path):
    """A file of another's that a history must not let us read, and its bytes as a history's."""
    path.write_bytes(b"secret!!" * S * V * D)
    return path


ITSELF = "expected data in the file itself"


def test_data_in_other_files(tmp_path, history):
    bits = history.view(torch.uint16).numpy()
    other = secret(tmp_path / "secret")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("W", (S, V, D), np.uint16, external=[(str(other), 0, 2 * S * V * D)])
    assert refusal(tmp_path / "a.h5") == f"dataset 'W' is stored in other files; {ITSELF}"
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file.create_dataset("data", data=bits)
    layout = h5py.VirtualLayout((S, V, D), np.uint16)
    layout[:] = h5py.VirtualSource(str(tmp_path / "missing.h5"), "data", (S, V, D))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_virtual_dataset("W", layout)
    assert refusal(tmp_path / "b.h5") == f"dataset 'W' is a view of other datasets; {ITSELF}"
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["W"] = h5py.ExternalLink(str(tmp_path / "source.h5"), "data")
        file["inner/data"] = bits
        file["soft"] = h5py.SoftLink("/inner/data")
        file["group"] = h5py.ExternalLink(str(tmp_path / "source.h5"), "/")
    for key in ("W", "soft", "group/data"):
        assert refusal(tmp_path / "c.h5", key) == f"'{key}' is a link; expected a dataset in the file itself"
    with open_history(tmp_path / "c.h5", "/inner/data") as found:
        assert same_bits(found.rows(0, S), history)


def test_a_mask_in_another_file(tmp_path, history):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["W"] = history.view(torch.uint16).numpy()
        file.create_dataset("dead_mask", (V,), np.uint8, external=[(str(secret(tmp_path / "secret")), 0, V)])
    assert refusal(tmp_path / "a.h5") == f"dataset 'dead_mask' is stored in other files; {ITSELF}"


def test_data_that_was_never_written(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("W", (S, V, D), np.uint16)
    assert refusal(tmp_path / "a.h5") == "dataset 'W' is incomplete: it was never written"


def test_filters(tmp_path, history):
    bits = history.view(torch.uint16).numpy()
    for name, options in {
        "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
        "lzf": {"compression": "lzf"},
    }.items():
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("W", data=bits, chunks=(2, V, D), **options)
        (tmp_path / name).rename(tmp_path / f"{name}.h5")
        with open_history(tmp_path / f"{name}.h5") as found:
            assert same_bits(found.rows(0, S), history)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("W", data=bits, scaleoffset=0)
    words = "dataset 'W' went through filter 6; expected gzip, shuffle, fletcher32, lzf or none"
    assert refusal(tmp_path / "a.h5") == words


def test_data_in_the_header(tmp_path, history):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_layout(h5py.h5d.COMPACT)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple((S, V, D))
        h5py.h5d.create(file.id, b"W", h5py.h5t.STD_U16LE, space, made)
    assert refusal(tmp_path / "a.h5") == f"dataset 'W' is not contiguous or chunked; {ITSELF}"


def test_a_damaged_index_of_chunks(tmp_path, history):
    """Two chunks in one place; a chunk beyond the end of the file."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("W", data=history.view(torch.uint16).numpy(), chunks=(1, V, D))
        first, second = (data.id.get_chunk_info(k).byte_offset.to_bytes(8, "little") for k in (0, 1))
    good = path.read_bytes()
    assert good.count(second) == 1
    for place in (first, (2**40).to_bytes(8, "little")):
        path.write_bytes(good.replace(second, place))
        assert refusal(path) == "dataset 'W' is damaged: its pieces overlap, or lie outside of the file"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import time; time.sleep(600)", "libhdf5 did not answer for 0.5 s"),
        ("import os; os.kill(os.getpid(), 11)", "libhdf5 crashed with signal 11"),
        ("import sys; sys.exit(3)", "the process that reads it ended"),
    ],
)
def test_what_a_file_may_do_to_libhdf5(tmp_path, history, monkeypatch, program, words):
    write(tmp_path / "a.h5", history)
    monkeypatch.setattr(hdf5, "COMMAND", [sys.executable, "-c", program])
    monkeypatch.setattr(hdf5, "PATIENCE", 0.5 if "sleep" in program else 600.0)
    assert refusal(tmp_path / "a.h5") == f"dataset 'W' cannot be read: {words}"


def test_a_step_that_cannot_be_read(tmp_path, history):
    """A chunk whose compressed bytes are damaged: the steps before it are read."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        bits = history.view(torch.uint16).numpy()
        data = file.create_dataset("W", data=bits, chunks=(1, V, D), compression="gzip")
        place = data.id.get_chunk_info(3)
    damaged = bytearray(path.read_bytes())
    damaged[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(damaged)
    with open_history(path) as found:
        assert same_bits(found.rows(0, 3), history[:3])
        with pytest.raises(UserError, match=r"a\.h5: dataset 'W' cannot be read at step 3: "):
            found.rows(3, 4)
        assert same_bits(found.rows(4, S), history[4:])


def test_a_fifo(tmp_path):
    os.mkfifo(tmp_path / "a.h5")
    assert refusal(tmp_path / "a.h5") == "is no regular file but a FIFO"


def test_digest_of_a_history(tmp_path, history):
    """Ours is known by its provenance, another's by its bytes."""
    path, other = write(tmp_path / "a.h5", history), write(tmp_path / "b.h5", history)
    assert file_digest(path) == file_digest(other)
    assert file_digest(write(tmp_path / "b.h5", history, metadata=METADATA | {"seed": "43"})) != file_digest(path)
    one = file_digest(write(tmp_path / "b.h5", history, metadata={}))
    assert file_digest(write(tmp_path / "b.h5", -history, metadata={})) != one
