"""Compiled loops of cpu_step.py: everything between two matrix products, fused into single passes.

Arrays are float32, or uint16 with the bit patterns of bfloat16. Arithmetic is float32 and every store rounds once, to
nearest even. The compiler may reorder sums, in an order that is fixed for one processor. NaN and infinity propagate, so
that a diverging run shows in its loss.
"""

import numpy as np
from numba import njit, types
from numba.extending import overload

_SUMS = {"reassoc", "contract", "nsz", "arcp"}
_loop = njit(fastmath=_SUMS, nogil=True, error_model="numpy", cache=True)
_inline = njit(fastmath=_SUMS, inline="always", error_model="numpy")

F = np.float32
U = np.uint32
_GELU = F(1.5957691216057308)  # 2 √(2/π)


def load(value):
    """A stored value as float32."""


def store(array, value):
    """A float32 value as `array` stores it."""


@overload(load, inline="always")
def _load(value):
    if value == types.uint16:
        return lambda value: U(U(value) << U(16)).view(np.float32)
    return lambda value: value


@overload(store, inline="always")
def _store(array, value):
    if array.dtype == types.uint16:

        def to_bfloat16(array, value):
            bits = F(value).view(np.uint32)
            return np.uint16((bits + U(0x7FFF) + ((bits >> U(16)) & U(1))) >> U(16))

        return to_bfloat16
    return lambda array, value: F(value)


@_inline
def _exp(x):
    """e**x within 2 ULP of float32 (Cephes' polynomial), in operations that the compiler can vectorise."""
    x = F(88.0) if x > F(88.0) else x
    x = F(-87.0) if x < F(-87.0) else x
    n = np.floor(x * F(1.44269504) + F(0.5))
    r = x - n * F(0.693359375)
    r = r + n * F(2.12194440e-4)
    p = F(1.9875691500e-4)
    p = p * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    y = p * r * r + r + F(1)
    return y * U((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@_loop
def _normalise(x, gain, bias, y, mean, rstd, i):
    width = x.shape[1]
    total = F(0)
    for c in range(width):
        total += load(x[i, c])
    m = total / F(width)
    square = F(0)
    for c in range(width):
        d = load(x[i, c]) - m
        square += d * d
    r = F(1) / np.sqrt(square / F(width) + F(1e-5))
    mean[i] = m
    rstd[i] = r
    for c in range(width):
        y[i, c] = store(y, (load(x[i, c]) - m) * r * load(gain[c]) + load(bias[c]))


@_loop
def embed(tokens, wte, wpe, gain, bias, x, y, mean, rstd):
    """x = wte[token] + wpe[position], y = LayerNorm(x)."""
    batch, context = tokens.shape
    for b in range(batch):
        for t in range(context):
            i = b * context + t
            token = tokens[b, t]
            for c in range(x.shape[1]):
                x[i, c] = store(x, load(wte[token, c]) + load(wpe[t, c]))
            _normalise(x, gain, bias, y, mean, rstd, i)


@_loop
def add_norm(x, branch, gain, bias, out, y, mean, rstd):
    """out = x + branch, y = LayerNorm(out)."""
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[i, c] = store(out, load(x[i, c]) + load(branch[i, c]))
        _normalise(out, gain, bias, y, mean, rstd, i)


@_loop
def norm_backward(dy, x, mean, rstd, gain, dx, dgain, dbias):
    """dx += the gradient through y = LayerNorm(x); dgain and dbias are sums over the rows."""
    rows, width = x.shape
    sum_gain, sum_bias = np.zeros(width, F), np.zeros(width, F)
    for i in range(rows):
        m, r = mean[i], rstd[i]
        total, dot = F(0), F(0)
        for c in range(width):
            scaled = load(dy[i, c]) * load(gain[c])
            total += scaled
            dot += scaled * (load(x[i, c]) - m)
        total /= F(width)
        dot = dot * r / F(width)
        for c in range(width):
            g = load(dy[i, c])
            normal = (load(x[i, c]) - m) * r
            sum_gain[c] += g * normal
            sum_bias[c] += g
            dx[i, c] = store(dx, load(dx[i, c]) + r * (g * load(gain[c]) - total - normal * dot))
    for c in range(width):
        dgain[c] = store(dgain, sum_gain[c])
        dbias[c] = store(dbias, sum_bias[c])


@_loop
def split_heads(flat, parts):
    """flat (B, T, P, H, d) → parts (P, B, H, T, d): P is 3 for query, key and value, 1 for one of them."""
    kinds, batch, heads, context, size = parts.shape
    for b in range(batch):
        for t in range(context):
            for p in range(kinds):
                for h in range(heads):
                    for d in range(size):
                        parts[p, b, h, t, d] = flat[b, t, p, h, d]


@_loop
def merge_heads(parts, flat):
    """The inverse of split_heads."""
    kinds, batch, heads, context, size = parts.shape
    for b in range(batch):
        for t in range(context):
            for p in range(kinds):
                for h in range(heads):
                    for d in range(size):
                        flat[b, t, p, h, d] = parts[p, b, h, t, d]


@njit(fastmath=_SUMS | {"nnan"}, nogil=True, cache=True)
def _largest(row, n):
    top = load(row[0])
    for j in range(1, n):
        top = max(top, load(row[j]))
    return top


@_loop
def causal_softmax(scores, scale, out):
    """out[i, j ≤ i] = softmax of scale · scores[i, :i+1]; entries j > i of `out` are not touched and stay 0."""
    groups, context, _ = scores.shape
    power = np.empty(context, F)
    for g in range(groups):
        for i in range(context):
            top = _largest(scores[g, i], i + 1)
            total = F(0)
            for j in range(i + 1):
                power[j] = _exp((load(scores[g, i, j]) - top) * scale)
                total += power[j]
            share = F(1) / total
            for j in range(i + 1):
                out[g, i, j] = store(out, power[j] * share)


@_loop
def causal_softmax_backward(p, dp, scale, ds):
    """ds = scale · p · (dp − Σ p·dp) for j ≤ i; entries j > i of `ds` are not touched and stay 0."""
    groups, context, _ = p.shape
    for g in range(groups):
        for i in range(context):
            dot = F(0)
            for j in range(i + 1):
                dot += load(p[g, i, j]) * load(dp[g, i, j])
            for j in range(i + 1):
                ds[g, i, j] = store(ds, scale * load(p[g, i, j]) * (load(dp[g, i, j]) - dot))


@_loop
def gelu(z, a):
    """a = GELU(z), the tanh form: z · sigmoid(2u), u = √(2/π) (z + 0.044715 z³)."""
    for i in range(z.size):
        x = load(z[i])
        u = _GELU * (x + F(0.044715) * x * x * x)
        a[i] = store(a, x / (F(1) + _exp(-u)))


@_loop
def gelu_backward(z, grad):
    """grad *= GELU′(z), in place."""
    for i in range(z.size):
        x = load(z[i])
        u = _GELU * (x + F(0.044715) * x * x * x)
        s = F(1) / (F(1) + _exp(-u))
        slope = s + x * s * (F(1) - s) * _GELU * (F(1) + F(0.134145) * x * x)
        grad[i] = store(grad, load(grad[i]) * slope)


@_loop
def column_sums(x, out):
    """out = the sum of x over its rows."""
    sums = np.zeros(x.shape[1], F)
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            sums[c] += load(x[i, c])
    for c in range(x.shape[1]):
        out[c] = store(out, sums[c])


@_loop
def cross_entropy(logits, targets, weight, dlogits, seen):
    """Σ (logsumexp − logit of the target) over rows with a target ≥ 0, and weight · its gradient.

    `dlogits` may be `logits`: a row's gradient is written after the row has been read. `seen` float32 (V,), or empty:
    each token's softmax probability is added to it, over these rows.
    """
    vocabulary = logits.shape[1]
    power = np.empty(vocabulary, F)
    loss = 0.0
    for i in range(logits.shape[0]):
        target = targets[i]
        if target < 0:
            for v in range(vocabulary):
                dlogits[i, v] = store(dlogits, F(0))
            continue
        top = _largest(logits[i], vocabulary)
        total = F(0)
        for v in range(vocabulary):
            power[v] = _exp(load(logits[i, v]) - top)
            total += power[v]
        loss += np.log(total) + top - load(logits[i, target])
        share = weight / total
        for v in range(vocabulary):
            dlogits[i, v] = store(dlogits, power[v] * share)
        dlogits[i, target] = store(dlogits, power[target] * share - weight)
        if seen.size:
            part = F(1) / total
            for v in range(vocabulary):
                seen[v] += power[v] * part
    return loss


@_loop
def hidden_sum(y, targets, sums):
    """sums float64 (C,) += the rows of y with a target ≥ 0; returns their number."""
    count = 0
    for i in range(y.shape[0]):
        if targets[i] >= 0:
            count += 1
            for c in range(y.shape[1]):
                sums[c] += load(y[i, c])
    return count


@_loop
def hidden_squares(y, targets, mean):
    """The sum over rows of y with a target ≥ 0 of |row − mean|²; mean float32 (C,)."""
    total = 0.0
    for i in range(y.shape[0]):
        if targets[i] >= 0:
            square = F(0)
            for c in range(y.shape[1]):
                away = load(y[i, c]) - mean[c]
                square += away * away
            total += float(square)
    return total


@_loop
def embed_backward(tokens, dx, dwte, dwpe):
    """dwte[token] += dx, where dwte holds the output layer's gradient, or 0; dwpe[position] = Σ dx."""
    batch, context = tokens.shape
    width = dx.shape[1]
    words, places = np.empty((dwte.shape[0], width), F), np.zeros((dwpe.shape[0], width), F)
    for v in range(dwte.shape[0]):
        for c in range(width):
            words[v, c] = load(dwte[v, c])
    for b in range(batch):
        for t in range(context):
            token = tokens[b, t]
            for c in range(width):
                g = load(dx[b * context + t, c])
                words[token, c] += g
                places[t, c] += g
    for v in range(dwte.shape[0]):
        for c in range(width):
            dwte[v, c] = store(dwte, words[v, c])
    for t in range(dwpe.shape[0]):
        for c in range(width):
            dwpe[t, c] = store(dwpe, places[t, c])
