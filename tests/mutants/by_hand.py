"""Changes of the loops that numba compiles, where a mutation tester would mostly make code that does not compile.

(file, old, new): `old` is found once in the file.
"""

CHEBYSHEV = "kernels/compiled/chebyshev.py"
COMPONENTS = "kernels/compiled/components.py"
DUPLICATES = "kernels/compiled/duplicates.py"
EUCLIDEAN = "kernels/compiled/euclidean.py"
LATTICE = "kernels/compiled/lattice.py"
NEIGHBOURS = "kernels/compiled/neighbours.py"
PAIRS = "kernels/compiled/pairs.py"
SNOWBALL = "kernels/compiled/snowball.py"
TRAINING = "training/cpu_loops.py"

CHANGES = [
    (CHEBYSHEV, "np.zeros((depth, width), np.float32)", "np.full((depth, width), 1, np.float32)"),
    (CHEBYSHEV, "abs(d0 - x)", "abs(d0 + x)"),
    (CHEBYSHEV, "for i in range(0, height, 2):", "for i in range(0, height - 1, 2):"),
    (CHEBYSHEV, "for j in range(top + height, V):", "for j in range(top + height + 1, V):"),
    (CHEBYSHEV, "-magnitude if bits < 0", "-magnitude if bits <= 0"),
    (CHEBYSHEV, "-magnitude if bits < 0 else magnitude", "magnitude"),
    (CHEBYSHEV, "bad |= not np.isfinite(history[s, i, k])", "bad |= np.isnan(history[s, i, k])"),
    (COMPONENTS, "    if i < j:", "    if i > j:"),
    (COMPONENTS, "for j in range(V):", "for j in range(i, V):"),
    (COMPONENTS, "hit = np.int32(row[j] <= limit)", "hit = np.int32(row[j] < limit)"),
    (COMPONENTS, "if row[j] <= limit and", "if row[j] < limit and"),
    (COMPONENTS, "bad |= not row[j] >= 0", "bad |= row[j] < 0"),
    (COMPONENTS, "isolated += size[i] == 1", "isolated += size[i] <= 1"),
    (COMPONENTS, "if size[i] > size[largest]:", "if size[i] >= size[largest]:"),
    (COMPONENTS, "ends[largest] // 2, size[largest]", "ends[largest], size[largest]"),
    (DUPLICATES, "(np.uint64(0) if value == minus_zero else np.uint64(value))", "np.uint64(value)"),
    (
        DUPLICATES,
        "if hashes[s, i] == hashes[s, j] and _equal(bits[s, i], bits[s, j], minus_zero):",
        "if hashes[s, i] == hashes[s, j]:",
    ),
    (DUPLICATES, "slots[:] = -1", "slots[:] = -1 if s == 0 else slots"),
    (DUPLICATES, "(u == 0 or u == minus_zero) and", "(u == 0) and"),
    (DUPLICATES, "bad |= (value & exponent) == infinite", "bad |= value == infinite"),
    (EUCLIDEAN, "SMALL = 2.0**-80", "SMALL = 2.0**-120"),
    (EUCLIDEAN, "CHUNK = 64 ", "CHUNK = 4096 "),
    (EUCLIDEAN, "row[c] = 0.0 if equal else", "row[c] = 0.0 if equal or True else"),
    (EUCLIDEAN, "row[c] = np.sqrt(sums[r, c]) * back", "row[c] = np.sqrt(sums[r, c])"),
    (
        EUCLIDEAN,
        "for j in range(max(left, start), left + width):",
        "for j in range(max(left, start) + 1, left + width):",
    ),
    (
        EUCLIDEAN,
        "for r in range(max(0, start - top), min(height, j - top)):",
        "for r in range(max(0, start - top), min(height, j - top - 1)):",
    ),
    (EUCLIDEAN, "        second[c] += np.float64(partial[TILE + c])", "        second[c] += np.float64(partial[c])"),
    (LATTICE, "exponent = max(I((bits >> I(7)) & I(0xFF)), I(1))", "exponent = max(I((bits >> I(7)) & I(0xFF)), I(0))"),
    (LATTICE, "return I(8) if I(bits & I(0x7FFF)) == 0", "return I(8) if I(bits) == 0"),
    (
        LATTICE,
        "cross = I((a ^ b) & I(0x7F80)) != 0\n        crosses[k]",
        "cross = I((a ^ b) & I(0xFF80)) != 0\n        crosses[k]",
    ),
    (LATTICE, "half = I(half + (fraction == _HALF))", "half = I(half + (fraction >= _HALF / 2))"),
    (LATTICE, "(size > _BEYOND_FLOAT)", "(size >= _BEYOND_FLOAT)"),
    (LATTICE, "((a == b) & ((not still) | (not rests)))", "((a == b) | ((not still) | (not rests)))"),
    (LATTICE, "(cross & (still | rests))", "(cross & still)"),
    (LATTICE, "size if smaller[k] >= limit", "size if smaller[k] > limit"),
    (LATTICE, "return I((units + 255) >> 8)", "return I(units >> 8)"),
    (LATTICE, "(I(a ^ b) < 0) & (smaller != 0)", "(I(a ^ b) < 0)"),
    (LATTICE, "((whole == 0) & (d != 0))", "(whole == 0)"),
    (LATTICE, "np.float64(np.rint(d)) if abs(d)", "np.float64(np.floor(d)) if abs(d)"),
    (
        LATTICE,
        "return ((x[i, 0] + x[i, 4]) + (x[i, 2] + x[i, 6]))",
        "return ((x[i, 0] + x[i, 2]) + (x[i, 4] + x[i, 6]))",
    ),
    (NEIGHBOURS, 'hit = builder.fcmp_ordered("<=", m, limit)', 'hit = builder.fcmp_ordered("<", m, limit)'),
    (NEIGHBOURS, "hit = np.int64(largest[lane] <= limit)", "hit = np.int64(largest[lane] < limit)"),
    (NEIGHBOURS, "while rows[start, 0] - rows[begin, 0] > limit:", "while rows[start, 0] - rows[begin, 0] >= limit:"),
    (NEIGHBOURS, "within += weight[p] * (weight[p] - 1) // 2", "within += weight[p] * weight[p] // 2"),
    (NEIGHBOURS, "ends[p] += hits * weight[p]", "ends[p] += hits"),
    (NEIGHBOURS, "and smallest[p] < smallest[best]", "and smallest[p] > smallest[best]"),
    (NEIGHBOURS, "if limit >= 0:", "if limit > 0:"),
    (PAIRS, "bad |= row[j] > INFINITE", "bad |= row[j] >= INFINITE"),
    (PAIRS, "if row[j] == low and j != i:", "if row[j] == low:"),
    (PAIRS, "for side in (row[:i], row[i + 1 :]):", "for side in (row[:i], row[i:]):"),
    (PAIRS, "above if above == NONE else np.uint32(above + ONE)", "np.uint32(above + ONE)"),
    (PAIRS, "if row[j] >> SHIFT == upper:", "if row[j] >> SHIFT >= upper:"),
    (SNOWBALL, "np.uint32(0x7FFF) + (bits[0] >> np.uint32(16) & np.uint32(1))", "np.uint32(0x8000)"),
    (SNOWBALL, "range(2 if near < end - near else 1)", "range(2 if near < end - near - 1 else 1)"),
    (SNOWBALL, "if upper >> 11 == prefix:", "if upper >> 11 <= prefix:"),
    (SNOWBALL, "(0x800000 if exponent else 0)", "0x800000"),
    (TRAINING, "F(1e-5)", "F(1e-6)"),
    (TRAINING, "y = p * r * r + r + F(1)", "y = p * r * r + r"),
    (TRAINING, "((bits >> U(16)) & U(1))) >> U(16))", "U(1)) >> U(16))"),
    (TRAINING, "top = _largest(scores[g, i], i + 1)", "top = _largest(scores[g, i], i)"),
    (TRAINING, "store(ds, scale * load(p[g, i, j])", "store(ds, load(p[g, i, j])"),
    (TRAINING, "F(1) + F(0.134145) * x * x", "F(1) + F(0.044715) * x * x"),
    (TRAINING, "power[target] * share - weight)", "power[target] * share - F(1))"),
    (TRAINING, "        if target < 0:", "        if target <= 0:"),
    (TRAINING, "total - normal * dot", "total"),
    (TRAINING, "                words[token, c] += g", "                words[token, c] = g"),
    (TRAINING, "places[t, c] += g", "places[t, c] = g"),
    (TRAINING, "sum_gain[c] += g * normal", "sum_gain[c] += g"),
]
