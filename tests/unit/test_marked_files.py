"""Files that are gone on with after a kill: what stays, what is taken over, and what never gets a final name."""

import pytest
import torch
from blackholes.artifacts.files import forget
from blackholes.artifacts.tensors import TensorWriter, write_tensors
from blackholes.errors import UserError
from helpers import names

MARKED = {"embedding_history": (torch.bfloat16, (6, 2, 3))}


def marked(path, mark="a", metadata=None):
    return TensorWriter(path, MARKED, metadata or {"seed": "1"}, mark=mark)


def rows(start, stop):
    return torch.arange(36).view(6, 2, 3)[start:stop].to(torch.bfloat16)


def interrupted(path, count, mark="a"):
    """A writer that is killed after so many rows, as far as an exception can kill it."""
    writer = marked(path, mark).__enter__()
    assert not writer.holds("embedding_history", 1)
    writer.append("embedding_history", rows(0, count))
    writer.flush()
    assert not writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def test_a_partial_file_is_kept_on_error_and_resumed(tmp_path):
    path = tmp_path / "history.safetensors"
    interrupted(path, 4)
    assert names(tmp_path) == [".history.safetensors.a.part"]
    with marked(path) as writer:
        assert writer.holds("embedding_history", 4)
        assert not writer.holds("embedding_history", 5)
        with pytest.raises(ValueError, match="5 more rows are not there"):
            writer.skip("embedding_history", 5)
        writer.skip("embedding_history", 3)  # the row after it is written a second time
        assert writer.holds("embedding_history", 1)
        writer.append("embedding_history", rows(3, 6))
    assert names(tmp_path) == ["history.safetensors"]
    write_tensors(tmp_path / "at_once.safetensors", {"embedding_history": rows(0, 6)}, {"seed": "1"})
    assert path.read_bytes() == (tmp_path / "at_once.safetensors").read_bytes()


@pytest.mark.parametrize("changes", [{"metadata": {"seed": "2"}}, {"mark": "b"}])
def test_another_file_is_not_resumed(tmp_path, changes):
    path = tmp_path / "history.safetensors"
    interrupted(path, 4)
    with marked(path, **changes) as writer:
        assert not writer.holds("embedding_history", 1)
        writer.append("embedding_history", rows(0, 6))
    assert names(tmp_path) == ["history.safetensors"]


def test_missing_folders_are_made(tmp_path):
    with marked(tmp_path / "qwen" / "run_001" / "h") as writer:
        writer.append("embedding_history", rows(0, 6))
    assert names(tmp_path / "qwen" / "run_001") == ["h"]


def test_two_writers_of_one_marked_file_end_with_it(tmp_path):
    path = tmp_path / "history.safetensors"
    with marked(path) as slow:
        slow.append("embedding_history", rows(0, 2))
        with marked(path) as fast:
            assert fast.holds("embedding_history", 2)
            fast.append("embedding_history", rows(0, 6))
        before = path.read_bytes()
        slow.append("embedding_history", rows(2, 6))
        assert slow.check_owner() == path
    assert path.read_bytes() == before
    assert names(tmp_path) == ["history.safetensors"]


def test_a_deleted_partial_file_is_not_renamed(tmp_path):
    path = tmp_path / "history.safetensors"
    old = marked(path).__enter__()
    old.append("embedding_history", rows(0, 6))
    interrupted(path, 2, mark="b")
    with pytest.raises(UserError, match=r"history\.safetensors: another job has begun to write it anew"):
        old.__exit__(None, None, None)
    assert names(tmp_path) == [".history.safetensors.b.part"]
    forget(path)
    assert names(tmp_path) == []
