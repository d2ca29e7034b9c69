"""How well the ranking of tokens finds unused ones, judged on holes that it does not know (row C)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from blackholes.checkpoints import boxes
from blackholes.kernels import indicators, sphere

FOLDS = 5


@dataclass
class Tokens:
    """What is known of the tokens of an embedding W (V, D)."""

    W: Float[Tensor, "V D"]
    hole: Int64[np.ndarray, "V"]  # number of its hole, −1 for a singleton
    in_box: Bool[np.ndarray, "V"]
    in_cluster: Bool[np.ndarray, "V"]
    central: Bool[np.ndarray, "V"]  # whose mean is `centroid`
    centroid: Float[Tensor, "D"]
    component: Float[Tensor, "D"]
    coordinates: list[np.ndarray] | None = None  # latitude, longitude, radius (V,), where the box is automatic


@dataclass
class Judged:
    """The areas under the ROC curve, and the rank of every member of a hole when its hole was held out, else −1."""

    facts: list[tuple[str, float | str]]
    held_out: Int64[np.ndarray, "V"]

    def summary(self) -> str:
        facts = dict(self.facts)
        if "not_judged" in facts:
            return f"ranking not judged: {facts['not_judged']}"
        return f"AUROC {facts['auroc_cross_fitted']:.3f} with holes held out, {facts['auroc_in_sample']:.3f} in sample"


def reference_set(
    in_hole: Bool[np.ndarray, "V"], in_cluster: Bool[np.ndarray, "V"], in_box: Bool[np.ndarray, "V"]
) -> Int64[Tensor, "n"]:
    """Ids of the tokens taken to be unused: those in holes or in the cluster; if fewer than two, those in the box."""
    unused = in_hole | in_cluster
    chosen = unused if unused.sum() > 1 else in_box
    return torch.from_numpy(np.flatnonzero(chosen))


def judge(tokens: Tokens, rank: Int64[Tensor, "V"]) -> Judged:
    """Cross-fitting: do members of holes rank first, also when their hole is not in the reference set?

    Members that define the reference rank first by construction, which is the area `auroc_in_sample`. So holes are
    divided among up to FOLDS folds, whole, since one member left in the reference would tell of all others; a token of
    the cluster that is in no hole goes with the nearest hole. For each fold the reference set, the centroid from which
    distances are measured and, where it is needed, an automatic box are found anew without it, as if its tokens did not
    exist, and its members are ranked among tokens that are in neither reference. `auroc_cross_fitted` is the share of
    pairs of a member and such a token in which the member ranks first: 0.5 is chance. Holes beside each other in one
    overdensity still tell of each other.
    """
    in_hole = tokens.hole >= 0
    unused = in_hole | tokens.in_cluster
    held_out = np.full(len(in_hole), -1)
    members, others = np.flatnonzero(in_hole), np.flatnonzero(~unused)
    if not len(members) or not len(others):
        reason = "there is no hole" if not len(members) else "every token is in a hole or in the cluster"
        return Judged([("not_judged", reason)], held_out)
    fold, areas = folds(tokens), []
    for number in range(int(fold.max()) + 1):
        away = fold == number
        holes, cluster = in_hole & ~away, tokens.in_cluster & ~away
        box = _box(tokens, away) if (holes | cluster).sum() < 2 else tokens.in_box & ~away
        reference = reference_set(holes, cluster, box)
        judged = np.flatnonzero(in_hole & away)
        rest = np.setdiff1d(others, reference.numpy())
        if not len(reference) or not len(rest):
            reason = "without one of the holes no token is left " + ("to refer to" if len(rest) else "to compare with")
            return Judged([("not_judged", reason)], np.full(len(in_hole), -1))
        scores = indicators.under_training(tokens.W, reference, _centre(tokens, away, box), tokens.component)
        columns = scores["centroid_distance"], scores["cosine_unused"]
        held_out[judged] = indicators.suspicion(*columns).numpy()[judged]
        pool = torch.from_numpy(np.concatenate([judged, rest]))
        places = indicators.suspicion(*(each[pool] for each in columns)).numpy()
        areas.append((indicators.auroc(places[: len(judged)], places[len(judged) :]), len(judged)))
    numbers = {
        "hole_members": len(members),
        "other_tokens": len(others),
        "folds": int(fold.max()) + 1,
        "auroc_in_sample": indicators.auroc(rank.numpy()[members], rank.numpy()[others]),
        "auroc_cross_fitted": sum(area * number for area, number in areas) / len(members),
    }
    return Judged(list(numbers.items()), held_out)


def folds(tokens: Tokens) -> Int64[np.ndarray, "V"]:
    """The fold of every member of a hole and of the cluster, −1 for others: the largest hole first, to the fold with
    the fewest members so far."""
    numbers, first, counts = np.unique(tokens.hole[tokens.hole >= 0], return_index=True, return_counts=True)
    members = np.flatnonzero(tokens.hole >= 0)
    sizes = np.zeros(min(FOLDS, len(numbers)), int)
    of_hole = {}
    for k in np.argsort(-counts, kind="stable"):
        of_hole[int(numbers[k])] = fold = int(sizes.argmin())
        sizes[fold] += counts[k]
    result = np.array([of_hole.get(int(hole), -1) for hole in tokens.hole])
    beside = np.flatnonzero(tokens.in_cluster & (tokens.hole < 0))
    centres = tokens.W[torch.from_numpy(members[first])].double()
    for token in beside:
        distances = (centres - tokens.W[int(token)].double()).norm(dim=1)
        result[token] = of_hole[int(numbers[int(distances.argmin())])]
    return result


def _box(tokens: Tokens, away: Bool[np.ndarray, "V"]) -> Bool[np.ndarray, "V"]:
    """The tokens in the box without a fold. An automatic one is laid around the densest region of all other tokens."""
    if tokens.coordinates is None or away.all():
        return tokens.in_box & ~away
    latitude, longitude, radius = (each[~away].astype(float) for each in tokens.coordinates)
    box, _ = boxes.automatic_box(latitude, longitude, radius, [], len(radius))
    sky = [torch.from_numpy(each) for each in (latitude, longitude, radius)]
    inside = np.zeros(len(away), bool)
    inside[~away] = sphere.in_box(sky[0], sky[1], sky[2], **box).numpy()
    return inside


def _centre(tokens: Tokens, away: Bool[np.ndarray, "V"], box: Bool[np.ndarray, "V"]) -> Float[Tensor, "D"]:
    """The centroid without a fold: of the tokens that it was the mean of, else of all other holes, else of the box."""
    for chosen in (tokens.central & ~away, (tokens.hole >= 0) & ~away, box):
        if chosen.any():
            return tokens.W[torch.from_numpy(np.flatnonzero(chosen))].double().mean(0)
    return tokens.centroid
