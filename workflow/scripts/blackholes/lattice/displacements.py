"""How far each coordinate of a history moves at each step, in ULP (row E), in bounded memory."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.histories import History, open_history
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError, about
from blackholes.kernels import lattice
from blackholes.lattice import lifecycle, validation
from blackholes.lattice.lifecycle import Lifecycle
from blackholes.lattice.output import INTEGERS, LargeFiles, Outputs
from blackholes.lattice.validation import Validation

PERCENTILES = ("50", "90", "95", "99", "99.9")  # of the tokens' L2 norms
STEP_COLUMNS = ("step", "tokens", "number", *(f"percentile_{p}" for p in PERCENTILES), "exponent_crossings")
_PIECE = 512_000_000  # bytes in all buffers together: larger ones are no faster


def write(
    history: str,
    outputs: Outputs,
    key: str | None = None,
    dead_mask: str | None = None,
    keep: tuple[str, ...] = ("delta_W_prime", "exponent_crossings"),
    dtype: str = "auto",
    token: int | None = None,
    metadata: dict[str, str] | None = None,
    budget_gb: float = 2.0,
    progress: Callable[..., None] = lambda done, total, more=dict: None,
) -> str:
    """Write displacements, norms, validation and lifecycle of a history. Returns a one-line summary.

    Row i of a tensor belongs to step i + 1, from snapshot i to snapshot i + 1. `delta_W_prime` is ΔW′ rounded half to
    even, in the smallest integer type that holds it. Values that no integer type holds (mostly moves from an exact
    zero, whose ULP is 2**-126 by convention) are stored as the type's smallest value, which then means nothing else.
    The history is read once, or twice if a later piece needs a wider type than the first.

    Args:
        key: of the history in the file (see `open_history`).
        dead_mask: safetensors file with `dead_mask` (V,); None: the history's own file, if it has one.
        keep: which of the large tensors to write: `delta_W_prime`, `U` (the ULP of the value before), and
            `exponent_crossings`.
        dtype: `auto`, or an integer type that must hold every displacement.
        token: the token of raster.safetensors; None: the dead token with the smallest id, or token 0 if none is dead.

    Raises:
        UserError: naming the history, step, token and dimension of a value that is not finite or does not fit
            `dtype`; a file that cannot be read or written; a failed cross-check (see `Validation`).
    """
    with open_history(history, key) as source:
        if source.steps < 2:
            raise UserError(f"{history}: one snapshot; expected two or more")
        dead = _dead_mask(source, dead_mask)
        token = _token(source, dead, token)
        described = {**(metadata or {}), "rows": "row i: from snapshot i to i + 1", "raster_token": str(token)}
        if dead is None:
            described["dead_mask"] = "unknown: tokens are not told apart"
        length = _length(source, keep, budget_gb)
        chosen = _first_guess(source, length) if dtype == "auto" else dtype
        motion = None
        while motion is None:
            try:
                with LargeFiles(outputs, source, keep, chosen, dead, described) as files:
                    motion = _pass(source, files, length, dead, token, chosen, dtype != "auto", progress)
            except _TooNarrow as error:
                chosen = error.wider
    write_tensors(outputs.raster, {"displacement": motion.raster}, described)
    write_table(outputs.steps, list(STEP_COLUMNS), motion.steps)
    write_table(outputs.validation, list(validation.COLUMNS), motion.validation.rows(chosen))
    status = ["unknown"] * source.tokens if dead is None else ["dead" if d else "live" for d in dead.tolist()]
    write_table(outputs.lifecycle, list(lifecycle.COLUMNS), motion.lifecycle.rows(status))
    write_table(outputs.medians, list(lifecycle.MEDIANS), motion.lifecycle.medians(_groups(dead, source.tokens)))
    return _summary(motion, chosen, dead)


@dataclass
class Motion:
    """Results of one pass over a history."""

    validation: Validation
    lifecycle: Lifecycle
    raster: Tensor  # float32 (S - 1, D)
    steps: list[tuple]  # rows of displacement_per_step.csv


class _TooNarrow(Exception):
    """The integer type is too narrow: start again with `wider`."""

    def __init__(self, wider: str):
        super().__init__(wider)
        self.wider = wider


def _pass(
    source: History,
    files: LargeFiles,
    length: int,
    dead: Tensor | None,
    token: int,
    integer: str,
    forced: bool,
    progress: Callable[..., None],
) -> Motion:
    V, D = source.tokens, source.dimensions
    groups = _groups(dead, V)
    motion = Motion(Validation(), Lifecycle(V, D), torch.empty((source.steps - 1, D)), [])
    for start, snapshots in _pieces(source, length):
        n = len(snapshots) - 1
        buffers = files.buffers(n)
        with about(source.path):
            transitions = lattice.transitions(
                snapshots,
                buffers.get("delta_W_prime"),
                buffers.get("exponent_crossings"),
                buffers.get("U"),
                first_step=start,
            )
            motion.validation.add(snapshots, transitions, start)
            extremes, marked = motion.validation.extremes, motion.validation.counts["beyond_int"] > 0
            if forced and (marked or not _fits(integer, extremes, marked)):
                _refuse_overflow(snapshots, start, integer)
        if not _fits(integer, extremes, marked):
            raise _TooNarrow(_needed(source, start + n, length, extremes, marked))
        files.append(buffers, transitions.norms)
        motion.lifecycle.add(transitions.norms)
        motion.steps += _step_rows(start, transitions, groups)
        motion.raster[start : start + n] = lattice.displacement(snapshots[:-1, token], snapshots[1:, token])
        progress(start + n, source.steps - 1)
    motion.validation.add_last(snapshots, start)
    return motion


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
    """Steps per piece, so that two pieces with two sets of output buffers take a quarter of the budget."""
    coordinate = 4 + 2 * sum({"delta_W_prime": 8, "U": 2, "exponent_crossings": 1}[name] for name in keep)
    room = min(_PIECE, budget_gb * 1e9 / 4)
    return max(1, int(room / (coordinate * source.tokens * source.dimensions)))


def _first_guess(source: History, length: int) -> str:
    """The type that the first piece needs; tokens move most there, so it is seldom too narrow for the rest."""
    snapshots = source.rows(0, min(length, source.steps - 1) + 1)
    with about(source.path):
        first = Validation()
        first.add(snapshots, lattice.transitions(snapshots), 0)
    return _smallest(first.extremes, first.counts["beyond_int"] > 0)


def _needed(source: History, first: int, length: int, extremes: dict[str, float], marked: bool) -> str:
    """The type that holds the displacements so far (`extremes`) and those of the steps from `first` on."""
    low, high = extremes["min_held"], extremes["max_held"]
    for start, snapshots in _pieces(source, length, first):
        with about(source.path):
            rest = lattice.transitions(snapshots, first_step=start)
        low, high = min(low, float(rest.extremes[:, 2].min())), max(high, float(rest.extremes[:, 3].max()))
        marked |= bool(rest.counts[:, lattice.COUNTS.index("beyond_int")].any())
    return _smallest({"min_held": low, "max_held": high}, marked)


def _smallest(extremes: dict[str, float], marked: bool) -> str:
    return next(name for name in INTEGERS if name == "int64" or _fits(name, extremes, marked))


def _fits(integer: str, extremes: dict[str, float], marked: bool) -> bool:
    """Whether a type holds these extremes, and keeps its smallest value free if values beyond every type are marked."""
    limits = torch.iinfo(INTEGERS[integer])
    return limits.min + marked <= int(extremes["min_held"]) and int(extremes["max_held"]) <= limits.max


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
    """Rows of STEP_COLUMNS for every step and group: exact percentiles (see `rank`) of the L2 norms."""
    rows = {}
    for name, mask in groups.items():
        norms = np.sort(transitions.norms[1][:, mask].numpy(), axis=1)
        percentiles = norms[:, [rank(p, norms.shape[1]) for p in PERCENTILES]].tolist()
        crossings = transitions.crossed[:, mask].sum(1).tolist()
        rows[name] = [(norms.shape[1], *values, hits) for values, hits in zip(percentiles, crossings, strict=True)]
    steps = range(transitions.norms.shape[1])
    return [(start + step + 1, name, *group[step]) for step in steps for name, group in rows.items()]


def rank(percentile: str, n: int) -> int:
    """Index of a percentile in n ascending values: of the smallest value with at least p % of all at or below it.

    The 50th percentile is thus the lower median.
    """
    return -(-n * Fraction(percentile) // 100) - 1


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


def _summary(motion: Motion, integer: str, dead: Tensor | None) -> str:
    counts, total = motion.validation.counts, motion.validation.transitions
    tokens = "dead tokens unknown" if dead is None else f"{int(dead.sum()):,} of {len(dead):,} tokens dead"
    return (
        f"{total:,} displacements as {integer}; {counts['non_integer']:,} not integers, {counts['crossings']:,} "
        f"exponent crossings, {counts['beyond_int']:,} beyond every integer type; {tokens}"
    )
