"""Compiled loop of lineage.py: identities of holes from step to step, and the tokens that pass between them.

A step is linear in the number of tokens: they are put in the order of (hole before, hole after) by two counting sorts.
"""

import numpy as np

from blackholes.kernels.compiled import compiled

NONE = -1
STAYS, MOVES, EVAPORATION, DISSOLUTION, CAPTURE, FORMATION = range(6)


@compiled
def follow(labels, first_step, flicker, before, last_flow, alive, counters, flows, populations):
    """Advance over steps until they end or an output is full; returns how many steps were taken.

    labels int32 (s, V); before int32 (4, V): labels of the step before and, by label, that hole's population (0: no
    hole), identity and segment; last_flow int64 (V,): the last flow that moved a token; alive uint8 (I,), by identity;
    counters int64 (5,): number of the first row of `flows`, rows used of `flows` and `populations`, identities and
    segments so far; flows int32 (N, 8): step, kind, segments, identities (from, to), tokens, flicker;
    populations int32 (M, 5): identity, segment, step, label, population (0: the identity has ended).
    """
    steps, V = labels.shape
    size, hole, segment = np.empty(V, np.int32), np.empty(V, np.int32), np.empty(V, np.int32)
    first, order, by_child = np.empty(V + 2, np.int64), np.empty(V, np.int64), np.empty(V, np.int64)
    parent, child = np.empty(V, np.int64), np.empty(V, np.int64)  # V: a singleton
    pairs = np.empty((V, 3), np.int64)  # parent, child, where in `order` its tokens start
    children, parents = np.empty(V + 1, np.int64), np.empty(V + 1, np.int64)  # numbers of holes
    heir, heir_part = np.empty(V, np.int64), np.empty(V, np.int64)
    giver, giver_part = np.empty(V, np.int64), np.empty(V, np.int64)
    for s in range(steps):
        if counters[1] + V > len(flows) or counters[2] + V > len(populations) or counters[3] + V > len(alive):
            return s
        now, step = labels[s], first_step + s
        same = step > 0
        for k in range(V):
            same &= now[k] == before[0, k]
        if same:
            continue
        size[:] = 0
        for k in range(V):
            size[now[k]] += 1
        for k in range(V):
            if size[k] == 1:
                size[k] = 0
        if step == 0:
            for c in range(V):
                if size[c]:
                    hole[c], segment[c] = _begin(counters, alive)
                    _record(counters, populations, hole[c], segment[c], step, c, size[c])
            before[0], before[1], before[2], before[3] = now, size, hole, segment
            continue

        # the tokens of every pair (hole before, hole after), in order of their labels
        for k in range(V):
            p, c = before[0, k], now[k]
            parent[k] = p if before[1, p] else V
            child[k] = c if size[c] else V
        _sort(child, np.arange(V), first, by_child)
        _sort(parent, by_child, first, order)
        n_pairs = 0
        for i in range(V):
            k = order[i]
            if i == 0 or parent[k] != pairs[n_pairs - 1, 0] or child[k] != pairs[n_pairs - 1, 1]:
                pairs[n_pairs, 0], pairs[n_pairs, 1], pairs[n_pairs, 2] = parent[k], child[k], i
                n_pairs += 1

        # to whom each identity goes: > keeps the smallest label of a tie
        children[:], parents[:], heir[:], giver[:], heir_part[:], giver_part[:] = 0, 0, NONE, NONE, 0, 0
        for i in range(n_pairs):
            p, c, part = pairs[i, 0], pairs[i, 1], _end(pairs, i, n_pairs, V) - pairs[i, 2]
            if p < V and c < V:
                children[p] += 1
                parents[c] += 1
                if part > heir_part[p]:
                    heir[p], heir_part[p] = c, part
        for p in range(V):
            if heir[p] != NONE and heir_part[p] > giver_part[heir[p]]:
                giver[heir[p]], giver_part[heir[p]] = p, heir_part[p]
        new = counters[3]
        for c in range(V):
            if size[c]:
                p = giver[c]
                goes_on = p != NONE and children[p] == 1 and parents[c] == 1
                if p == NONE:
                    hole[c], segment[c] = _begin(counters, alive)
                else:
                    hole[c], segment[c] = before[2, p], before[3, p]
                    if not goes_on:
                        segment[c] = counters[4]
                        counters[4] += 1
                if not goes_on or size[c] != before[1, p]:
                    _record(counters, populations, hole[c], segment[c], step, c, size[c])

        for i in range(n_pairs):
            p, c, start, end = pairs[i, 0], pairs[i, 1], pairs[i, 2], _end(pairs, i, n_pairs, V)
            if (p == V and c == V) or (p < V and c < V and children[p] == 1 and parents[c] == 1):
                continue
            source, target = (before[2, p] if p < V else NONE), (hole[c] if c < V else NONE)
            if source == target:
                kind = STAYS
            elif target == NONE:
                kind = EVAPORATION if children[p] else DISSOLUTION
            elif source == NONE:
                kind = CAPTURE if parents[c] else FORMATION
            else:
                kind = MOVES
            row = counters[1]
            flow = flows[row]
            flow[0], flow[1], flow[4], flow[5], flow[6], flow[7] = step, kind, source, target, end - start, 0
            flow[2], flow[3] = (before[3, p] if p < V else NONE), (segment[c] if c < V else NONE)
            counters[1] += 1
            if kind != STAYS:
                earlier = _same_flow(order, start, end, last_flow) - counters[0]
                if earlier >= 0:
                    e = flows[earlier]
                    back = target == e[4] or (e[4] != NONE and not alive[e[4]] and target >= new)
                    if e[6] == end - start and step - e[0] <= flicker and back:
                        e[7] = flow[7] = 1
                for j in range(start, end):
                    last_flow[order[j]] = counters[0] + row
        for p in range(V):  # after all flows: whether an identity has ended is asked of the step before
            if before[1, p] and (heir[p] == NONE or giver[heir[p]] != p):
                alive[before[2, p]] = 0
                _record(counters, populations, before[2, p], before[3, p], step, p, 0)
        before[0], before[1], before[2], before[3] = now, size, hole, segment
    return steps


@compiled
def _begin(counters, alive):
    """A new identity and a new segment."""
    identity, segment = counters[3], counters[4]
    alive[identity] = 1
    counters[3] += 1
    counters[4] += 1
    return identity, segment


@compiled
def _record(counters, populations, identity, segment, step, label, population):
    row = populations[counters[2]]
    row[0], row[1], row[2], row[3], row[4] = identity, segment, step, label, population
    counters[2] += 1


@compiled
def _sort(keys, items, first, order):
    """order: items by keys[item] in 0 … V, stable."""
    first[:] = 0
    for k in range(len(keys)):
        first[keys[k] + 1] += 1
    for key in range(1, len(first)):
        first[key] += first[key - 1]
    for i in range(len(items)):
        key = keys[items[i]]
        order[first[key]] = items[i]
        first[key] += 1


@compiled
def _end(pairs, i, n_pairs, V):
    return pairs[i + 1, 2] if i + 1 < n_pairs else V


@compiled
def _same_flow(order, start, end, last_flow):
    """The flow that moved all of these tokens last, or −1."""
    flow = last_flow[order[start]]
    for j in range(start + 1, end):
        if last_flow[order[j]] != flow:
            return -1
    return flow
