"""Chebyshev matrices against a triple loop and SciPy; chunks, threads and backends against each other, bit for bit."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import backends, bf16, distances
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

SHAPES = [(2, 1, 1), (3, 2, 7), (2, 3, 8), (2, 17, 65), (1, 129, 9), (5, 16, 64)]
# ties, both zeros, subnormals of every dtype, huge values whose difference overflows float32
SPECIAL = [0.0, -0.0, 1.0, -1.0, 1.0078125, 2.0**-133, -(2.0**-133), 2.0**-149, 2.0**-24, 6e4, -6e4, 3.3e38, -3.3e38]


@contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    yield
    torch.set_num_threads(before)


def same_bits(a, b) -> bool:
    """Equal in dtype, shape and every bit: unlike torch.equal, tells -0 from 0 and takes NaN to equal itself."""
    bits = {torch.float32: torch.int32, torch.int32: torch.int32}
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(bits[a.dtype]), b.view(bits[b.dtype]))


def test_the_comparator():
    x = torch.tensor([0.0, float("nan"), 1.0])
    assert same_bits(x, x.clone())
    assert not same_bits(x, torch.tensor([-0.0, float("nan"), 1.0]))
    assert not same_bits(x, torch.tensor([0.0, float("nan"), np.nextafter(np.float32(1), np.float32(2))]))
    assert not same_bits(x, x[None])
    assert not same_bits(x, x.view(torch.int32))


def triple_loop(history):
    S, V, _ = history.shape
    out = torch.empty(S, V, V)
    for s in range(S):
        for i in range(V):
            for j in range(V):
                out[s, i, j] = (history[s, i].float() - history[s, j].float()).abs().max()
    return out


def triple_loop_cells(history):
    S, V, _ = history.shape
    place = [[[bf16.ordinal(x).item() for x in row] for row in step] for step in history]
    largest = lambda u, v: max(abs(a - b) for a, b in zip(u, v, strict=True))  # noqa: E731
    out = [[[largest(place[s][i], place[s][j]) for j in range(V)] for i in range(V)] for s in range(S)]
    return torch.tensor(out, dtype=torch.int32)


@st.composite
def histories(draw, dtypes=(torch.bfloat16, torch.float16, torch.float32)):
    shape = draw(st.sampled_from(SHAPES))
    dtype = draw(st.sampled_from(dtypes))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    history = torch.randn(shape, generator=generator) * draw(st.sampled_from([1e-40, 1e-3, 1.0, 1e4]))
    special = torch.tensor(SPECIAL)[torch.randint(len(SPECIAL), shape, generator=generator)]
    history = torch.where(torch.rand(shape, generator=generator) < draw(st.sampled_from([0, 0.3, 1])), special, history)
    history[:, 1::3] = history[:, :1]  # equal rows
    return history.to(dtype).nan_to_num(posinf=1.0, neginf=-1.0)  # float16 cannot hold the huge ones


@settings(max_examples=40)
@given(histories())
def test_chebyshev_equals_the_obvious_formula(history):
    found = distances.chebyshev_matrices(history)
    expected = (history.float()[:, :, None] - history.float()[:, None]).abs().amax(-1)
    assert same_bits(found, expected)
    assert same_bits(found, found.mT.contiguous())
    assert found.diagonal(dim1=1, dim2=2).count_nonzero() == 0
    with backends.torch_only():
        assert same_bits(distances.chebyshev_matrices(history), found)


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_chebyshev_equals_a_triple_loop(shape):
    history = torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    assert same_bits(distances.chebyshev_matrices(history), triple_loop(history))


@pytest.mark.parametrize("V", [2, 3, 17, 128, 129])
def test_chebyshev_equals_scipy(V):
    # small integers: their differences are exact in float32 and in SciPy's float64
    history = torch.randint(-100, 100, (3, V, 65), generator=torch.Generator().manual_seed(V)).bfloat16()
    expected = np.stack([squareform(pdist(step, "chebyshev")) for step in history.double().numpy()])
    assert np.array_equal(distances.chebyshev_matrices(history).numpy(), expected)


@settings(max_examples=25)
@given(histories(dtypes=(torch.bfloat16,)))
def test_cells_equal_the_obvious_formula(history):
    found = distances.cell_matrices(history)
    place = bf16.ordinal(history)
    assert same_bits(found, (place[:, :, None] - place[:, None]).abs().amax(-1))
    with backends.torch_only():
        assert same_bits(distances.cell_matrices(history), found)


def test_cells_equal_a_triple_loop_and_reach_the_ends():
    history = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(2)).bfloat16()
    history[0, 0, 0], history[0, 1, 0] = torch.finfo(torch.bfloat16).max, torch.finfo(torch.bfloat16).min
    found = distances.cell_matrices(history)
    assert same_bits(found, triple_loop_cells(history))
    assert found[0, 0, 1] == 2 * 32_639
    one = torch.tensor([[1.0], [1.0 - 2.0**-8], [0.0], [-0.0]]).bfloat16()
    assert distances.cell_matrices(one)[0, 1] == 1
    assert distances.cell_matrices(one)[2, 3] == 0


@pytest.mark.parametrize("dtype", distances.FLOATS)
@pytest.mark.parametrize("torch_only", [False, True])
def test_chunks_threads_and_strides_do_not_change_a_bit(dtype, torch_only):
    history = torch.randn(23, 33, 19, generator=torch.Generator().manual_seed(3)).to(dtype)
    measures = [distances.chebyshev_matrices]
    if dtype == torch.bfloat16:
        measures.append(distances.cell_matrices)
    with backends.torch_only() if torch_only else nullcontext():
        for measure in measures:
            whole = measure(history)
            for length in (1, 4, 22):
                parts = [measure(history[start : start + length]) for start in range(0, 23, length)]
                assert same_bits(torch.cat(parts), whole)
            for n in (1, 2, 3, 8):
                with threads(n):
                    assert same_bits(measure(history), whole)
            for strided in (
                history.mT.contiguous().mT,
                history.repeat_interleave(2, 0)[::2],
                history[:, :, None][:, :, 0],
            ):
                assert same_bits(measure(strided), whole)
            assert same_bits(measure(history[4]), whole[4])


def test_torch_formula_in_many_blocks(monkeypatch):
    history = torch.randn(5, 17, 9, generator=torch.Generator().manual_seed(4)).bfloat16()
    whole = distances.chebyshev_matrices(history)
    monkeypatch.setattr(backends, "block_length", lambda *_: 2)
    with backends.torch_only():
        assert same_bits(distances.chebyshev_matrices(history), whole)


def test_out_is_filled_and_returned():
    history = torch.randn(4, 5, 6).bfloat16()
    buffer = torch.full((6, 5, 5), float("nan"))
    assert distances.chebyshev_matrices(history, out=buffer[1:5]).data_ptr() == buffer[1:5].data_ptr()
    assert same_bits(buffer[1:5], distances.chebyshev_matrices(history))
    assert buffer[[0, 5]].isnan().all()
    cells = torch.empty(4, 5, 5, dtype=torch.int32)
    assert distances.cell_matrices(history, out=cells) is cells


def test_no_steps():
    assert distances.chebyshev_matrices(torch.empty(0, 3, 2)).shape == (0, 3, 3)


def test_differences_beyond_float32_are_infinite():
    huge = torch.tensor([[3.3e38], [-3.3e38]]).bfloat16()
    assert distances.chebyshev_matrices(huge)[0, 1] == float("inf")


@pytest.mark.parametrize("torch_only", [False, True])
@pytest.mark.parametrize("dtype", distances.FLOATS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_is_refused(dtype, value, torch_only):
    history = torch.zeros(9, 5, 6, dtype=dtype)
    history[7, 4, 5] = value
    history[8, 0, 0] = value
    measures = [distances.chebyshev_matrices] + [distances.cell_matrices] * (dtype == torch.bfloat16)
    with backends.torch_only() if torch_only else nullcontext():
        for measure in measures:
            with pytest.raises(UserError, match=rf"^{value} at step 7, token 4, dimension 5, where a finite"):
                measure(history)
            with pytest.raises(UserError, match="step 107"):
                measure(history, first_step=100)
            with pytest.raises(UserError, match=rf"^{value} at token 4, dimension 5"):
                measure(history[7])


@pytest.mark.parametrize(
    ("history", "out", "message"),
    [
        (torch.zeros(2, 3, 4, dtype=torch.float64), None, "history is torch.float64"),
        (torch.zeros(2, 3, 4, dtype=torch.int16), None, "history is torch.int16"),
        (torch.zeros(3), None, r"shape \(3,\), where \(S, V, D\)"),
        (torch.zeros(1, 2, 3, 4), None, "where .S, V, D. is expected"),
        (torch.zeros(2, 3, 0), None, "without a dimension"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), r"out is float32 \(2, 3, 4\) on cpu, where .*\(2, 3, 3\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 3).double(), "out is float64"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 3, device="meta"), "on meta, where .* on cpu"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3, 6)[:, :, ::2], "not contiguous"),
    ],
)
def test_bad_input(history, out, message, bad_input):
    with pytest.raises(UserError, match=message):
        distances.chebyshev_matrices(history, out)


def test_cells_are_of_bfloat16(bad_input):
    with pytest.raises(UserError, match=r"history is torch\.float32, where torch\.bfloat16"):
        distances.cell_matrices(torch.zeros(2, 3, 4))


def test_compiled_loops_serve_the_cpu():
    """Otherwise the tests above would compare the formula with itself."""
    assert backends.compiled(torch.zeros(1))
    with backends.torch_only():
        assert not backends.compiled(torch.zeros(1))
    assert not backends.compiled(torch.zeros(1, device="meta"))
