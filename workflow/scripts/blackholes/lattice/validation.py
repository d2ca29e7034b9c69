"""Validation of lattice displacements (row E): counts of each kind, an example of each unusual one, cross-checks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import BFloat16
from torch import Tensor

from blackholes.artifacts.tensors import TensorReader
from blackholes.errors import UserError
from blackholes.kernels import lattice
from blackholes.kernels.lattice import ALMOST, BEYOND_FLOAT, BEYOND_INT, COUNTS, EXTREMES, Transitions
from blackholes.lattice.integers import Range

PLACE = ("step", "token", "dimension", "before", "after", "delta_ordinal", "delta_W_prime")
COLUMNS = ("kind", "count", "value", *PLACE)
FAULTS = {
    "crossings_unmoved": "exponent crossings without a displacement",
    "changes_unmoved": "changed values without a displacement",
    "equal_moved": "displacements between equal bits",
}
_BLOCK = 1 << 16  # coordinates whose motion is computed at once when examples are looked for
CROSSING, CELLS = "exponent_crossings", "delta_ordinal"  # tensors of the stored file that are compared


@dataclass
class Moved:
    """Coordinates of one step (V, D), for the masks below."""

    before: Tensor
    after: Tensor
    cells: Tensor  # delta_ordinal
    delta: Tensor  # ΔW′

    @property
    def fraction(self) -> Tensor:
        return (self.delta - self.delta.round()).abs()


UNUSUAL: dict[str, Callable[[Moved], Tensor]] = {  # kind → mask of the coordinates of that kind
    "almost_integer": lambda m: (m.fraction > 0) & (m.fraction < ALMOST),
    "half": lambda m: m.fraction == 0.5,
    "other_non_integer": lambda m: (m.fraction >= ALMOST) & (m.fraction != 0.5),
    "rounded_to_0": lambda m: (m.delta.round() == 0) & (m.cells != 0),
    "beyond_float": lambda m: m.delta.abs() > BEYOND_FLOAT,
    "beyond_int": lambda m: m.delta.abs() >= BEYOND_INT,
    "zeros": lambda m: m.before == 0,
    "sign_changes": lambda m: m.before.sign() * m.after.sign() < 0,
    "crossings": lambda m: lattice.exponent_crossings(m.before, m.after),
}
ROWS = {  # count → its row in the table
    "moved": "moved",
    "almost_integer": "almost_integer",
    "half": "half",
    "other_non_integer": "other_non_integer",
    "rounded_to_0": "moved_but_stored_as_0_in_delta_W_prime",
    "beyond_float": "beyond_2**24",
    "beyond_int": "beyond_int64",
    "zeros": "zeros_in_W",
    "sign_changes": "with_sign_change",
    "crossings": "with_exponent_crossing",
    "crossings_unmoved": "crossing_without_displacement",
    "changes_unmoved": "change_without_displacement",
    "equal_moved": "displacement_with_equal_bits",
}
LIMITS = {  # extreme → its row in the table; those with a sample, then those without
    **{"min": "minimum_delta_W_prime", "max": "maximum_delta_W_prime"},
    **{"min_ordinal": "minimum_delta_ordinal", "max_ordinal": "maximum_delta_ordinal"},
    **{"min_ulp": "min_ulp", "max_ulp": "max_ulp"},
}


@dataclass
class Validation:
    """Counts and extremes of all steps so far, and the first coordinate of each unusual kind."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*COUNTS, "other_non_integer"), 0))
    extremes: dict[str, float] = field(default_factory=dict)
    transitions: int = 0
    samples: dict[str, tuple] = field(default_factory=dict)
    by_step: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in UNUSUAL})

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
            if kind in UNUSUAL:
                self.by_step[kind] += steps.tolist()
                if kind not in self.samples and steps.any():
                    self.samples[kind] = _first(snapshots, first_step, int(steps.nonzero()[0]), UNUSUAL[kind])
        for column, name in enumerate(EXTREMES):
            values = transitions.extremes[:, column]
            step = int(values.argmin() if name.startswith("min") else values.argmax())
            value, old = float(values[step]), self.extremes.get(name)
            if old is None or (value < old if name.startswith("min") else value > old):
                self.extremes[name] = value
                if name in ("min", "max"):
                    self.samples[name] = _first(snapshots, first_step, step, lambda m: m.delta == value)
                if name in ("min_ordinal", "max_ordinal"):
                    self.samples[name] = _first(snapshots, first_step, step, lambda m: m.cells == value)
        self.transitions += snapshots[1:].numel()

    def add_last(self, snapshots: BFloat16[Tensor, "s1 V D"], first_step: int) -> None:
        """Count the zeros of the history's last snapshot: `add` counts only those of each step's first snapshot."""
        zeros = int((snapshots[-1] == 0).sum())
        self.counts["zeros"] += zeros
        if zeros and "zeros" not in self.samples:
            self.samples["zeros"] = _first(snapshots, first_step, len(snapshots) - 2, lambda m: m.after == 0)

    def ranges(self) -> dict[str, Range]:
        """What an integer type has to hold, of each tensor of motion."""
        held = {name: int(value) for name, value in self.extremes.items() if "held" in name or "ordinal" in name}
        return {
            "delta_ordinal": Range(held["min_ordinal"], held["max_ordinal"]),
            "delta_W_prime": Range(held["min_held"], held["max_held"], self.counts["beyond_int"] > 0),
        }

    def rows(self, stored_as: Mapping[str, str], checked: bool) -> Iterator[tuple]:
        """Rows of COLUMNS: each kind, its count or value, and the first coordinate of that kind.

        Args:
            stored_as: tensor → integer type.
            checked: whether `check_stored` compared the stored crossings with the stored motion, and found no fault.
        """
        nowhere = ("",) * len(PLACE)
        yield "transitions", self.transitions, "", *nowhere
        for kind, row in ROWS.items():
            yield row, self.counts[kind], "", *self.samples.get(kind, nowhere)
            if kind == "moved":
                yield "exact_integer", self.transitions - self.counts["non_integer"], "", *nowhere
            if kind == "crossings":
                yield "without_exponent_crossing", self.transitions - self.counts[kind], "", *nowhere
        number, words = (0, "") if checked else ("", "not both stored")
        yield "stored_crossing_with_stored_delta_ordinal_0", number, words, *nowhere
        for name, row in LIMITS.items():
            yield row, "", self.extremes[name], *self.samples.get(name, nowhere)
        for name, integer in stored_as.items():
            yield f"{name}_stored_as", "", integer, *nowhere


def check_stored(file: TensorReader, name: str, counts: Mapping[str, int], length: int) -> bool:
    """Read the stored motion, `length` steps at a time, and compare it with the stored exponent crossings.

    Returns whether both `delta_ordinal` and `exponent_crossings` are in the file; what is there is checked.

    Args:
        name: what errors call the file.
        counts: `moved` and `crossings`, the numbers of coordinates, as they were computed.

    Raises:
        UserError: a stored crossing beside a stored 0 of `delta_ordinal`, naming the first; or another number of
            coordinates that moved or crossed than was computed.
    """
    kept = [key for key in (CROSSING, CELLS) if key in file.keys()]  # noqa: SIM118 - a reader, not a dict
    found = dict.fromkeys(kept, 0)
    for start in range(0, file.shape(kept[0])[0] if kept else 0, length):
        marks = {key: file.rows(key, start, start + length) != 0 for key in kept}
        for key, mark in marks.items():
            found[key] += int(mark.sum())
        if len(kept) == 2 and (bad := marks[CROSSING] & ~marks[CELLS]).any():
            first = bad.flatten().to(torch.uint8).argmax()  # argmax gives the first of equals
            step, token, dimension = (int(index) for index in torch.unravel_index(first, bad.shape))
            raise UserError(
                f"{name}: cross-check of the stored file failed: an exponent crossing is stored beside a delta_ordinal "
                f"of 0 at step {start + step + 1}, token {token}, dimension {dimension}; the file is not what was "
                "computed, so memory, disk or libraries are at fault"
            )
    for key, kind, words in ((CROSSING, "crossings", "crossings"), (CELLS, "moved", "coordinates that moved")):
        if found.get(key, counts[kind]) != counts[kind]:
            raise UserError(
                f"{name}: cross-check of the stored file failed: {key} has {found[key]:,} {words}, where "
                f"{counts[kind]:,} were computed, so memory, disk or libraries are at fault"
            )
    return len(kept) == 2


def motion(before: Tensor, after: Tensor) -> Moved:
    return Moved(before, after, lattice.delta_ordinal(before, after), lattice.displacement(before, after))


def in_blocks(before: Tensor, after: Tensor) -> Iterator[tuple[int, Moved]]:
    """(first token, motion of some tokens) of one step (V, D), so that what is computed of them stays small."""
    tokens = max(1, _BLOCK // before.shape[1])
    for start in range(0, len(before), tokens):
        yield start, motion(before[start : start + tokens], after[start : start + tokens])


def place(step: int, start: int, index: tuple[int, int], moved: Moved) -> tuple:
    """Values of PLACE at (token, dimension) of a block that begins with token `start`."""
    values = (each[index].item() for each in (moved.before, moved.after, moved.cells, moved.delta))
    return step, start + index[0], index[1], *values


def _first(snapshots: Tensor, first_step: int, index: int, mask: Callable[[Moved], Tensor]) -> tuple:
    """PLACE of the first coordinate in the mask at the piece's step `index`."""
    for start, moved in in_blocks(snapshots[index], snapshots[index + 1]):
        if len(places := mask(moved).nonzero()):
            return place(first_step + index + 1, start, tuple(places[0].tolist()), moved)
    raise AssertionError("no coordinate of the step is in the mask")
