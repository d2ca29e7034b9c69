"""Chebyshev matrices of a run, streamed: the kernel's own bytes, whatever the budget."""

from pathlib import Path

import pytest
import torch
from blackholes.artifacts.histories import chunk_length, open_history
from blackholes.artifacts.tensors import open_tensors
from blackholes.kernels.distances import chebyshev_matrices
from blackholes.runs import distances
from helpers import BAD_HISTORIES, random_history, refuses_bad_histories, reported, write_history
from hypothesis import given
from hypothesis import strategies as st

STEP = 4 * 9 * 9  # bytes of a matrix of nine tokens
BUDGETS = [1.0, 1e-12, *(4 * 2 * STEP * length / 1e9 for length in (2, 3, 20, 41))]


def write(history, out, **options):
    progress = []
    record = lambda *call: progress.append(call)  # noqa: E731
    size = distances.write_chebyshev(history, out, {"made": "here"}, progress=record, **options)
    assert size == Path(out).stat().st_size
    assert reported(progress)
    return len(progress)


def test_the_file_is_the_kernel_on_the_whole_history(tmp_path):
    history = random_history(40)
    write(write_history(tmp_path / "h", history), tmp_path / "out" / "d")
    with open_tensors(tmp_path / "out" / "d") as file:
        assert file.keys() == ["chebyshev_distances"]
        assert file.metadata == {"made": "here"}
        assert file.expect("chebyshev_distances", torch.float32, ("S", "V", "V")) == (40, 9, 9)
        found = file.rows("chebyshev_distances")
    assert torch.equal(found, chebyshev_matrices(history))
    formula = (history.float()[:, :, None] - history.float()[:, None]).abs().amax(-1)
    assert torch.equal(found, formula)


def test_results_do_not_depend_on_the_budget(tmp_path):
    history = write_history(tmp_path / "h", random_history(41))
    pieces = [write(history, tmp_path / f"d{i}", budget_gb=budget) for i, budget in enumerate(BUDGETS)]
    assert pieces == [1, 41, 21, 14, 3, 1]
    assert len({(tmp_path / f"d{i}").read_bytes() for i in range(len(BUDGETS))}) == 1


def test_one_token_and_one_step(tmp_path):
    write(write_history(tmp_path / "h", random_history(1, 1, 1)), tmp_path / "d")
    with open_tensors(tmp_path / "d") as file:
        assert file.rows("chebyshev_distances").tolist() == [[[0.0]]]


@pytest.mark.parametrize("budget", [1.0, 1e-12])
@pytest.mark.parametrize("wrong", BAD_HISTORIES)
def test_bad_histories(tmp_path, wrong, budget):
    refuses_bad_histories(
        tmp_path, wrong, lambda history, out: distances.write_chebyshev(history, out / "d", budget_gb=budget)
    )


def test_what_is_said_of_the_storage():
    line = "distances take 655.4 MB; those of all 16 runs of qwen 10.49 GB"
    assert distances.storage(655_425_856, 16, "qwen") == line


@pytest.mark.parametrize("length", [1, 3, 10, 99])
def test_pieces_that_are_not_stored(tmp_path, length):
    history = random_history(10)
    with open_history(write_history(tmp_path / "h", history)) as source:
        found = [(start, a.clone(), b.clone()) for start, a, b in distances.matrices(source, length)]
    assert [start for start, _, _ in found] == list(range(0, 10, length))
    assert torch.equal(torch.cat([snapshots for _, snapshots, _ in found]), history)
    assert torch.equal(torch.cat([matrix for _, _, matrix in found]), chebyshev_matrices(history))


@given(st.integers(1, 10**12), st.floats(1e-15, 1e3), st.integers(1, 8))
def test_pieces_stay_within_a_quarter_of_the_budget(a_step, budget, buffers):
    length = chunk_length(a_step, budget, buffers)
    assert length >= 1
    if length > 1:  # a single step is the least that there is
        assert buffers * length * a_step <= budget * 1e9 / 4 * (1 + 1e-9)
        assert length * a_step <= 64e6
