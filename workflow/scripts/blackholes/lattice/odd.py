"""Odd coordinates of a history's motion (row E): some of each unusual kind, drawn by a seed."""

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate

from blackholes.artifacts.histories import History
from blackholes.kernels import bf16
from blackholes.lattice import validation

NUMBER = 20  # of each kind, at most
KINDS = {kind: validation.ROWS[kind] for kind in validation.UNUSUAL} | {"zeros": "before_is_0"}  # as in the table
COLUMNS = ("kind", "of", *validation.PLACE, "ulp")


def rows(source: History, by_step: Mapping[str, list[int]], seed: int, number: int = NUMBER) -> Iterator[tuple]:
    """Rows of COLUMNS: `number` coordinates of each kind of `validation.UNUSUAL`, or all where there are fewer.

    Every coordinate of a kind (`of` is how many there are) is drawn with the same probability; the draw depends on the
    seed, the kind and that number alone. Steps that hold one are read again.

    Args:
        by_step: kind → how many coordinates of it each step has, from step 1 on.
    """
    wanted: dict[int, list[tuple[str, int]]] = {}  # step → kind, number among that step's coordinates of the kind
    for kind, counts in by_step.items():
        below = list(accumulate(counts))
        for place in draw(below[-1], number, f"{seed}/{kind}"):
            index = bisect_right(below, place)
            wanted.setdefault(index, []).append((kind, place - below[index] + counts[index]))
    found: dict[str, list[tuple]] = {kind: [] for kind in by_step}
    for index in sorted(wanted):
        before, after = source.rows(index, index + 2)
        kinds = {kind for kind, _ in wanted[index]}
        seen = dict.fromkeys(kinds, 0)  # coordinates of each kind among the tokens so far
        missing = len(wanted[index])
        for start, moved in validation.in_blocks(before, after):
            ulps = bf16.ulp(moved.before)
            for kind in kinds:
                places = validation.UNUSUAL[kind](moved).nonzero()
                for ordinal in (ordinal - seen[kind] for own, ordinal in wanted[index] if own == kind):
                    if 0 <= ordinal < len(places):
                        at = tuple(places[ordinal].tolist())
                        values = validation.place(index + 1, start, at, moved)
                        found[kind].append((KINDS[kind], sum(by_step[kind]), *values, ulps[at].item()))
                        missing -= 1
                seen[kind] += len(places)
            if not missing:  # the tokens after these need not be looked at
                break
    for kind in found:
        yield from found[kind]


def draw(total: int, number: int, seed: str) -> list[int]:
    """`number` of the integers 0 … total − 1, ascending, each set as likely as another (Floyd's algorithm).

    From `random.random` alone, whose numbers are the same in every version of Python.
    """
    generator, chosen = random.Random(seed), set[int]()
    for last in range(max(0, total - number), total):
        one = int(generator.random() * (last + 1))
        chosen.add(last if one in chosen else one)
    return sorted(chosen)
