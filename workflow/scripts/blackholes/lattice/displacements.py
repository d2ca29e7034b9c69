"""How far each coordinate of a history moves at each step, in cells and in ULP (row E), in bounded memory."""

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.histories import History, open_history
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError, about
from blackholes.kernels import bf16, lattice
from blackholes.lattice import integers, lifecycle, odd, overall, validation
from blackholes.lattice.integers import INTEGERS, Range
from blackholes.lattice.lifecycle import Lifecycle
from blackholes.lattice.output import BYTES, LargeFiles, Outputs
from blackholes.lattice.validation import Validation

STEP_COLUMNS = ("step", "tokens", "number", *overall.STATISTICS, "coordinates_moved", "exponent_crossings")
_LEAST = 50_000_000  # bytes that are always there: the smallest budget of the configuration
_PIECE = 512_000_000  # bytes in all buffers together: larger ones are no faster


def write(
    history: str,
    outputs: Outputs,
    key: str | None = None,
    dead_mask: str | None = None,
    keep: tuple[str, ...] = ("delta_ordinal", "delta_W_prime", "exponent_crossings"),
    dtype: str = "auto",
    token: int | None = None,
    seed: int = 42,
    metadata: dict[str, str] | None = None,
    budget_gb: float = 2.0,
    progress: Callable[..., None] = lambda done, total, more=dict: None,
) -> str:
    """Write displacements, norms, validation and lifecycle of a history. Returns a one-line summary.

    Row i of a tensor belongs to step i + 1, from snapshot i to snapshot i + 1. `delta_ordinal` is the motion in cells,
    exact, in the smallest integer type that holds it; statistics of motion are of this. `delta_W_prime` is ΔW′ rounded
    half to even, likewise: values that no integer type holds (mostly moves from an exact zero, whose ULP is 2**-126 by
    convention) are stored as the type's smallest value, which then means nothing else.
    The history is read once, or twice if a later piece needs a wider type than the first. The file of displacements is
    read back and checked before it gets its name.

    Args:
        key: of the history in the file (see `open_history`).
        dead_mask: safetensors file with `dead_mask` (V,); None: the history's own file, if it has one.
        keep: which of the large tensors to write: `delta_ordinal`, `delta_W_prime`, `exponent_crossings`, and `U`, the
            ULP of every snapshot.
        dtype: of `delta_W_prime`: `auto`, or an integer type that must hold every displacement.
        token: the token of raster.safetensors; None: the dead token with the smallest id, or token 0 if none is dead.
        seed: of the coordinates in odd_samples.csv.

    Raises:
        UserError: naming the history, step, token and dimension of a value that is not finite or does not fit
            `dtype`; a history of which one step alone needs more than the budget, and how much; a file that cannot be
            read or written; a failed cross-check (see `Validation` and `check_stored`).
    """
    with open_history(history, key) as source:
        if source.steps < 2:
            raise UserError(f"{history}: one snapshot; expected two or more")
        dead = _dead_mask(source, dead_mask)
        token = _token(source, dead, token)
        described = {**(metadata or {}), "rows": ROWS, "raster_token": str(token)}
        if dead is None:
            described["dead_mask"] = "unknown: tokens are not told apart"
        length = _length(source, keep, budget_gb)
        chosen = _first_guess(source, length)
        if dtype != "auto":
            chosen["delta_W_prime"] = dtype
        motion = None
        while motion is None:
            try:
                with LargeFiles(outputs, source, keep, chosen, dead, described) as files:
                    motion = _pass(source, files, length, dead, token, chosen, dtype != "auto", progress)
                    with files.stored() as file:
                        found = motion.validation.counts
                        checked = validation.check_stored(file, outputs.displacements, found, length)
            except _TooNarrow as error:
                chosen |= error.wider
        samples = list(odd.rows(source, motion.validation.by_step, seed))
    groups, found, total = _groups(dead, source.tokens), motion.validation.counts, motion.validation.transitions
    stored = {name: integer for name, integer in chosen.items() if name in keep}
    ranges = motion.validation.ranges()
    write_tensors(outputs.raster, {"delta_ordinal": motion.raster}, described)
    write_table(outputs.steps, list(STEP_COLUMNS), motion.steps)
    write_table(outputs.overall, list(overall.COLUMNS), overall.rows(outputs.norms, groups))
    write_table(outputs.validation, list(validation.COLUMNS), motion.validation.rows(stored, checked))
    write_table(outputs.integers, list(integers.COLUMNS), integers.rows(found, total, ranges, stored))
    write_table(outputs.samples, list(odd.COLUMNS), samples)
    status = ["unknown"] * source.tokens if dead is None else ["dead" if d else "live" for d in dead.tolist()]
    write_table(outputs.lifecycle, list(lifecycle.COLUMNS), motion.lifecycle.rows(status))
    write_table(outputs.medians, list(lifecycle.MEDIANS), motion.lifecycle.medians(groups))
    return _summary(motion, stored, dead)


ROWS = "row i: from snapshot i to i + 1; of U: snapshot i"


@dataclass
class Motion:
    """Results of one pass over a history."""

    validation: Validation
    lifecycle: Lifecycle
    raster: Tensor  # int32 (S - 1, D)
    steps: list[tuple]  # rows of displacement_per_step.csv


class _TooNarrow(Exception):
    """An integer type is too narrow: start again with `wider`, tensor → type."""

    def __init__(self, wider: dict[str, str]):
        super().__init__(wider)
        self.wider = wider


def _pass(
    source: History,
    files: LargeFiles,
    length: int,
    dead: Tensor | None,
    token: int,
    chosen: Mapping[str, str],
    forced: bool,
    progress: Callable[..., None],
) -> Motion:
    V, D = source.tokens, source.dimensions
    groups, kept = _groups(dead, V), [name for name in chosen if name in files.kept]
    raster = torch.empty((source.steps - 1, D), dtype=torch.int32)
    motion = Motion(Validation(), Lifecycle(V, D), raster, [])
    for start, snapshots in _pieces(source, length):
        n = len(snapshots) - 1
        buffers = files.buffers(n)
        outputs = [buffers.get(name) for name in ("delta_W_prime", "exponent_crossings", "U", "delta_ordinal")]
        with about(source.path):
            transitions = lattice.transitions(snapshots, *outputs, first_step=start)
            motion.validation.add(snapshots, transitions, start)
            ranges = motion.validation.ranges()
            if forced and "delta_W_prime" in kept and not _forced_fits(ranges["delta_W_prime"], chosen):
                _refuse_overflow(snapshots, start, chosen["delta_W_prime"])
        if any(not ranges[name].fits(chosen[name]) for name in kept):
            raise _TooNarrow(_needed(source, start + n, length, ranges, forced))
        files.append(buffers, transitions.norms)
        motion.lifecycle.add(transitions.norms)
        motion.steps += _step_rows(start, transitions, groups)
        motion.raster[start : start + n] = lattice.delta_ordinal(snapshots[:-1, token], snapshots[1:, token])
        progress(start + n, source.steps - 1)
    motion.validation.add_last(snapshots, start)
    if "U" in files.kept:
        files.append({"U": bf16.ulp(snapshots[-1:]).bfloat16()})
    return motion


def _forced_fits(range_: Range, chosen: Mapping[str, str]) -> bool:
    return range_.fits(chosen["delta_W_prime"]) and not range_.marked


def _pieces(source: History, length: int, first: int = 0) -> Iterator[tuple[int, Tensor]]:
    """(first step, snapshots of that step and of the `length` steps after it), read one piece ahead.

    Neighbouring pieces share a snapshot.
    """
    starts = range(first, source.steps - 1, length)
    with ThreadPoolExecutor(1) as background:
        waiting: tuple[int, Future] | None = None
        for start in [*starts, None]:
            ready = waiting
            if start is not None:
                stop = min(start + length, source.steps - 1) + 1
                waiting = (start, background.submit(source.rows, start, stop))
            if ready:
                yield ready[0], ready[1].result()


def _length(source: History, keep: tuple[str, ...], budget_gb: float) -> int:
    """Steps per piece, so that two pieces with two sets of output buffers take a quarter of the budget.

    Raises:
        UserError: one step a piece takes more than the budget, and than the smallest that can be configured.
    """
    buffers, coordinates = 2 * sum(BYTES[name] for name in keep), source.tokens * source.dimensions
    least = (4 * 2 + buffers) * coordinates  # of a step, two snapshots; the next two are read meanwhile
    if least > max(budget_gb * 1e9, _LEAST):
        raise UserError(
            f"{source.path}: memory_budget_gb: {budget_gb:g} is too small for snapshots of {source.tokens:,} × "
            f"{source.dimensions:,}; expected {math.ceil(least / 1e7) / 100:g} or more"
        )
    room = min(_PIECE, budget_gb * 1e9 / 4)
    return max(1, int(room / ((4 + buffers) * coordinates)))


def _first_guess(source: History, length: int) -> dict[str, str]:
    """The types that the first piece needs; tokens move most there, so they are seldom too narrow for the rest."""
    snapshots = source.rows(0, min(length, source.steps - 1) + 1)
    with about(source.path):
        first = Validation()
        first.add(snapshots, lattice.transitions(snapshots), 0)
    return {name: range_.smallest() for name, range_ in first.ranges().items()}


def _needed(source: History, first: int, length: int, ranges: dict[str, Range], forced: bool) -> dict[str, str]:
    """The types that hold the motion so far (`ranges`) and that of the steps from `first` on."""
    for start, snapshots in _pieces(source, length, first):
        with about(source.path):
            rest = Validation()
            rest.add(snapshots, lattice.transitions(snapshots, first_step=start), start)
        ranges = {name: range_.with_(rest.ranges()[name]) for name, range_ in ranges.items()}
    return {name: range_.smallest() for name, range_ in ranges.items() if not (forced and name == "delta_W_prime")}


def _refuse_overflow(snapshots: Tensor, first_step: int, integer: str) -> None:
    """Raise UserError for the first displacement that a configured type does not hold."""
    limits = torch.iinfo(INTEGERS[integer])
    for index in range(len(snapshots) - 1):
        delta = lattice.displacement(snapshots[index], snapshots[index + 1])
        whole = delta.double().round()
        outside = (whole < limits.min) | (whole > limits.max) | (delta.abs() >= lattice.BEYOND_INT)
        if outside.any():
            token, dimension = outside.nonzero()[0].tolist()
            raise UserError(
                f"displacement {delta[token, dimension].item():g} at step {first_step + index + 1}, token {token}, "
                f"dimension {dimension} does not fit {integer}; expected a wider dtype, or auto"
            )


def _groups(dead: Tensor | None, tokens: int) -> dict[str, Bool[Tensor, "V"]]:
    """Dead and live tokens, or all if that is not known."""
    if dead is None:
        return {"all": torch.ones(tokens, dtype=torch.bool)}
    return {name: mask for name, mask in (("dead", dead), ("live", ~dead)) if mask.any()}


def _step_rows(start: int, transitions: lattice.Transitions, groups: dict[str, Tensor]) -> list[tuple]:
    """Rows of STEP_COLUMNS for every step and group: statistics of the L2 norms of `delta_ordinal`."""
    norms, rows = transitions.norms[lattice.NORMS.index("L2")], {}
    for name, mask in groups.items():
        statistics = overall.of_step(norms[:, mask].numpy())
        numbers = zip(
            transitions.moved[:, mask].sum(1).tolist(), transitions.crossed[:, mask].sum(1).tolist(), strict=True
        )
        rows[name] = [(int(mask.sum()), *row, *counts) for row, counts in zip(statistics, numbers, strict=True)]
    steps = range(transitions.norms.shape[1])
    return [(start + step + 1, name, *group[step]) for step in steps for name, group in rows.items()]


def _dead_mask(source: History, file: str | None) -> Bool[Tensor, "V"] | None:
    if file is None:
        return source.dead_mask
    with open_tensors(file) as tensors:
        tensors.expect("dead_mask", torch.bool, (source.tokens,))
        return tensors.rows("dead_mask")


def _token(source: History, dead: Tensor | None, token: int | None) -> int:
    if token is None:
        return int(dead.int().argmax()) if dead is not None else 0
    if token >= source.tokens:
        raise UserError(f"{source.path}: token: {token} is not allowed; expected 0 to {source.tokens - 1}")
    return token


def _summary(motion: Motion, stored: Mapping[str, str], dead: Tensor | None) -> str:
    counts, total = motion.validation.counts, motion.validation.transitions
    tokens = "dead tokens unknown" if dead is None else f"{int(dead.sum()):,} of {len(dead):,} tokens dead"
    types = ", ".join(f"{name} as {integer}" for name, integer in stored.items()) or "no displacements stored"
    return (
        f"{total:,} transitions ({types}); {counts['moved']:,} moved, {counts['crossings']:,} exponent crossings; "
        f"of ΔW′ {counts['non_integer']:,} not integers, {counts['rounded_to_0']:,} rounded to 0, "
        f"{counts['beyond_int']:,} beyond every integer type; {tokens}"
    )
