"""Motion on the lattice of bfloat16, in cells and in ULP (row E; docs/definitions.md)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import BFloat16, Bool, Float32, Float64, Int, Int32, Int64
from torch import Tensor

from blackholes.kernels import backends, bf16
from blackholes.kernels.checks import refuse_non_finite, require
from blackholes.kernels.compiled import lattice as loops

COUNTS = (  # columns of Transitions.counts
    # of a coordinate and its value before and after the step; then of its ΔW′, or of ΔW′ rounded
    *("crossings", "sign_changes", "moved", "zeros"),
    *("non_integer", "almost_integer", "half", "rounded_to_0", "beyond_float", "beyond_int"),
    *("fit_int8", "fit_int16", "fit_int32", "ordinal_fit_int8", "ordinal_fit_int16"),
    *("crossings_unmoved", "changes_unmoved", "equal_moved"),  # faults: impossible in bfloat16
)
EXTREMES = ("min", "max", "min_held", "max_held", "min_ulp", "max_ulp", "min_ordinal", "max_ordinal")
NORMS = (  # of Transitions.norms
    *("L1", "L2", "Linf", "L2_without_tiny", "Linf_without_tiny"),  # of delta_ordinal, in cells
    *("L1_delta_W_prime", "L2_delta_W_prime", "Linf_delta_W_prime"),  # of ΔW′, in ULP
    "L2_delta_W",  # in the units of the embedding
)
ALMOST = 1e-6  # a fraction below this, but not 0, counts as almost integer
BEYOND_FLOAT = 2.0**24  # float32 does not represent every integer above this
BEYOND_INT = 2.0**63  # no integer type holds this or more
TINY = 2.0**-8  # a coordinate is tiny if its magnitude is below this part of the token's largest
LANES = 8  # partial float64 sums over a token's dimensions: dimension k is added to sum k mod 8


@dataclass
class Transitions:
    """Results of `transitions` for s steps of V tokens. No value depends on how a history is cut into pieces."""

    norms: Float32[Tensor, "9 s V"]  # over dimensions, in the order of NORMS
    crossed: Int32[Tensor, "s V"]  # dimensions whose exponent changed
    moved: Int32[Tensor, "s V"]  # dimensions whose value changed
    counts: Int64[Tensor, "s 18"]  # coordinates of each kind, in the order of COUNTS
    extremes: Float32[Tensor, "s 8"]  # in the order of EXTREMES; held: of rounded ΔW′ that fit int64


def displacement(
    before: BFloat16[Tensor, "*shape"], after: BFloat16[Tensor, "*shape"], *, first_step: int = 0
) -> Float32[Tensor, "*shape"]:
    """ΔW′ = (after − before) / ULP(before): motion in steps of the lattice at the value before (row E).

    Subtraction and division are in float32. The division is exact. The difference is rounded where one value is more
    than 2¹⁶ times the other. The result is infinite beyond float32's range, also from an exact zero or a subnormal to
    a value of 4 or more. The ULP of an exact zero is 2**-126, a convention (see `bf16.ulp`).
    The result is an integer while the exponent stays or grows; a value that moves to a smaller exponent may end on a
    half, a quarter, …. It is nonzero exactly where the values differ (−0 equals 0).

    Raises UserError for other dtypes or unequal shapes, and for NaN or infinity, naming step (counted from
    `first_step`, the step of `before`), token and dimension.
    """
    _require_pair(before, after, first_step)
    return (after.float() - before.float()) / bf16.ulp(before)


def _require_pair(before: Tensor, after: Tensor, first_step: int) -> None:
    require(before.shape == after.shape, f"shapes are {tuple(before.shape)} and {tuple(after.shape)}, expected equal")
    refuse_non_finite(before, first_step=first_step)
    refuse_non_finite(after, first_step=first_step + 1)


def delta_ordinal(
    before: BFloat16[Tensor, "*shape"], after: BFloat16[Tensor, "*shape"], *, first_step: int = 0
) -> Int32[Tensor, "*shape"]:
    """Motion in cells: how many steps of the lattice lie between two values (row E).

    The difference of `bf16.ordinal`: exact, from -65,278 to 65,278, positive upwards, and 0 if and only if the values
    are equal (−0 equals 0). A value that changes its sign passes all values near 0, so it moves by tens of thousands.

    Raises UserError as `displacement` does.
    """
    _require_pair(before, after, first_step)
    return bf16.ordinal(after) - bf16.ordinal(before)


def exponent_crossings(before: BFloat16[Tensor, "*shape"], after: BFloat16[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Whether the biased exponent changes; a change of sign alone is no crossing. Zeros and subnormals have 0."""
    require(before.dtype == after.dtype == torch.bfloat16, "values are not torch.bfloat16")
    return (before.view(torch.int16) ^ after.view(torch.int16)) & 0x7F80 != 0


def transitions(
    snapshots: BFloat16[Tensor, "s1 V D"],
    displacements: Int[Tensor, "s V D"] | None = None,
    crossings: Bool[Tensor, "s V D"] | None = None,
    ulps: BFloat16[Tensor, "s V D"] | None = None,
    ordinals: Int[Tensor, "s V D"] | None = None,
    *,
    first_step: int = 0,
) -> Transitions:
    """Motion in all steps between `snapshots` in one pass: norms, counts, extremes (row E).

    Outputs, if given, are filled: contiguous, on the same device. `displacements` is ΔW′ rounded half to even: a
    magnitude of 2⁶³ or more, which no integer type holds, becomes the type's smallest value; other values beyond the
    type's range are clamped to its limits (compare `extremes`). `ordinals` is `delta_ordinal`, clamped likewise.
    `ulps` is the ULP of the value before.

    `counts` has, for every step, the number of coordinates of each kind: exponent crossings; changes from one sign to
    the other; values that changed; zeros before the step; ΔW′ that are no integers, of these almost integers (a
    fraction below 1e-6) and halves, and those that are not 0 and rounded to it; magnitudes of ΔW′ above 2²⁴, and of
    2⁶³ and more; rounded ΔW′ within an integer type's range; `delta_ordinal` within it; and three kinds of fault, each
    by ΔW′ or by `delta_ordinal`: crossings that did not move, changed values that did not, and equal bits that did.

    `norms` without tiny coordinates leave out, for every step and token, those whose magnitude before or after the
    step is below 2⁻⁸ of the token's largest magnitude before it.

    Norms of `delta_ordinal` are of exact sums, the others of sums in float64 in a fixed order; both are rounded once.
    The result is the same to the bit on the CPU and a GPU, in compiled loops and torch, with any number of threads.

    Raises UserError for another dtype, rank or output, and for NaN or infinity, naming step (counted from
    `first_step`), token and dimension.
    """
    shape = tuple(snapshots.shape)
    require(snapshots.dtype == torch.bfloat16, f"snapshots are {snapshots.dtype}, where torch.bfloat16 is expected")
    require(len(shape) == 3 and shape[0] > 1 and shape[2] > 0, f"snapshots have shape {shape}, expected (s + 1, V, D)")
    snapshots = snapshots.detach().contiguous()
    outputs = {"displacements": displacements, "crossings": crossings, "ulps": ulps, "ordinals": ordinals}
    whole = (shape[0] - 1, *shape[1:])
    for name, out in outputs.items():
        fits = out is None or (tuple(out.shape) == whole and out.device == snapshots.device and out.is_contiguous())
        require(fits, f"{name} is no contiguous tensor of shape {whole} on the device of the snapshots")
    refuse_non_finite(snapshots[:1], first_step=first_step)
    compute = _compiled if backends.compiled(snapshots) else _formula
    result = compute(snapshots, *outputs.values())
    if result is None:
        refuse_non_finite(snapshots[1:], first_step=first_step + 1)
    assert result is not None  # for mypy: otherwise the line above raised
    result.extremes.add_(0.0)  # -0 becomes 0
    return result


def _compiled(snapshots, displacements, crossings, ulps, ordinals) -> Transitions | None:
    """None if a value is not finite."""
    s, V = snapshots.shape[0] - 1, snapshots.shape[1]
    result = _empty(s, V, snapshots.device)
    outputs = [_bytes(out, s, V) for out in (displacements, ordinals, crossings, ulps)]
    bits = snapshots.view(torch.int16).numpy()
    tokens = [tensor.numpy() for tensor in (result.norms, result.crossed, result.moved)]

    def some_tokens(start: int, stop: int):
        part = _empty(s, 0, snapshots.device)
        bad = loops.transitions(bits, *outputs, start, stop, *tokens, part.counts.numpy(), part.extremes.numpy())
        return bad, part

    parts = backends.in_threads(some_tokens, V)
    for _, part in parts:
        _merge(result, part)
    return None if any(bad for bad, _ in parts) else result


def _bytes(out: Tensor | None, s: int, V: int) -> np.ndarray:
    """uint8 (s, V, bytes a token) of an output, none where it is not wanted. With one type, loops compile once."""
    return np.empty((s, V, 0), np.uint8) if out is None else out.view(torch.uint8).numpy()


def _merge(total: Transitions, part: Transitions) -> None:
    total.counts += part.counts
    torch.minimum(total.extremes[:, 0::2], part.extremes[:, 0::2], out=total.extremes[:, 0::2])
    torch.maximum(total.extremes[:, 1::2], part.extremes[:, 1::2], out=total.extremes[:, 1::2])


def _formula(snapshots, displacements, crossings, ulps, ordinals) -> Transitions | None:
    """The torch formula, on any device, a block of steps at a time. None if a value is not finite."""
    if not snapshots[1:].isfinite().all():
        return None
    s, (V, D) = snapshots.shape[0] - 1, snapshots.shape[1:]
    result = _empty(s, V, snapshots.device)
    length = backends.block_length(64 * V * D, snapshots.device)
    for start in range(0, s, length):
        block = slice(start, min(start + length, s))
        before, after = snapshots[block], snapshots[block.start + 1 : block.stop + 1]
        delta, crosses = displacement(before, after), exponent_crossings(before, after)
        cells, ulp = delta_ordinal(before, after), bf16.ulp(before)
        whole = delta.round()  # half to even
        size, fraction = delta.abs(), (delta - whole).abs()
        held = whole.where(size < BEYOND_INT, 0)
        still, rests = delta == 0, cells == 0
        equal = before.view(torch.int16) == after.view(torch.int16)
        kinds = (
            *(crosses, before.sign() * after.sign() < 0, ~rests, before == 0),
            *(fraction > 0, (fraction > 0) & (fraction < ALMOST), fraction == 0.5, (whole == 0) & ~still),
            *(size > BEYOND_FLOAT, size >= BEYOND_INT),
            *((whole >= -(2.0**n)) & (whole < 2.0**n) for n in (7, 15, 31)),
            *((cells >= -(2**n)) & (cells < 2**n) for n in (7, 15)),
            *(crosses & (still | rests), (before != after) & (still | rests), equal & ~(still & rests)),
        )
        result.counts[block] = torch.stack([kind.sum((1, 2)) for kind in kinds], 1)
        pairs = [(values.amin((1, 2)), values.amax((1, 2))) for values in (delta, held, ulp, cells.float())]
        result.extremes[block] = torch.stack([value for pair in pairs for value in pair], 1)
        tiny = torch.minimum(before.abs(), after.abs()) < before.float().abs().amax(2, keepdim=True) * TINY
        steps, large = cells.abs(), cells.abs().masked_fill(tiny, 0)
        wide, moved = delta.double(), (after.float() - before.float()).double()
        sums = (
            *(steps.sum(2).double(), _root(steps), steps.amax(2), _root(large), large.amax(2)),
            *(_sum(wide.abs()), _sum(wide.square()).sqrt(), size.amax(2), _sum(moved.square()).sqrt()),
        )
        for norm, values in zip(result.norms, sums, strict=True):
            norm[block] = values.float()
        result.crossed[block], result.moved[block] = crosses.sum(2).int(), (~rests).sum(2).int()
        if displacements is not None:
            displacements[block] = _rounded(whole.where(size < BEYOND_INT, -torch.inf), displacements.dtype)
        if crossings is not None:
            crossings[block] = crosses
        if ulps is not None:
            ulps[block] = ulp.bfloat16()
        if ordinals is not None:
            limits = torch.iinfo(ordinals.dtype)
            ordinals[block] = cells.long().clamp(limits.min, limits.max).to(ordinals.dtype)
    return result


def _root(cells: Int32[Tensor, "s V D"]) -> Float64[Tensor, "s V"]:
    """Root of the sum of squares over D, which is exact."""
    return cells.long().square().sum(2).double().sqrt()


def _sum(terms: Float64[Tensor, "s V D"]) -> Float64[Tensor, "s V"]:
    """Sum over D in LANES partial sums, which are then added pairwise: a fixed order."""
    terms = torch.nn.functional.pad(terms, (0, -terms.shape[-1] % LANES)).unflatten(-1, (-1, LANES))
    sums = terms[..., 0, :]
    for k in range(1, terms.shape[-2]):
        sums = sums + terms[..., k, :]
    while sums.shape[-1] > 1:
        sums = sums[..., : sums.shape[-1] // 2] + sums[..., sums.shape[-1] // 2 :]
    return sums[..., 0]


def _rounded(whole: Tensor, dtype: torch.dtype) -> Tensor:
    """Clamp to an integer type's limits, in float64, which represents all of them but int64's upper one."""
    limits = torch.iinfo(dtype)
    wide = whole.double().clamp(limits.min, limits.max)
    return torch.where(wide < BEYOND_INT, wide, limits.min).to(dtype)


def _empty(s: int, V: int, device: torch.device) -> Transitions:
    return Transitions(
        norms=torch.empty((len(NORMS), s, V), dtype=torch.float32, device=device),
        crossed=torch.empty((s, V), dtype=torch.int32, device=device),
        moved=torch.empty((s, V), dtype=torch.int32, device=device),
        counts=torch.zeros((s, len(COUNTS)), dtype=torch.int64, device=device),
        extremes=torch.tensor([[torch.inf, -torch.inf] * (len(EXTREMES) // 2)], device=device).repeat(s, 1),
    )
