"""How far every coordinate of a history moves, in steps of bfloat16's lattice (row E), in bounded memory."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.histories import History, open_history
from blackholes.artifacts.tensors import TensorWriter, open_tensors, write_tensors
from blackholes.errors import UserError, about
from blackholes.kernels import lattice
from blackholes.lattice import lifecycle
from blackholes.lattice import validation as lattice_validation
from blackholes.lattice.lifecycle import Lifecycle
from blackholes.lattice.validation import Validation

INTEGERS = {"int8": torch.int8, "int16": torch.int16, "int32": torch.int32, "int64": torch.int64}
KEPT = ("delta_W_prime", "U", "exponent_crossings")
PERCENTILES = ("50", "90", "95", "99", "99.9")  # of the L2 norm over tokens
STEP_COLUMNS = ("step", "tokens", "number", *(f"percentile_{p}" for p in PERCENTILES), "exponent_crossings")
_PIECE = 512_000_000  # bytes in all buffers: larger ones gain nothing


@dataclass
class Outputs:
    """The files of `write`."""

    displacements: str  # lattice_displacements.safetensors
    norms: str  # displacement_norms.safetensors
    raster: str  # raster.safetensors: one token's displacements
    steps: str  # displacement_per_step.csv
    validation: str  # validation.csv
    lifecycle: str  # lifecycle.csv
    medians: str  # lifecycle_medians.csv


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
    """Write displacements, norms, validation and lifecycle of a history; return what they say in a line.

    Row i of a tensor belongs to step i + 1, from snapshot i to snapshot i + 1. `delta_W_prime` is ΔW′ rounded half to
    even, in the smallest integer type that holds it; what no integer type holds (the way from an exact zero, mostly,
    whose ULP is 2**-126 by convention) is marked with the type's smallest value, which then stands for nothing else.
    One pass over the history; a second one where a late displacement needs a wider type than the first piece.

    Args:
        key: of the history in the file (see `open_history`).
        dead_mask: safetensors file with `dead_mask` (V,); None: the history's own file, if it has one.
        keep: which of the large tensors to write: `delta_W_prime`, `U` (the ULP of the value before), and
            `exponent_crossings`.
        dtype: `auto`, or an integer type that has to hold every displacement.
        token: whose displacements the raster shows; None: the dead token of smallest id, or token 0 if none is dead.

    Raises:
        UserError: naming the history, step, token and dimension of a value that is not finite or does not fit
            `dtype`; a file that cannot be read or written; a failed cross-check (see `Validation`).
    """
    with open_history(history, key) as source:
        if source.steps < 2:
            raise UserError(f"{history}: one snapshot only; expected two or more, which have a step between them")
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
                with _Files(outputs, source, keep, chosen, dead, described) as files:
                    motion = _pass(source, files, length, dead, token, chosen, dtype != "auto", progress)
            except _Wider as wider:
                chosen = wider.type
    write_tensors(outputs.raster, {"displacement": motion.raster}, described)
    write_table(outputs.steps, list(STEP_COLUMNS), motion.steps)
    write_table(outputs.validation, list(lattice_validation.COLUMNS), motion.validation.rows(chosen))
    status = ["unknown"] * source.tokens if dead is None else ["dead" if d else "live" for d in dead.tolist()]
    write_table(outputs.lifecycle, list(lifecycle.COLUMNS), motion.lifecycle.rows(status))
    write_table(outputs.medians, list(lifecycle.MEDIANS), motion.lifecycle.medians(_groups(dead, source.tokens)))
    return _summary(motion, chosen, dead)


@dataclass
class Motion:
    """What one pass over a history gathers."""

    validation: Validation
    lifecycle: Lifecycle
    raster: Tensor  # float32 (S - 1, D)
    steps: list[tuple]  # rows of displacement_per_step.csv


class _Wider(Exception):
    """The integer type is too narrow: begin anew with this one."""

    def __init__(self, type: str):
        super().__init__(type)
        self.type = type


class _Files:
    """The two large files, written in the background while the next piece is computed."""

    def __init__(self, outputs: Outputs, source: History, keep, integer: str, dead: Tensor | None, metadata: dict):
        shape = (source.steps - 1, source.tokens, source.dimensions)
        types = {"delta_W_prime": INTEGERS[integer], "U": torch.bfloat16, "exponent_crossings": torch.bool}
        self._large = {name: types[name] for name in KEPT if name in keep}
        layout = {name: (dtype, shape) for name, dtype in self._large.items()}
        self._row = shape[1:]
        small = {"n_steps": shape[0], "n_tokens": shape[1], "n_dims": shape[2]}
        if dead is not None:
            small |= {"dead_mask": dead, "dead_token_ids": dead.nonzero()[:, 0], "n_dead": int(dead.sum())}
        self._small = {name: torch.as_tensor(value) for name, value in small.items()}
        layout |= {name: (value.dtype, tuple(value.shape)) for name, value in self._small.items()}
        self._displacements = TensorWriter(outputs.displacements, layout, metadata)
        norms = dict.fromkeys(lattice.NORMS, (torch.float32, shape[:2]))
        self._norms = TensorWriter(outputs.norms, norms, metadata)
        self._buffers: list[dict[str, Tensor]] = [{}, {}]
        self._waiting: Future = Future()
        self._waiting.set_result(None)
        self._stack = ExitStack()

    def __enter__(self):
        with ExitStack() as stack:
            for writer in (self._displacements, self._norms):
                stack.enter_context(writer)
            for name, value in self._small.items():
                self._displacements.append(name, value)
            self._background = stack.enter_context(ThreadPoolExecutor(1))
            self._stack = stack.pop_all()
        return self

    def buffers(self, steps: int) -> dict[str, Tensor]:
        """Where to put the next piece: not what is being written. The first is the longest."""
        self._buffers.reverse()
        if not self._buffers[0]:
            self._buffers[0] = {name: torch.empty((steps, *self._row), dtype=t) for name, t in self._large.items()}
        return {name: buffer[:steps] for name, buffer in self._buffers[0].items()}

    def append(self, pieces: dict[str, Tensor], norms: Tensor) -> None:
        self._waiting.result()  # an error of the disk
        self._waiting = self._background.submit(self._write, pieces, norms)

    def _write(self, pieces: dict[str, Tensor], norms: Tensor) -> None:
        for name, piece in pieces.items():
            self._displacements.append(name, piece)
        for name, values in zip(lattice.NORMS, norms, strict=True):
            self._norms.append(name, values)

    def __exit__(self, kind, error, trace) -> bool | None:
        with ExitStack() as stack:
            stack.push(self._stack)
            if kind is None:
                self._waiting.result()
            stack.pop_all()
        return self._stack.__exit__(kind, error, trace)


def _pass(
    source: History,
    files: _Files,
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
            found = lattice.transitions(
                snapshots,
                buffers.get("delta_W_prime"),
                buffers.get("exponent_crossings"),
                buffers.get("U"),
                first_step=start,
            )
            motion.validation.add(snapshots, found, start)
            extremes, marked = motion.validation.extremes, motion.validation.counts["beyond_int"] > 0
            if forced and (marked or not _fits(integer, extremes, marked)):
                _refuse_overflow(snapshots, start, integer)
        if not _fits(integer, extremes, marked):
            raise _Wider(_needed(source, start + n, length, extremes, marked))
        files.append(buffers, found.norms)
        motion.lifecycle.add(found.norms)
        motion.steps += _step_rows(start, found, groups)
        motion.raster[start : start + n] = lattice.displacement(snapshots[:-1, token], snapshots[1:, token])
        progress(start + n, source.steps - 1)
    motion.validation.add_last(snapshots, start)
    return motion


def _pieces(source: History, length: int, first: int = 0) -> Iterator[tuple[int, Tensor]]:
    """(first step, it and the `length` snapshots after it), read one piece ahead; each begins where one ends."""
    starts = range(first, source.steps - 1, length)
    with ThreadPoolExecutor(1) as background:
        waiting = None
        for start in [*starts, None]:
            ready = waiting
            if start is not None:
                stop = min(start + length, source.steps - 1) + 1
                waiting = (start, background.submit(source.rows, start, stop))
            if ready:
                yield ready[0], ready[1].result()


def _length(source: History, keep: tuple[str, ...], budget_gb: float) -> int:
    """Steps in a piece: it, the next one, and what both make, twice, within a quarter of the budget."""
    coordinate = 4 + 2 * sum({"delta_W_prime": 8, "U": 2, "exponent_crossings": 1}[name] for name in keep)
    room = min(_PIECE, budget_gb * 1e9 / 4)
    return max(1, int(room / (coordinate * source.tokens * source.dimensions)))


def _first_guess(source: History, length: int) -> str:
    """The type that the first piece needs; where training is fastest it is seldom too narrow for the rest."""
    snapshots = source.rows(0, min(length, source.steps - 1) + 1)
    with about(source.path):
        validation = Validation()
        validation.add(snapshots, lattice.transitions(snapshots), 0)
    return _smallest(validation.extremes, validation.counts["beyond_int"] > 0)


def _needed(source: History, first: int, length: int, extremes: dict[str, float], marked: bool) -> str:
    """The type that holds what was seen so far and the rest of the history, which is only looked at."""
    low, high = extremes["min_held"], extremes["max_held"]
    for start, snapshots in _pieces(source, length, first):
        with about(source.path):
            found = lattice.transitions(snapshots, first_step=start)
        low, high = min(low, float(found.extremes[:, 2].min())), max(high, float(found.extremes[:, 3].max()))
        marked |= bool(found.counts[:, lattice.COUNTS.index("beyond_int")].any())
    return _smallest({"min_held": low, "max_held": high}, marked)


def _smallest(extremes: dict[str, float], marked: bool) -> str:
    return next(name for name in INTEGERS if name == "int64" or _fits(name, extremes, marked))


def _fits(integer: str, extremes: dict[str, float], marked: bool) -> bool:
    """Whether a type holds what is seen, and has its smallest value left for a mark if there is one."""
    limits = torch.iinfo(INTEGERS[integer])
    return limits.min + marked <= int(extremes["min_held"]) and int(extremes["max_held"]) <= limits.max


def _refuse_overflow(snapshots: Tensor, first_step: int, integer: str) -> None:
    """Raise for the first displacement that a forced type does not hold."""
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
    """Tokens told apart: dead and live where that is known."""
    if dead is None:
        return {"all": torch.ones(tokens, dtype=torch.bool)}
    return {name: mask for name, mask in (("dead", dead), ("live", ~dead)) if mask.any()}


def _step_rows(start: int, found: lattice.Transitions, groups: dict[str, Tensor]) -> list[tuple]:
    """STEP_COLUMNS of every step and group: exact percentiles (see `rank`) of the L2 norm."""
    columns = {}
    for name, mask in groups.items():
        norms = np.sort(found.norms[1][:, mask].numpy(), axis=1)
        chosen = norms[:, [rank(p, norms.shape[1]) for p in PERCENTILES]].tolist()
        crossings = found.crossed[:, mask].sum(1).tolist()
        columns[name] = [(norms.shape[1], *values, hits) for values, hits in zip(chosen, crossings, strict=True)]
    return [
        (start + step + 1, name, *rows[step]) for step in range(found.norms.shape[1]) for name, rows in columns.items()
    ]


def rank(percentile: str, n: int) -> int:
    """Index, among n ascending values, of an exact percentile: the smallest with p % of all at or below it.

    The 50th is the lower median, as everywhere here.
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
        f"{total:,} displacements as {integer}; {counts['non_integer']:,} no integers, {counts['crossings']:,} "
        f"exponent crossings, {counts['beyond_int']:,} marked as beyond every integer type; {tokens}"
    )
