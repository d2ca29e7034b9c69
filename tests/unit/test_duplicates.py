"""Equal rows against a dictionary of rows, with a good hash and with hopeless ones."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import backends, distances, duplicates
from hypothesis import given, settings
from hypothesis import strategies as st

BACKENDS = [pytest.param(nullcontext, id="compiled"), pytest.param(backends.torch_only, id="torch")]
HASHES = {
    "good": duplicates._keys,
    "constant": lambda n: np.zeros(n, np.uint64),  # every row collides with every other
    "first column": lambda n: np.eye(n, dtype=np.uint64)[0].copy(),
}


def by_dictionary(step) -> list[int]:
    first = {}
    return [first.setdefault(tuple(row), i) for i, row in enumerate(step.tolist())]  # -0.0 == 0.0, and hashes alike


@st.composite
def vectors(draw):
    dtype = draw(st.sampled_from(list(duplicates.FORMATS)))
    shape = draw(st.sampled_from([(1, 1, 1), (2, 2, 7), (3, 17, 1), (3, 17, 8), (2, 129, 2), (2, 5, 65)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    if dtype.is_floating_point:
        tiny = torch.finfo(dtype).smallest_normal
        values = torch.tensor([0.0, -0.0, 1.0, -1.0, tiny, -tiny / 4, torch.finfo(dtype).max], dtype=torch.float64)
    else:
        values = torch.tensor([0, 1, 2, torch.iinfo(dtype).max, torch.iinfo(dtype).min])
    return values[torch.randint(draw(st.integers(1, len(values))), shape, generator=generator)].to(dtype)


@pytest.mark.parametrize("hashing", HASHES)
@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25)
@given(vectors())
def test_labels(backend, hashing, vectors):
    with pytest.MonkeyPatch.context() as patch, backend():
        patch.setattr(duplicates, "_keys", HASHES[hashing])
        found = duplicates.labels(vectors)
    assert found.dtype == torch.int64
    assert found.tolist() == [by_dictionary(step) for step in vectors]


@pytest.mark.parametrize("backend", BACKENDS)
def test_interleaved_collisions(backend, monkeypatch):
    """A B A B with one hash: comparing neighbours only would split both."""
    monkeypatch.setattr(duplicates, "_keys", HASHES["constant"])
    rows = torch.tensor([[1, 2], [2, 1], [1, 2], [2, 1], [3, 3], [1, 2]]).bfloat16()
    with backend():
        assert duplicates.labels(rows).tolist() == [0, 1, 0, 1, 4, 0]


def test_a_sum_of_products_collides_by_construction():
    """Rows whose hashes are equal under the real keys stay apart: u·a − v·a = 0 modulo 2**64."""
    a, b = (int(key) for key in duplicates._keys(2))
    signed = lambda x: (x + 2**63) % 2**64 - 2**63  # noqa: E731
    rows = torch.tensor([[signed(b), 0], [0, signed(a)], [signed(b), 0]])
    for backend in (nullcontext, backends.torch_only):
        with backend():
            assert duplicates.labels(rows).tolist() == [0, 1, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_shapes_chunks_and_strides(backend):
    history = torch.randint(0, 2, (12, 33, 4), generator=torch.Generator().manual_seed(7)).bfloat16()
    expected = torch.tensor([by_dictionary(step) for step in history])
    with backend():
        assert torch.equal(duplicates.labels(history), expected)
        assert torch.equal(duplicates.labels(history[3]), expected[3])
        assert torch.equal(duplicates.labels(history.view(3, 4, 33, 4)), expected.view(3, 4, 33))
        assert torch.equal(torch.cat([duplicates.labels(history[i : i + 5]) for i in range(0, 12, 5)]), expected)
        assert torch.equal(duplicates.labels(history.mT.contiguous().mT), expected)
        assert duplicates.labels(history[:0]).shape == (0, 33)
        assert duplicates.labels(history[:, :0]).shape == (12, 0)
        before = torch.get_num_threads()
        for n in (1, 3, 7):
            torch.set_num_threads(n)
            assert torch.equal(duplicates.labels(history), expected)
        torch.set_num_threads(before)


def test_torch_formula_in_many_blocks(monkeypatch):
    rows = torch.randint(0, 2, (3, 50, 4), generator=torch.Generator().manual_seed(8)).bfloat16()
    expected = duplicates.labels(rows)
    monkeypatch.setattr(backends, "block_length", lambda *_: 7)
    with backends.torch_only():
        assert torch.equal(duplicates.labels(rows), expected)


def test_equal_labels_mean_distance_zero():
    history = (torch.randn(5, 64, 2, generator=torch.Generator().manual_seed(9)) * 2**-6).bfloat16().sign()
    label = duplicates.labels(history)
    assert torch.equal(label[:, :, None] == label[:, None], distances.chebyshev_matrices(history) == 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [dtype for dtype in duplicates.FORMATS if dtype.is_floating_point])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_is_refused(backend, dtype, value):
    history = torch.zeros(3, 4, 5, dtype=dtype)
    history[1, 2, 3] = value
    with backend():
        with pytest.raises(UserError, match=rf"^{value} at step 21, token 2, dimension 3"):
            duplicates.labels(history, first_step=20)
        with pytest.raises(UserError, match=rf"^{value} at token 2, dimension 3"):
            duplicates.labels(history[1])
        with pytest.raises(UserError, match=rf"^{value} at axis 0 0, step 1, token 2, dimension 3"):
            duplicates.labels(history[None])


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.bool), "vectors are torch.bool, where bfloat16"),
        (torch.zeros(2, 3, dtype=torch.complex64), "vectors are torch.complex64"),
        (torch.zeros(3), r"shape \(3,\), where"),
        (torch.zeros(3, 0), r"shape \(3, 0\), where"),
    ],
)
def test_bad_input(vectors, message, bad_input):
    with pytest.raises(UserError, match=message):
        duplicates.labels(vectors)


def test_the_torch_formula_is_used_within_torch_only_alone(monkeypatch):
    calls, formula = [], duplicates._formula
    monkeypatch.setattr(duplicates, "_formula", lambda steps: calls.append(1) or formula(steps))
    duplicates.labels(torch.ones(2, 3))
    assert calls == []
    with backends.torch_only():
        duplicates.labels(torch.ones(2, 3))
    assert calls == [1]
