"""Euclidean matrices against float64, pair by pair; blocks, threads, order and backends against each other."""

import math
import os
import platform
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import backends
from blackholes.kernels.distances import euclidean_blocks, euclidean_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

BOUND, DEMANDED = 2.1e-6, 5e-6  # of the compiled loops, by their docstring; of all, by docs/definitions.md
SMALLEST, LARGEST = 2.0**-126, float(np.finfo(np.float32).max)
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SHAPES = [(1, 1), (2, 1), (7, 3), (33, 65), (130, 64), (150, 200)]


def oracle(vectors):
    """float64, a pair at a time; math.dist loses nothing to overflow or underflow."""
    rows = vectors.double().tolist()
    return np.array([[math.dist(u, v) for v in rows] for u in rows]).reshape(len(rows), len(rows))


def check(found, vectors, bound, expected=None):
    expected = oracle(vectors) if expected is None else expected
    found = found.numpy()
    assert found.dtype == np.float32
    assert np.array_equal(found, found.T)
    assert not np.signbit(found).any()
    equal = (vectors[:, None] == vectors[None]).all(-1).numpy()
    assert np.array_equal(found == 0, equal)
    beyond = expected > LARGEST * (1 + bound)
    assert np.isinf(found[beyond]).all()
    within = expected < LARGEST * (1 - bound)
    error = np.abs(found[within].astype(np.float64) - expected[within])
    limit = np.maximum(expected[within] * bound, np.where(expected[within] < 2 * SMALLEST, 2.0**-149, 0))
    assert (error <= limit).all(), (error / np.maximum(expected[within], 2.0**-149)).max()


def check_both(vectors, expected=None):
    expected = oracle(vectors) if expected is None else expected
    check(euclidean_matrix(vectors), vectors, BOUND, expected)
    with backends.torch_only():
        check(euclidean_matrix(vectors), vectors, DEMANDED, expected)


def test_the_comparator():
    vectors = torch.tensor([[0.0], [1.0], [1.0]])
    right = torch.tensor([[0.0, 1, 1], [1, 0, 0], [1, 0, 0]])
    check(right, vectors, 1e-6)
    for i, j, value in ((0, 1, 1.00001), (1, 2, 1e-30), (0, 1, 0.0), (1, 1, -0.0), (0, 2, math.inf)):
        wrong = right.clone()
        wrong[i, j] = wrong[j, i] = value
        with pytest.raises(AssertionError):
            check(wrong, vectors, 1e-6)
    lopsided = right.clone()
    lopsided[0, 1] = 1 + 2.0**-23
    with pytest.raises(AssertionError):
        check(lopsided, vectors, 1e-6)


@st.composite
def bit_patterns(draw):
    """Any finite bfloat16 values, in rows that are equal, one cell apart in a few places, or unrelated."""
    shape = draw(st.sampled_from(SHAPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    bits = torch.randint(0, 0x7F80, shape, generator=generator)
    low, high = sorted(draw(st.lists(st.integers(0, 0x7F7F), min_size=2, max_size=2)))
    bits = bits % (high - low + 1) + low  # exponents from all to one
    bits = bits | (torch.rand(shape, generator=generator) < draw(st.sampled_from([0, 0.5]))).int() << 15
    alike = draw(st.sampled_from([0.0, 0.5, 1.0]))
    for row in range(1, shape[0]):
        if torch.rand(1, generator=generator) < alike:
            bits[row] = bits[row - 1]
            moved = torch.randint(0, shape[1], (draw(st.integers(0, 2)),), generator=generator)
            bits[row, moved] ^= 1  # the last bit: one cell
    return bits.to(torch.int16).view(torch.bfloat16)


@settings(max_examples=35)
@given(bit_patterns())
def test_any_bfloat16(vectors):
    check_both(vectors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [2.0**-140, 1e-30, 1e-6, 1.0, 3e4, 1e18, 3e37])
@pytest.mark.parametrize("offset", [0, 1, 1000])
def test_scales_and_a_common_offset(dtype, scale, offset):
    draw = torch.Generator().manual_seed(1)
    vectors = ((torch.randn(60, 70, generator=draw) + offset).double() * scale).to(dtype)
    vectors = vectors.nan_to_num(posinf=1.0, neginf=-1.0)
    vectors[::7] = vectors[0].clone()
    check_both(vectors)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_cell_in_one_dimension(dtype):
    """Row k differs from row 0 by the last bit of dimension k alone, whatever its magnitude: the distance is exact."""
    draw = torch.Generator().manual_seed(2)
    smallest = torch.finfo(dtype).smallest_normal
    row = (torch.randn(300, generator=draw) * 10.0 ** torch.linspace(-40, 3, 300)).to(dtype)
    vectors = row.repeat(300, 1)
    bits = vectors.view(torch.int32 if dtype == torch.float32 else torch.int16)
    bits[range(1, 300), range(1, 300)] ^= 1
    found = euclidean_matrix(vectors)[0, 1:].double()
    step = (vectors.double()[range(1, 300), range(1, 300)] - row.double()[1:]).abs()
    assert step.min() < smallest
    assert torch.equal(found, step)
    with backends.torch_only():
        torch.testing.assert_close(euclidean_matrix(vectors)[0, 1:].double(), step, rtol=2.0**-23, atol=0)


@pytest.mark.parametrize("D", [64, 2560, 8192])
def test_squares_that_a_long_float32_sum_would_lose(D):
    """One large difference and many, each of whose squares is too small to change its square in float32."""
    vectors = torch.zeros(3, D)
    vectors[1, :], vectors[1, 0] = 2.0**-12 * 0.7, 1.0
    vectors[2, :], vectors[2, -1] = 2.0**-12 * 0.7, 1.0
    check_both(vectors)


def test_vectors_of_very_different_scales():
    """The largest sets the scale; the squares of the others' differences are far below float32's range then."""
    draw = torch.Generator().manual_seed(3)
    vectors = torch.randn(40, 20, generator=draw)
    vectors *= 10.0 ** torch.linspace(-42, 37, 40)[:, None]
    vectors[1::4] = vectors[::4].clone()
    check_both(vectors)
    check_both(vectors.bfloat16())


def test_squares_below_float32s_normal_numbers_are_not_trusted():
    """One large row sets the scale: squares of differences from 2**-10 to 2**39 become 0, subnormal, or normal."""
    draw = torch.Generator().manual_seed(6)
    scales = 2.0 ** torch.arange(-10, 40).repeat_interleave(2)
    vectors = torch.cat([torch.full((1, 20), 3e37), torch.randn(100, 20, generator=draw) * scales[:, None]])
    check_both(vectors)
    check_both(vectors.bfloat16())


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_magnitude_sets_the_scale_whatever_its_sign(sign):
    check_both(sign * torch.tensor([[1e30], [1e-5]]))


def test_minus_zero_is_zero():
    vectors = torch.tensor([[0.0, -0.0, 1.0], [-0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    assert not euclidean_matrix(vectors).any()
    check_both(vectors)


def planted(N=700, D=150, dtype=torch.bfloat16):
    """Holes, near misses around them, and tokens apart."""
    draw = torch.Generator().manual_seed(4)
    vectors = (torch.randn(N, D, generator=draw) * 0.02).to(dtype)
    vectors[100:160] = vectors[5].clone()
    vectors[300:340] = vectors[6].clone()
    near = vectors[150:160].view(torch.int16 if dtype != torch.float32 else torch.int32)
    near[range(10), range(10)] += 1
    return vectors


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("torch_only", [False, True])
def test_blocks_threads_order_and_strides_do_not_change_a_bit(dtype, torch_only):
    vectors = planted(N=350 if torch_only else 700, dtype=dtype)
    N, before = len(vectors), torch.get_num_threads()
    with backends.torch_only() if torch_only else nullcontext():
        whole = euclidean_matrix(vectors)
        for height in (100, 333) if torch_only else (1, 100, 127, 333, 4096):
            for out in (None, torch.full((N, N), math.nan)):
                rows = [(start, block.clone()) for start, block in euclidean_blocks(vectors, out, height=height)]
                assert [start for start, _ in rows] == list(range(0, N, height))
                assert torch.equal(torch.cat([block for _, block in rows]), whole)
        try:
            for threads in (1, 3, 8)[torch_only:]:
                torch.set_num_threads(threads)
                assert torch.equal(euclidean_matrix(vectors), whole)
        finally:
            torch.set_num_threads(before)
        assert torch.equal(euclidean_matrix(vectors.mT.contiguous().mT), whole)
        order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
        assert torch.equal(euclidean_matrix(vectors[order]), whole[order][:, order])
        assert torch.equal(euclidean_matrix(vectors[17:90]), whole[17:90, 17:90])


def test_blocks_are_complete_when_they_are_given():
    vectors = planted()
    whole, out = euclidean_matrix(vectors), torch.full((700, 700), math.nan)
    for start, rows in euclidean_blocks(vectors, out, height=99):
        assert rows.data_ptr() == out[start].data_ptr()
        assert torch.equal(out[: start + len(rows)], whole[: start + len(rows)])


def test_blocks_without_a_matrix_share_a_buffer():
    pointers = {rows.data_ptr() for _, rows in euclidean_blocks(planted(), height=64)}
    assert len(pointers) == 1


def test_out_is_filled_and_returned():
    vectors, out = planted(), torch.full((700, 700), math.nan)
    assert euclidean_matrix(vectors, out) is out
    assert torch.equal(out, euclidean_matrix(vectors))


def test_no_rows():
    assert euclidean_matrix(torch.empty(0, 3)).shape == (0, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("torch_only", [False, True])
def test_non_finite_is_refused(value, torch_only):
    vectors = torch.zeros(9, 5)
    vectors[7, 4] = value
    with backends.torch_only() if torch_only else nullcontext():
        for refuses in (euclidean_matrix, euclidean_blocks):
            with pytest.raises(UserError, match=rf"^{value} at token 7, dimension 4, where a finite number"):
                refuses(vectors)


@pytest.mark.parametrize(
    ("vectors", "out", "message"),
    [
        (torch.zeros(3, 4, dtype=torch.float64), None, "vectors are torch.float64, where bfloat16"),
        (torch.zeros(2, 3, 4), None, r"vectors have shape \(2, 3, 4\), where \(N, D\)"),
        (torch.zeros(3, 0), None, r"shape \(3, 0\)"),
        (torch.zeros(3, 4), torch.zeros(3, 4), r"out is float32 \(3, 4\) on cpu, where .*\(3, 3\)"),
        (torch.zeros(3, 4), torch.zeros(3, 3).double(), "out is float64"),
        (torch.zeros(3, 4), torch.zeros(3, 6)[:, ::2], "not contiguous"),
    ],
)
def test_bad_input(vectors, out, message, bad_input):
    with pytest.raises(UserError, match=message):
        euclidean_matrix(vectors, out)


def test_no_height():
    with pytest.raises(UserError, match="height is 0"):
        euclidean_blocks(torch.zeros(3, 4), height=0)


OTHER_PROCESSOR = """
import sys
import torch
from blackholes.kernels.distances import euclidean_matrix
torch.save(euclidean_matrix(torch.load(sys.argv[1])), sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="hardware is missing: not an x86 processor")
def test_processors_without_avx512(tmp_path):
    """Shorter vectors: the loops compiled for such a processor, which this one can run too, give the same bits."""
    random = torch.Generator().manual_seed(5)
    vectors = torch.randn(150, 200, generator=random).bfloat16()
    vectors[::3] = vectors[0]
    torch.save(vectors, tmp_path / "vectors")
    script = tmp_path / "script.py"
    script.write_text(OTHER_PROCESSOR)
    folder = str(Path(backends.__file__).parents[2])
    haswell = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+f16c", "PYTHONPATH": folder}
    subprocess.run(
        [sys.executable, str(script), str(tmp_path / "vectors"), str(tmp_path / "found")],
        env=os.environ | haswell,
        check=True,
    )
    found = torch.load(tmp_path / "found")
    check(found, vectors, BOUND)
    assert torch.equal(found, euclidean_matrix(vectors))  # a pair's sum has one order, whatever the vectors
