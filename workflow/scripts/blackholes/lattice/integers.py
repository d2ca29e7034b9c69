"""The integer types in which motion is stored (row E): which type holds what, and how many values fit each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

INTEGERS = {"int8": torch.int8, "int16": torch.int16, "int32": torch.int32, "int64": torch.int64}
TENSORS = ("delta_ordinal", "delta_W_prime")
COLUMNS = ("tensor", "type", "values_that_fit", "percent", "others", "gigabytes", "recommended", "stored")


@dataclass
class Range:
    """The smallest and the largest integer to store; `marked`: the type's own smallest value must stay free."""

    low: int
    high: int
    marked: bool = False

    def fits(self, integer: str) -> bool:
        limits = torch.iinfo(INTEGERS[integer])
        return limits.min + self.marked <= self.low and self.high <= limits.max

    def with_(self, other: "Range") -> "Range":
        return Range(min(self.low, other.low), max(self.high, other.high), self.marked or other.marked)

    def smallest(self) -> str:
        """The smallest type that holds the range."""
        return next(name for name in INTEGERS if name == "int64" or self.fits(name))


def rows(
    counts: Mapping[str, int], total: int, ranges: Mapping[str, Range], stored: Mapping[str, str]
) -> Iterator[tuple]:
    """Rows of COLUMNS: of each tensor and type, how many of `total` values fit.

    Args:
        counts: as kernels.lattice.COUNTS; a rounded ΔW′ of 2⁶³ or more fits none.
        ranges: tensor → its range; `recommended` is the smallest type that holds all values but those that none holds.
        stored: tensor → the type it is stored in; tensors that are not kept are missing.
    """
    for tensor, prefix in zip(TENSORS, ("ordinal_", ""), strict=True):
        held = total - (0 if prefix else counts["beyond_int"])
        for name, dtype in INTEGERS.items():
            fit = counts.get(f"{prefix}fit_{name}", held)
            size = total * dtype.itemsize / 1e9
            marks = ["yes" if name == one else "" for one in (ranges[tensor].smallest(), stored.get(tensor))]
            yield tensor, name, fit, 100 * fit / total, total - fit, size, *marks
