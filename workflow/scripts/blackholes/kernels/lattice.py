"""Motion on the lattice of bfloat16: displacement in ULP, exponent crossings, norms (row E; DESIGN section 5)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import BFloat16, Bool, Float32, Float64, Int, Int32, Int64
from torch import Tensor

from blackholes.kernels import backends, bf16
from blackholes.kernels.checks import refuse_non_finite, require
from blackholes.kernels.compiled import lattice as loops

COUNTS = (  # columns of Transitions.counts
    *("crossings", "zeros", "non_integer", "almost_integer", "half", "beyond_float", "beyond_int"),
    *("crossings_unmoved", "changes_unmoved", "equal_moved"),
)
EXTREMES = ("min", "max", "min_held", "max_held", "min_ulp", "max_ulp")  # columns of Transitions.extremes
ALMOST = 1e-6  # a fraction below this, but not 0, counts as almost integer
BEYOND_FLOAT = 2.0**24  # float32 does not represent every integer above this
BEYOND_INT = 2.0**63  # no integer type holds this or more
LANES = 8  # partial float64 sums over a token's dimensions: dimension k is added to sum k mod 8


NORMS = ("L1", "L2", "Linf", "L2_delta_W")  # of Transitions.norms


@dataclass
class Transitions:
    """Results of `transitions` for s steps of V tokens. No value depends on how a history is cut into pieces."""

    norms: Float32[Tensor, "4 s V"]  # over dimensions, in the order of NORMS: three of ΔW′, in ULP, and one of ΔW
    crossed: Int32[Tensor, "s V"]  # dimensions whose exponent changed
    counts: Int64[Tensor, "s 10"]  # coordinates of each kind, in the order of COUNTS
    extremes: Float32[Tensor, "s 6"]  # in the order of EXTREMES; held: of rounded values that fit int64


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
    require(before.shape == after.shape, f"shapes are {tuple(before.shape)} and {tuple(after.shape)}, expected equal")
    refuse_non_finite(before, first_step=first_step)
    refuse_non_finite(after, first_step=first_step + 1)
    return (after.float() - before.float()) / bf16.ulp(before)


def exponent_crossings(before: BFloat16[Tensor, "*shape"], after: BFloat16[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Whether the biased exponent changes; a change of sign alone is no crossing. Zeros and subnormals have 0."""
    require(before.dtype == after.dtype == torch.bfloat16, "values are not torch.bfloat16")
    return (before.view(torch.int16) ^ after.view(torch.int16)) & 0x7F80 != 0


def transitions(
    snapshots: BFloat16[Tensor, "s1 V D"],
    displacements: Int[Tensor, "s V D"] | None = None,
    crossings: Bool[Tensor, "s V D"] | None = None,
    ulps: BFloat16[Tensor, "s V D"] | None = None,
    *,
    first_step: int = 0,
) -> Transitions:
    """Displacements of all steps between `snapshots` in one pass: norms, counts, extremes (row E).

    `displacements`, `crossings` and `ulps`, if given, are filled: contiguous, on the same device. Displacements are
    rounded half to even. A magnitude of 2⁶³ or more, which no integer type holds, becomes the type's smallest value;
    other values beyond the type's range are clamped to its limits (compare `extremes`).
    `counts` has, for every step, the number of coordinates of each kind: exponent crossings; zeros before the step;
    non-integers, of these almost integers (a fraction below 1e-6) and halves; magnitudes above 2²⁴, and of 2⁶³ and
    more; and three kinds of fault: crossings without a displacement, changed values without a displacement, and equal
    bits with one.

    Norms are summed in float64 in a fixed order and rounded once. The result is the same to the bit on the CPU and on a
    GPU, in compiled loops and in torch, with any number of threads.

    Raises UserError for another dtype, rank or output, and for NaN or infinity, naming step (counted from
    `first_step`), token and dimension.
    """
    shape = tuple(snapshots.shape)
    require(snapshots.dtype == torch.bfloat16, f"snapshots are {snapshots.dtype}, where torch.bfloat16 is expected")
    require(len(shape) == 3 and shape[0] > 1 and shape[2] > 0, f"snapshots have shape {shape}, expected (s + 1, V, D)")
    snapshots = snapshots.detach().contiguous()
    outputs = {"displacements": displacements, "crossings": crossings, "ulps": ulps}
    whole = (shape[0] - 1, *shape[1:])
    for name, out in outputs.items():
        fits = out is None or (tuple(out.shape) == whole and out.device == snapshots.device and out.is_contiguous())
        require(fits, f"{name} is no contiguous tensor of shape {whole} on the device of the snapshots")
    refuse_non_finite(snapshots[:1], first_step=first_step)
    compute = _compiled if backends.compiled(snapshots) else _formula
    result = compute(snapshots, *outputs.values())
    if result is None:
        refuse_non_finite(snapshots[1:], first_step=first_step + 1)
    assert result is not None  # there was a value to refuse
    result.extremes.add_(0.0)  # -0 becomes 0
    return result


def _compiled(snapshots, displacements, crossings, ulps) -> Transitions | None:
    """None if a value is not finite."""
    s, V = snapshots.shape[0] - 1, snapshots.shape[1]
    result = _empty(s, V, snapshots.device)
    absent = np.empty((0, 0, 0))
    stored = absent.astype(np.int8) if displacements is None else displacements.numpy()
    crosses = absent.astype(np.bool_) if crossings is None else crossings.numpy()
    spacing = absent.astype(np.int16) if ulps is None else ulps.view(torch.int16).numpy()
    bits, limits = snapshots.view(torch.int16).numpy(), np.iinfo(stored.dtype)
    norms, crossed = result.norms.numpy(), result.crossed.numpy()

    def some_tokens(start: int, stop: int):
        part = _empty(s, 0, snapshots.device)
        counts, extremes = part.counts.numpy(), part.extremes.numpy()
        low, high = int(limits.min), int(limits.max)
        bad = loops.transitions(
            bits, stored, low, high, crosses, spacing, start, stop, norms, crossed, counts, extremes
        )
        return bad, part

    parts = backends.in_threads(some_tokens, V)
    for _, part in parts:
        _merge(result, part)
    return None if any(bad for bad, _ in parts) else result


def _merge(total: Transitions, part: Transitions) -> None:
    total.counts += part.counts
    torch.minimum(total.extremes[:, 0::2], part.extremes[:, 0::2], out=total.extremes[:, 0::2])
    torch.maximum(total.extremes[:, 1::2], part.extremes[:, 1::2], out=total.extremes[:, 1::2])


def _formula(snapshots, displacements, crossings, ulps) -> Transitions | None:
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
        whole, ulp = delta.round(), bf16.ulp(before)  # round: half to even
        size, fraction = delta.abs(), (delta - whole).abs()
        held = whole.where(size < BEYOND_INT, 0)
        still, equal = delta == 0, before.view(torch.int16) == after.view(torch.int16)
        kinds = (
            *(crosses, before == 0, fraction > 0, (fraction > 0) & (fraction < ALMOST), fraction == 0.5),
            *(size > BEYOND_FLOAT, size >= BEYOND_INT),
            *(crosses & still, (before != after) & still, equal & ~still),
        )
        result.counts[block] = torch.stack([kind.sum((1, 2)) for kind in kinds], 1)
        pairs = [(values.amin((1, 2)), values.amax((1, 2))) for values in (delta, held, ulp)]
        result.extremes[block] = torch.stack([value for pair in pairs for value in pair], 1)
        wide, moved = delta.double(), (after.float() - before.float()).double()
        result.norms[0, block] = _sum(wide.abs()).float()
        result.norms[1, block] = _sum(wide.square()).sqrt().float()
        result.norms[2, block] = size.amax(2)
        result.norms[3, block] = _sum(moved.square()).sqrt().float()
        result.crossed[block] = crosses.sum(2).int()
        if displacements is not None:
            displacements[block] = _rounded(whole.where(size < BEYOND_INT, -torch.inf), displacements.dtype)
        if crossings is not None:
            crossings[block] = crosses
        if ulps is not None:
            ulps[block] = ulp.bfloat16()
    return result


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
        counts=torch.zeros((s, len(COUNTS)), dtype=torch.int64, device=device),
        extremes=torch.tensor([[torch.inf, -torch.inf] * 3], device=device).repeat(s, 1),
    )
