"""HDF5 histories: against h5py, the same bytes every time, after kills too; and what is refused."""

import shutil
from contextlib import suppress
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from blackholes.artifacts.hdf5 import Hdf5Writer
from blackholes.artifacts.histories import open_history
from blackholes.artifacts.provenance import file_digest
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.training import engine
from reference import settings as make_settings

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


def write(path, history, pieces=(3, 4), metadata=METADATA, **options):
    arrays = {"dead_mask": np.arange(history.shape[1]) % 3 == 0}
    with Hdf5Writer(path, {"W": (torch.bfloat16, tuple(history.shape))}, metadata, arrays=arrays, **options) as writer:
        for piece in history.split(list(pieces)):
            writer.append("W", piece)
    return path


def same_bits(a, b):
    return torch.equal(a.view(torch.int16), b.view(torch.int16))


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
def test_any_shape(tmp_path, shape):
    history = torch.from_numpy(np.random.default_rng(1).integers(0, 2**14, shape, dtype=np.uint16)).view(torch.bfloat16)
    write(tmp_path / "a.h5", history, pieces=[1] * shape[0])
    with open_history(tmp_path / "a.h5") as found:
        assert (found.steps, found.tokens, found.dimensions) == shape
        assert same_bits(found.rows(0, shape[0]), history)


def test_the_same_bytes_whatever_the_pieces(tmp_path, history):
    one, other = write(tmp_path / "a.h5", history), write(tmp_path / "b.h5", history, pieces=[1] * S)
    assert one.read_bytes() == other.read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.h5", "b.h5"]


def test_a_killed_writer_is_resumed(tmp_path, history):
    """As training does: what was flushed is kept, what came after is written again."""
    whole = write(tmp_path / "whole.h5", history).read_bytes()
    layout, arrays = {"W": (torch.bfloat16, (S, V, D))}, {"dead_mask": np.arange(V) % 3 == 0}
    with suppress(KeyboardInterrupt), Hdf5Writer(tmp_path / "a.h5", layout, METADATA, "mark", arrays) as writer:
        writer.append("W", history[:4])
        raise KeyboardInterrupt
    assert not (tmp_path / "a.h5").exists()
    with Hdf5Writer(tmp_path / "a.h5", layout, METADATA, "mark", arrays) as writer:
        assert writer.holds("W", 4)
        assert not writer.holds("W", 5)
        writer.skip("W", 3)
        writer.append("W", history[3:])
    assert (tmp_path / "a.h5").read_bytes() == whole
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.h5", "whole.h5"]


def test_rows_that_are_missing(tmp_path, history):
    with pytest.raises(ValueError, match="rows are missing in W"):
        with Hdf5Writer(tmp_path / "b.h5", {"W": (torch.bfloat16, (S, V, D))}) as writer:
            writer.append("W", history[:5])
    assert not list(tmp_path.iterdir())


def test_no_room_on_the_disk(tmp_path):
    with pytest.raises(UserError, match=r"a\.h5: needs .* MB, but the disk has"):
        with Hdf5Writer(tmp_path / "a.h5", {"W": (torch.bfloat16, (10**7, 10**4, 64))}):
            raise AssertionError
    assert not list(tmp_path.iterdir())


class Killed(BaseException):
    """What no code catches, in place of a SIGKILL: only what is on the disk is left."""


def train(folder, corpus, name="embedding_evolution.h5", killed_at=None, said=None):
    def progress(k):
        def tick(done, total, more):
            if killed_at and done >= killed_at:
                raise Killed

        return tick

    run = engine.RunFiles(
        *(folder / "run_001" / file for file in (name, "training_log.csv", "model/config.json", "model/m.safetensors"))
    )
    shape = {"vocabulary_size": 300, "context": 8, "width": 8, "layers": 1, "heads": 1}
    chosen = make_settings(steps=40, batch_size=2, model=shape, init="normal") | {"seed": 43}
    engine.write_runs(
        corpus, [run], [chosen], metadata={"code_digest": "c"}, checkpoint_seconds=1e-9, progress=progress,
        say=(said if said is not None else []).append,
    )  # fmt: skip
    return run


def test_training_resumes_after_a_kill(tmp_path):
    """The bytes of an undisturbed run, whose history is that of a safetensors file; and which tokens are dead."""
    ids = np.random.default_rng(0).integers(0, 200, 500).astype(np.uint16)
    counts = np.bincount(ids, minlength=300)
    corpus = str(tmp_path / "tokens.safetensors")
    write_tensors(corpus, {"token_ids": ids, "token_counts": counts, "dead_mask": counts == 0})
    whole, said = train(tmp_path / "whole", corpus), []
    for step in (7, 23):
        with pytest.raises(Killed):
            train(tmp_path / "killed", corpus, killed_at=step, said=said)
        assert not (tmp_path / "killed/run_001/embedding_evolution.h5").exists()
    killed = train(tmp_path / "killed", corpus, said=said)
    assert [line.split(" of")[0] for line in said if "goes on" in line] != []
    assert killed.history.read_bytes() == whole.history.read_bytes()
    assert sorted(p.name for p in killed.folder.iterdir()) == ["embedding_evolution.h5", "model", "training_log.csv"]
    plain = train(tmp_path / "plain", corpus, "embedding_evolution.safetensors")
    with open_history(whole.history) as one, open_history(plain.history) as other:
        assert same_bits(one.rows(0, 41), other.rows(0, 41))
        assert one.dead_mask.tolist() == (counts == 0).tolist()
        assert one.metadata["seed"] == "43"


def test_a_large_history_is_logged_and_refused_without_disk_space(tmp_path, monkeypatch):
    ids = np.arange(300).astype(np.uint16)
    corpus = str(tmp_path / "tokens.safetensors")
    write_tensors(corpus, {"token_ids": ids, "token_counts": np.ones(300, np.int64), "dead_mask": np.zeros(300, bool)})
    monkeypatch.setattr(engine, "_LARGE", 1e5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=150_000))
    said = []
    with pytest.raises(UserError, match=r"embedding_evolution\.h5: needs 0\.2 MB, but the disk has 0\.1 MB left"):
        train(tmp_path / "runs", corpus, said=said)
    assert said == ["the history takes 0.00 GB on the disk, which has 0.00 GB left"]
    assert all(path.name.startswith(".") and not path.stat().st_size for path in (tmp_path / "runs/run_001").iterdir())


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


def test_digest_of_a_history(tmp_path, history):
    """Ours is known by its provenance, another's by its bytes."""
    path, other = write(tmp_path / "a.h5", history), write(tmp_path / "b.h5", history)
    assert file_digest(path) == file_digest(other)
    assert file_digest(write(tmp_path / "b.h5", history, metadata=METADATA | {"seed": "43"})) != file_digest(path)
    one = file_digest(write(tmp_path / "b.h5", history, metadata={}))
    assert file_digest(write(tmp_path / "b.h5", -history, metadata={})) != one
