"""Validation of lattice displacements (row E): counts of each kind, an example of each unusual one, cross-checks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from jaxtyping import BFloat16
from torch import Tensor

from blackholes.errors import UserError
from blackholes.kernels import lattice
from blackholes.kernels.lattice import ALMOST, BEYOND_FLOAT, BEYOND_INT, COUNTS, EXTREMES, Transitions

COLUMNS = ("kind", "count", "value", "step", "token", "dimension", "before", "after", "delta_W_prime")
FAULTS = {
    "crossings_unmoved": "exponent crossings without a displacement",
    "changes_unmoved": "changed values without a displacement",
    "equal_moved": "displacements between equal bits",
}


def _fraction(delta: Tensor) -> Tensor:
    return (delta - delta.round()).abs()


UNUSUAL: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {  # kind → mask of the coordinates of that kind
    "almost_integer": lambda before, after, delta: (_fraction(delta) > 0) & (_fraction(delta) < ALMOST),
    "half": lambda before, after, delta: _fraction(delta) == 0.5,
    "other_non_integer": lambda before, after, delta: (_fraction(delta) >= ALMOST) & (_fraction(delta) != 0.5),
    "beyond_float": lambda before, after, delta: delta.abs() > BEYOND_FLOAT,
    "beyond_int": lambda before, after, delta: delta.abs() >= BEYOND_INT,
    "zeros": lambda before, after, delta: before == 0,
    "crossings": lambda before, after, delta: lattice.exponent_crossings(before, after),
}


@dataclass
class Validation:
    """Counts and extremes of all steps so far, and the first coordinate of each unusual kind."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*COUNTS, "other_non_integer"), 0))
    extremes: dict[str, float] = field(default_factory=dict)
    transitions: int = 0
    samples: dict[str, tuple] = field(default_factory=dict)

    def add(self, snapshots: BFloat16[Tensor, "s1 V D"], transitions: Transitions, first_step: int) -> None:
        """Add the next piece. Raises UserError if a cross-check shows that the displacements are wrong."""
        counts = dict(zip(COUNTS, transitions.counts.T, strict=True))
        for kind, fault in FAULTS.items():
            if counts[kind].any():
                step = int(counts[kind].nonzero()[0])
                number = int(counts[kind][step])
                raise UserError(
                    f"cross-check failed at step {first_step + step + 1}: {number:,} {fault}; this is impossible in "
                    "bfloat16, so the machine or its libraries compute wrongly"
                )
        counts["other_non_integer"] = counts["non_integer"] - counts["almost_integer"] - counts["half"]
        for kind, steps in counts.items():
            self.counts[kind] += int(steps.sum())
            if kind in UNUSUAL and kind not in self.samples and steps.any():
                self.samples[kind] = _first(snapshots, first_step, int(steps.nonzero()[0]), UNUSUAL[kind])
        for column, name in enumerate(EXTREMES):
            values = transitions.extremes[:, column]
            step = int(values.argmin() if name.startswith("min") else values.argmax())
            value, old = float(values[step]), self.extremes.get(name)
            if old is None or (value < old if name.startswith("min") else value > old):
                self.extremes[name] = value
                if name in ("min", "max"):
                    self.samples[name] = _first(snapshots, first_step, step, lambda b, a, delta: delta == value)
        self.transitions += snapshots[1:].numel()

    def add_last(self, snapshots: BFloat16[Tensor, "s1 V D"], first_step: int) -> None:
        """Count the zeros of the history's last snapshot: `add` counts only those of each step's first snapshot."""
        zeros = int((snapshots[-1] == 0).sum())
        self.counts["zeros"] += zeros
        if zeros and "zeros" not in self.samples:
            self.samples["zeros"] = _first(snapshots, first_step, len(snapshots) - 2, lambda b, after, d: after == 0)

    def rows(self, stored_as: str) -> Iterator[tuple]:
        """Rows of COLUMNS: each kind, its count or value, and the first coordinate of that kind."""
        counts = self.counts
        values = {
            "transitions": self.transitions,
            "exact_integer": self.transitions - counts["non_integer"],
            **{kind: counts[kind] for kind in ("almost_integer", "half", "other_non_integer")},
            "beyond_2**24": counts["beyond_float"],
            "beyond_int64": counts["beyond_int"],
            "zeros_in_W": counts["zeros"],
            "with_exponent_crossing": counts["crossings"],
            "without_exponent_crossing": self.transitions - counts["crossings"],
            "crossing_without_displacement": counts["crossings_unmoved"],
            "change_without_displacement": counts["changes_unmoved"],
            "displacement_with_equal_bits": counts["equal_moved"],
        }
        sampled = {"beyond_2**24": "beyond_float", "beyond_int64": "beyond_int", "zeros_in_W": "zeros"}
        sampled["with_exponent_crossing"] = "crossings"
        nowhere = ("",) * 6
        for kind, count in values.items():
            yield kind, count, "", *self.samples.get(sampled.get(kind, kind), nowhere)
        for name, kind in (("min", "minimum"), ("max", "maximum")):
            yield kind, "", self.extremes[name], *self.samples[name]
        for name in ("min_ulp", "max_ulp"):
            yield name, "", self.extremes[name], *nowhere
        yield "stored_as", "", stored_as, *nowhere


def _first(snapshots: Tensor, first_step: int, index: int, mask: Callable) -> tuple:
    """(step, token, dimension, before, after, ΔW′) of the first coordinate in the mask at the piece's step `index`."""
    before, after = snapshots[index], snapshots[index + 1]
    delta = lattice.displacement(before, after)
    token, dimension = mask(before, after, delta).nonzero()[0].tolist()
    values = (value[token, dimension].item() for value in (before, after, delta))
    return first_step + index + 1, token, dimension, *values
