"""Why tokens freeze (row F): the law of the next weights, checked from the files of a run, and freeze.csv.

The law (docs/definitions.md): a weight w becomes round(w + u). Files with `full` forces hold what
the optimizer's kernel adds to every coordinate, so the next weights are computed again and compared to the bit. Where
the weights have more digits than the history, the computed ones go on from `start`, and have to end at the model's own.
A `summary` holds norms: they are compared with those of the history, and a token moves at a step if its largest
intended move is above half a cell, and not if it is below a quarter: the cell below a power of two is half as wide.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.histories import History, open_history
from blackholes.artifacts.tables import read_training_log
from blackholes.artifacts.tensors import TensorReader, open_tensors
from blackholes.errors import UserError
from blackholes.kernels import forces, rounding

COLUMNS = ["token_id", "dead", "last_realised", "last_intended", "dimensions_never_stalled", "mispredicted", "held_by"]
LAW_COLUMNS = ["check", "checked", "mismatches"]
HALF = 0.5  # cells: a coordinate whose intended move is larger moves
_MARGIN = 2.0**-15  # cells: w + u is rounded to float32, 2⁻¹⁶ of a cell, before it is to bfloat16: it may become a tie
_CLOSE = 1e-4  # relative: two norms of the same numbers, summed in another order
_EMBEDDING = "transformer.wte.weight"
_FORCES = ("adam", "decay", "intended_cells", "adam_cells", "decay_cells", "realised", "stalled", "probability")


@dataclass
class Files:
    """What `write` reads."""

    history: str
    forces: str
    log: str  # training_log.csv
    model: str  # model.safetensors
    corpus: str  # tokens.safetensors, for its dead_mask


@dataclass
class _Found:
    """What the steps say of each token; steps count from 1, 0: never."""

    last_realised: np.ndarray  # (V,)
    last_intended: np.ndarray
    mispredicted: np.ndarray
    never_stalled: np.ndarray | None = None  # bool (V, D); None: the files do not say
    unknown: np.ndarray | None = None  # bool (V,): where they do not say it of a token
    checks: dict[str, list[int]] = field(default_factory=dict)  # check → [checked, mismatches]
    first: dict[str, str] = field(default_factory=dict)  # check → where its first mismatch is

    def check(self, name: str, wrong: Tensor | np.ndarray, first_step: int, axes: tuple[str, ...]) -> None:
        wrong = np.asarray(wrong)
        count = self.checks.setdefault(name, [0, 0])
        count[0], count[1] = count[0] + wrong.size, count[1] + int(wrong.sum())
        if wrong.any() and name not in self.first:
            place = np.argwhere(wrong)[0] + np.array([first_step, *[0] * (wrong.ndim - 1)])
            self.first[name] = ", ".join(f"{axis} {at}" for axis, at in zip(axes, place, strict=True))


def write(
    files: Files,
    rule: forces.Rule,
    freeze: str,
    law: str,
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Check the law, and write law.csv and freeze.csv.

    law.csv: what was compared, how often, and how often it differed. freeze.csv, a row a token: `last_realised`, the
    last step at which its weights changed; `last_intended`, the last one with an intended move of more than half a
    cell; `dimensions_never_stalled`, empty where a summary does not say it; `mispredicted`, coordinates (full) or steps
    (summary) that the law did not foresee; `held_by`, see `held_by`.

    Args:
        rule: of the run's optimizer.

    Returns (dead tokens, bool (V,); last_realised, int64 (V,)).

    Raises:
        UserError: naming the file and what is wrong with it; a comparison differs.
    """
    with open_history(files.history) as history, open_tensors(files.forces) as file:
        S, V, D = history.steps, history.tokens, history.dimensions
        for name in _FORCES:
            file.expect(name, torch.float32, (S - 1, V))
        log = read_training_log(files.log, ["learning_rate"], S - 1)
        rates = log["learning_rate"]
        dead = _dead(files.corpus, V)
        length = max(1, int(1e9 * budget_gb / (60 * V * D + 100 * V)))
        found = _law(history, file, files, rule, _given(rates, file), length, progress)
        held = _held_by(file, found.last_realised, rates, length)
    write_table(law, LAW_COLUMNS, ((name, *counts) for name, counts in found.checks.items()))
    for name, (checked, wrong) in found.checks.items():
        if wrong:
            raise UserError(
                f"{files.forces}: {name}: {wrong:,} of {checked:,} differ from what the history shows, the first at "
                f"{found.first[name]}; expected none: the files are not of one run, or this program has a fault"
            )
    never = [""] * V if found.never_stalled is None else [str(number) for number in found.never_stalled.sum(1)]
    if found.unknown is not None:
        never = ["" if unknown else number for unknown, number in zip(found.unknown, never, strict=True)]
    columns = found.last_realised, found.last_intended, never, found.mispredicted, held
    write_table(freeze, COLUMNS, zip(range(V), dead.astype(int), *columns, strict=True))
    return dead, found.last_realised


def shown_token(dead: np.ndarray, last_realised: np.ndarray) -> int:
    """The token that figures of one token show: of the live ones (of all, where none is) the one that moves longest."""
    return int(np.where(dead & ~dead.all(), -1, last_realised).argmax())


def device(path: str) -> str:
    """The kind of device that the forces in a file were recorded on, such as `cpu`."""
    with open_tensors(path) as file:
        return file.metadata.get("device", "cpu").partition(":")[0]


def _dead(corpus: str, V: int) -> np.ndarray:
    with open_tensors(corpus) as file:
        (found,) = file.expect("dead_mask", torch.bool, ("V",))
        if found != V:
            raise UserError(f"{corpus}: dead_mask has {found} tokens; expected {V}, as in the history")
        return file.rows("dead_mask").numpy()


def _given(rates: np.ndarray, file: TensorReader) -> np.ndarray:
    """The learning rates that the optimizer's kernel was given: the torch engine holds them in float32."""
    return rates.astype(np.float32).astype(np.float64) if file.metadata.get("engine") == "torch" else rates


def _law(
    history: History,
    file: TensorReader,
    files: Files,
    rule: forces.Rule,
    rates: np.ndarray,
    length: int,
    progress: Callable[..., None],
) -> _Found:
    """Go through the steps once, in pieces of `length`."""
    S, V, D = history.steps, history.tokens, history.dimensions
    zeros = np.zeros(V, np.int64)
    found, full, wide = _Found(zeros, zeros.copy(), zeros.copy()), "term_full" in file.keys(), _is_wide(file)  # noqa: SIM118
    if full:
        for name in ("intended_full", "term_full"):
            file.expect(name, torch.float32, (S - 1, V, D))
        found.never_stalled = np.ones((V, D), bool)
    elif not wide:
        found.never_stalled, found.unknown = np.ones((V, D), bool), np.zeros(V, bool)
    weights = file.rows("start").float() if full and wide else None
    kept = torch.zeros(V, D, dtype=torch.bfloat16) if rule.compensated else None  # what roundings have left so far
    for start in range(0, S - 1, length):
        stop = min(start + length, S - 1)
        snapshots = history.rows(start, stop + 1)
        row = {name: file.rows(name, start, stop).numpy() for name in _FORCES}
        steps = np.arange(start + 1, stop + 1)[:, None]
        _last(found.last_realised, steps, row["realised"] > 0)
        _last(found.last_intended, steps, row["intended_cells"] > HALF)
        if full:
            intended, term = (file.rows(name, start, stop) for name in ("intended_full", "term_full"))
            weights = _next_weights(found, snapshots, intended, term, weights, kept, rule, rates[start:stop], start)
        _summary(found, snapshots, row, rule, rates[start:stop], start, wide, full)
        progress(stop, S - 1)
    if weights is not None:
        with open_tensors(files.model) as model:
            model.expect(_EMBEDDING, torch.float32, (V, D))
            found.check("last weights", model.rows(_EMBEDDING) != weights, 0, ("token", "dimension"))
    return found


def _is_wide(file: TensorReader) -> bool:
    """Whether the weights have more digits than the history."""
    return file.metadata.get("precision") != "bf16"


def _last(last: np.ndarray, steps: np.ndarray, true: np.ndarray) -> None:
    np.maximum(last, np.where(true, steps, 0).max(0), out=last)


def _next_weights(
    found: _Found,
    snapshots: Tensor,
    intended: Tensor,
    term: Tensor,
    weights: Tensor | None,
    kept: Tensor | None,
    rule: forces.Rule,
    rates: np.ndarray,
    start: int,
) -> Tensor | None:
    """Compare each step's next weights. Returns those computed last, where they and not the history's go on.

    `kept`, of compensated sums, is set to what the roundings of these steps leave.
    """
    assert found.never_stalled is not None  # for mypy: set for full forces
    for i, rate in enumerate(rates):
        before = snapshots[i].float() if weights is None else weights
        if kept is None:
            after = forces.predicted(rule, before, term[i], float(rate))
            rounded = forces.stored(rule, after, start + i + 1)
        else:
            rounded = snapshots[i].clone()
            after = forces.pending(rule, before, kept.float(), term[i], float(rate))
            rounding.store_compensated(rounded, kept, after)
        wrong = (rounded != snapshots[i + 1]).numpy()
        found.check("next weights", wrong[None], start + i + 1, ("step", "token", "dimension"))
        found.mispredicted += wrong.sum(1)
        still = (rounded.float() if weights is None else after) == before
        found.never_stalled &= ~(still & (intended[i] != 0)).numpy()
        weights = None if weights is None else after
    return weights


def _summary(
    found: _Found,
    snapshots: Tensor,
    row: dict[str, np.ndarray],
    rule: forces.Rule,
    rates: np.ndarray,
    start: int,
    wide: bool,
    full: bool,
) -> None:
    """What norms and shares have to agree with, whether or not every coordinate is known."""
    at = ("step", "token")
    found.check("probabilities", abs(row["probability"].sum(1) - 1) > _CLOSE, start + 1, at[:1])
    if wide:
        return
    before, moves = snapshots[:-1].float(), snapshots[1:].float() - snapshots[:-1].float()
    norms = {"realised": moves, "decay": before * torch.from_numpy(rates * rule.weight_decay).float()[:, None, None]}
    for name, values in norms.items():
        norm = torch.linalg.vector_norm(values, dim=-1).numpy()
        found.check(f"{name} norms", ~np.isclose(row[name], norm, rtol=_CLOSE, atol=1e-30), start + 1, at)
    moved = (snapshots[1:] != snapshots[:-1]).numpy()
    number, D = moved.sum(2), moved.shape[2]
    quiet, loud = row["intended_cells"] < HALF / 2 - _MARGIN, row["intended_cells"] > HALF + _MARGIN
    wrong = (quiet & (number > 0)) | (loud & (number == 0))
    if rule.drawn is None:  # with drawn bits a move of any size can be made, or not
        found.check("moves by the largest intended move", wrong[quiet | loud][None], start + 1, ("", ""))
    else:
        wrong[:] = False
    idle = D - number - np.rint(row["stalled"] * D)  # dimensions with an intended update of 0
    found.check("stalled shares", idle < 0, start + 1, at)
    if full:
        return
    assert found.never_stalled is not None  # for mypy: they are set for such a summary
    assert found.unknown is not None
    found.mispredicted += wrong.sum(0)
    found.never_stalled &= ~(~moved & (row["stalled"] > 0)[:, :, None]).any(0)
    found.unknown |= ((idle > 0) & (row["stalled"] > 0)).any(0)


def _held_by(file: TensorReader, last: np.ndarray, rates: np.ndarray, length: int) -> list[str]:
    """What holds each frozen token, of the steps after its last move; empty for one that moves at the last step.

    `both`: at some step one part alone, the optimizer's own or weight decay's, is above half a cell, and the other
    takes it back; else `learning rate`: at some step the intended update would be above half a cell with the largest
    learning rate of the run; else the larger part, `gradient` or `decay`: neither is large enough at any rate.
    """
    V, S = len(last), len(rates)
    alone, at_first_rate = np.zeros(V, bool), np.zeros(V, bool)
    sums = {name: np.zeros(V) for name in ("adam", "decay")}
    for start, row in _pieces(file, S, length):
        stop = start + len(row["adam"])
        after = np.arange(start + 1, stop + 1)[:, None] > last
        alone |= (after & (np.maximum(row["adam_cells"], row["decay_cells"]) > HALF)).any(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(rates[start:stop] > 0, rates.max() / rates[start:stop], 0)[:, None]
            at_first_rate |= (after & (row["intended_cells"] * scale > HALF)).any(0)
        for name, total in sums.items():
            total += np.where(after, row[name], 0).sum(0)
    larger = np.where(sums["adam"] >= sums["decay"], "gradient", "decay")
    held = np.where(alone, "both", np.where(at_first_rate, "learning rate", larger))
    return np.where(last == S, "", held).tolist()


def _pieces(file: TensorReader, steps: int, length: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    for start in range(0, steps, length):
        stop = min(start + length, steps)
        yield start, {name: file.rows(name, start, stop).numpy() for name in _FORCES}
