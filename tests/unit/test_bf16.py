"""All 65,536 bit patterns against integers and fractions."""

from fractions import Fraction

import pytest
import torch
from blackholes.errors import UserError
from blackholes.kernels import bf16

EVERY = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
FINITE = EVERY[EVERY.isfinite()]


def exact(pattern: int) -> Fraction:
    """Value of a bfloat16 bit pattern, from the definition of the format."""
    exponent, mantissa = pattern >> 7 & 0xFF, pattern & 0x7F
    magnitude = (
        Fraction(mantissa) * Fraction(2) ** -133
        if exponent == 0
        else Fraction(128 + mantissa) * Fraction(2) ** (exponent - 134)
    )
    return -magnitude if pattern >> 15 else magnitude


PATTERNS = [int(bits) & 0xFFFF for bits in FINITE.view(torch.int16).tolist()]
VALUES = [exact(pattern) for pattern in PATTERNS]


def test_oracle_reads_the_format():
    assert [Fraction(x) for x in FINITE.double().tolist()] == VALUES


def test_ulp_is_the_gap_to_the_next_value_away_from_zero():
    next_up = [
        exact((pattern & 0x7FFF) + 1) if pattern & 0x7FFF != 0x7F7F else Fraction(2) ** 128 for pattern in PATTERNS
    ]
    expected = [
        Fraction(2) ** -126 if value == 0 else following - abs(value)
        for value, following in zip(VALUES, next_up, strict=True)
    ]
    assert [Fraction(x) for x in bf16.ulp(FINITE).double().tolist()] == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (1.0, 2**-7),
        (-1.5, 2**-7),
        (255.0, 1.0),
        (256.0, 2.0),
        (-1e30, 2.0**92),
        (0.0, 2**-126),
        (-0.0, 2**-126),
        (2**-133, 2**-133),
    ],
)
def test_ulp_by_hand(x, expected):
    assert bf16.ulp(torch.tensor(x, dtype=torch.bfloat16)).item() == expected


def test_ordinal_numbers_the_values_without_a_gap():
    place = {value: i for i, value in enumerate(sorted(set(VALUES)))}
    zero = place[Fraction(0)]
    assert bf16.ordinal(FINITE).tolist() == [place[value] - zero for value in VALUES]


def test_shapes_and_dtypes():
    x = torch.zeros(2, 3, 4, dtype=torch.bfloat16).transpose(0, 2)
    assert bf16.ulp(x).shape == bf16.ordinal(x).shape == (4, 3, 2)
    assert (bf16.ulp(x).dtype, bf16.ordinal(x).dtype) == (torch.float32, torch.int32)
    assert bf16.ordinal(x[:0]).shape == (0, 3, 2)


@pytest.mark.parametrize("function", [bf16.ulp, bf16.ordinal])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_is_refused(function, value):
    x = torch.zeros(3, 4, 5, dtype=torch.bfloat16)
    x[1, 2, 3] = value
    with pytest.raises(UserError, match=f"{value} at step 1, token 2, dimension 3"):
        function(x)


@pytest.mark.parametrize("function", [bf16.ulp, bf16.ordinal])
def test_other_dtypes_are_refused(function, bad_input):
    with pytest.raises(UserError, match=r"float32, where torch\.bfloat16 is expected"):
        function(torch.zeros(3))
