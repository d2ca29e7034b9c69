"""Loss and gradients of one GPT-2 on a CPU, with hand-written derivatives.

Matrix products are torch's; everything between them is in the compiled loops of cpu_loops.py. All buffers are allocated
once. The formula is `kernels.gpt2.loss`; tests compare the two, and both with `transformers.GPT2LMHeadModel`. Stored
activations and gradients have the dtype of the weights; sums and functions are evaluated in float32.
"""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from blackholes.kernels.gpt2 import OUTPUT, layer_count
from blackholes.training import cpu_loops as loops

Weights = Mapping[str, Tensor]


class CpuStep:
    """A callable that computes loss and gradients for one set of weights, whose values may change between calls.

    Args:
        weights: float32 or bfloat16 CPU tensors, contiguous; read at every call.
        gradients: tensors like the weights; overwritten at every call.
        batch, context, heads: B, T and H of every call.
        pieces: the batch is split into so many, at most B, each with gradients of its own that are added in order.
            This enters the result, since it changes the order of sums.
        threads: most pieces that are computed at once; this does not enter the result.
        divisor: of the summed loss; None: the number of targets of the call (see `kernels.gpt2.losses`).
        watch: whether `output_state` is asked for.
    """

    def __init__(
        self,
        weights: Weights,
        gradients: Weights,
        batch: int,
        context: int,
        heads: int,
        pieces: int = 1,
        threads: int = 1,
        divisor: int | None = None,
        watch: bool = False,
    ):
        pieces = min(pieces, batch)
        sizes = [batch // pieces + (i < batch % pieces) for i in range(pieces)]
        self._parts, self._sums = [], []
        for i, size in enumerate(sizes):
            own = gradients if i == 0 else {name: torch.empty_like(g) for name, g in gradients.items()}
            self._parts.append(_Part(weights, own, size, context, heads, watch))
            self._sums.append(own)
        self._sizes, self._divisor = sizes, divisor
        self._pool = ThreadPoolExecutor(min(threads, pieces), initializer=torch.set_num_threads, initargs=(1,))

    def __call__(self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"]) -> float:
        """The loss (see `kernels.gpt2.loss`); the gradients are written to the tensors given at construction."""
        scale = 1.0 / (self._divisor or int((targets >= 0).sum()))
        if len(self._parts) == 1:
            return self._parts[0](tokens, targets, scale) * scale
        pieces = zip(self._parts, tokens.split(self._sizes), targets.split(self._sizes), strict=True)
        total = sum(self._pool.map(lambda piece: piece[0](piece[1], piece[2], scale), pieces))
        for other in self._sums[1:]:
            for name, gradient in self._sums[0].items():
                gradient += other[name]
        return total * scale

    def output_state(self) -> dict[str, Tensor]:
        """`kernels.forces.output_state` of the latest call, with K = 1. Sums over the pieces are in their order."""
        parts = [(part.end_arrays["y"], part.targets, part.seen) for part in self._parts]
        sums = np.zeros(parts[0][0].shape[1])
        count = sum(loops.hidden_sum(y, targets, sums) for y, targets, _ in parts)
        mean = (sums / count).astype(np.float32)
        spread = math.sqrt(sum(loops.hidden_squares(y, targets, mean) for y, targets, _ in parts) / count)
        seen = parts[0][2] / np.float32(count)
        for _, _, other in parts[1:]:
            seen += other / np.float32(count)
        return {
            "probability": torch.from_numpy(seen)[None],
            "hidden_mean": torch.from_numpy(mean)[None],
            "hidden_spread": torch.tensor([spread], dtype=torch.float32),
        }


class _Part:
    """One piece of the batch: its buffers, its forward and its backward pass."""

    def __init__(self, weights: Weights, gradients: Weights, batch: int, context: int, heads: int, watch: bool):
        self.w, self.g = weights, gradients
        self.wa, self.ga = _arrays(weights), _arrays(gradients)
        wte = weights["transformer.wte.weight"]
        self.head = OUTPUT if OUTPUT in weights else "transformer.wte.weight"
        V, C = wte.shape
        N, BH, d = batch * context, batch * heads, C // heads
        self.scale = 1 / math.sqrt(d)
        self.seen, self.targets = np.zeros(V if watch else 0, np.float32), np.empty(0, np.int64)

        def buffer(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=wte.dtype)

        def layer() -> dict[str, Tensor]:
            return {
                "x": buffer(N, C), "y1": buffer(N, C), "qkv": buffer(3, batch, heads, context, d),
                "p": buffer(BH, context, context), "o": buffer(N, C), "mid": buffer(N, C),
                "y2": buffer(N, C), "z": buffer(N, 4 * C), "a": buffer(N, 4 * C),
                "mean1": torch.empty(N), "rstd1": torch.empty(N), "mean2": torch.empty(N), "rstd2": torch.empty(N),
            }  # fmt: skip

        self.layers = [layer() for _ in range(layer_count(weights))]
        self.end = {"x": buffer(N, C), "y": buffer(N, C), "mean": torch.empty(N), "rstd": torch.empty(N)}
        self.flat, self.branch, self.hidden = buffer(N, 3 * C), buffer(N, C), buffer(N, 4 * C)
        self.heads, self.qkv = buffer(1, batch, heads, context, d), buffer(3, batch, heads, context, d)
        self.scores, self.ds = buffer(BH, context, context), buffer(BH, context, context)
        self.logits, self.dx = buffer(N, V), buffer(N, C)  # logits holds their gradient after forward()
        self.by_head = lambda flat: flat.reshape(batch, context, -1, heads, d)
        self.stacked = lambda parts: parts.view(-1, BH, context, d)
        self.layer_arrays = [_arrays(layer) for layer in self.layers]
        self.end_arrays = _arrays(self.end)
        names = ("flat", "branch", "hidden", "heads", "qkv", "scores", "ds", "logits", "dx")
        self.arrays = _arrays({name: getattr(self, name) for name in names})
        self.product = torch.mm if _has_fast_products(wte.dtype) else _product_in_float32
        self.products = torch.bmm if _has_fast_products(wte.dtype) else _product_in_float32

    def __call__(self, tokens: Tensor, targets: Tensor, scale: float) -> float:
        ids = tokens.numpy()
        self.targets = targets.reshape(-1).numpy()
        total = self.forward(ids, self.targets, scale)
        self.backward(ids)
        return total

    def linear(self, x: Tensor, name: str, out: Tensor) -> None:
        bias, weight = self.w[f"{name}.bias"], self.w[f"{name}.weight"]
        if self.product is torch.mm:
            torch.addmm(bias, x, weight, out=out)
        else:
            out.copy_(torch.addmm(bias.float(), x.float(), weight.float()))

    def forward(self, tokens, targets, scale: float) -> float:
        a, wa = self.arrays, self.wa
        wte = "transformer.wte.weight"
        for i, (layer, la) in enumerate(zip(self.layers, self.layer_arrays, strict=True)):
            h = f"transformer.h.{i}"
            norm = (wa[f"{h}.ln_1.weight"], wa[f"{h}.ln_1.bias"])
            if i == 0:
                places = wa["transformer.wpe.weight"]
                loops.embed(tokens, wa[wte], places, *norm, la["x"], la["y1"], la["mean1"], la["rstd1"])
            else:
                before = self.layer_arrays[i - 1]["mid"]
                loops.add_norm(before, a["branch"], *norm, la["x"], la["y1"], la["mean1"], la["rstd1"])
            self.linear(layer["y1"], f"{h}.attn.c_attn", self.flat)
            loops.split_heads(self.by_head(a["flat"]), la["qkv"])
            q, k, v = self.stacked(layer["qkv"])
            self.products(q, k.transpose(1, 2), out=self.scores)  # (B·H, T, T)
            loops.causal_softmax(a["scores"], loops.F(self.scale), la["p"])
            self.products(layer["p"], v, out=self.stacked(self.heads)[0])
            loops.merge_heads(a["heads"], self.by_head(la["o"]))
            self.linear(layer["o"], f"{h}.attn.c_proj", self.branch)
            norm = (wa[f"{h}.ln_2.weight"], wa[f"{h}.ln_2.bias"])
            loops.add_norm(la["x"], a["branch"], *norm, la["mid"], la["y2"], la["mean2"], la["rstd2"])
            self.linear(layer["y2"], f"{h}.mlp.c_fc", layer["z"])
            loops.gelu(la["z"].reshape(-1), la["a"].reshape(-1))
            self.linear(layer["a"], f"{h}.mlp.c_proj", self.branch)
        norm = (wa["transformer.ln_f.weight"], wa["transformer.ln_f.bias"])
        e = self.end_arrays
        loops.add_norm(self.layer_arrays[-1]["mid"], a["branch"], *norm, e["x"], e["y"], e["mean"], e["rstd"])
        self.product(self.end["y"], self.w[self.head].t(), out=self.logits)
        self.seen[:] = 0
        return loops.cross_entropy(a["logits"], targets, loops.F(scale), a["logits"], self.seen)

    def backward(self, tokens) -> None:
        a, ga, e = self.arrays, self.ga, self.end_arrays
        wte = "transformer.wte.weight"
        self.product(self.logits.t(), self.end["y"], out=self.g[self.head])
        self.product(self.logits, self.w[self.head], out=self.branch)
        self.dx.zero_()
        self.norm_backward(e["x"], e["mean"], e["rstd"], "transformer.ln_f")
        for i in reversed(range(len(self.layers))):
            layer, la, h = self.layers[i], self.layer_arrays[i], f"transformer.h.{i}"
            # x + MLP(LayerNorm(x)): dx holds the gradient of the sum
            self.linear_backward(layer["a"], self.dx, f"{h}.mlp.c_proj", self.hidden)
            loops.column_sums(a["dx"], ga[f"{h}.mlp.c_proj.bias"])
            loops.gelu_backward(la["z"].reshape(-1), a["hidden"].reshape(-1))
            loops.column_sums(a["hidden"], ga[f"{h}.mlp.c_fc.bias"])
            self.linear_backward(layer["y2"], self.hidden, f"{h}.mlp.c_fc", self.branch)
            self.norm_backward(la["mid"], la["mean2"], la["rstd2"], f"{h}.ln_2")
            # x + attention(LayerNorm(x))
            self.linear_backward(layer["o"], self.dx, f"{h}.attn.c_proj", self.branch)
            loops.column_sums(a["dx"], ga[f"{h}.attn.c_proj.bias"])
            loops.split_heads(self.by_head(a["branch"]), a["heads"])
            (do,), (q, k, v) = self.stacked(self.heads), self.stacked(layer["qkv"])
            dq, dk, dv = self.stacked(self.qkv)
            self.products(do, v.transpose(1, 2), out=self.scores)
            self.products(layer["p"].transpose(1, 2), do, out=dv)
            loops.causal_softmax_backward(la["p"], a["scores"], loops.F(self.scale), a["ds"])
            self.products(self.ds, k, out=dq)
            self.products(self.ds.transpose(1, 2), q, out=dk)
            loops.merge_heads(a["qkv"], self.by_head(a["flat"]))
            loops.column_sums(a["flat"], ga[f"{h}.attn.c_attn.bias"])
            self.linear_backward(layer["y1"], self.flat, f"{h}.attn.c_attn", self.branch)
            self.norm_backward(la["x"], la["mean1"], la["rstd1"], f"{h}.ln_1")
        if self.head != wte:  # tied, it holds the output layer's gradient by now
            self.g[wte].zero_()
        loops.embed_backward(tokens, a["dx"], ga[wte], ga["transformer.wpe.weight"])

    def linear_backward(self, x: Tensor, dy: Tensor, name: str, dx: Tensor) -> None:
        self.product(x.t(), dy, out=self.g[f"{name}.weight"])
        self.product(dy, self.w[f"{name}.weight"].t(), out=dx)

    def norm_backward(self, x, mean, rstd, name: str) -> None:
        """dx += the gradient of a LayerNorm whose output's gradient is in `branch`."""
        gain, dgain, dbias = self.wa[f"{name}.weight"], self.ga[f"{name}.weight"], self.ga[f"{name}.bias"]
        loops.norm_backward(self.arrays["branch"], x, mean, rstd, gain, self.arrays["dx"], dgain, dbias)


def _arrays(tensors: Weights) -> dict:
    """numpy views of the tensors' memory; bfloat16 as uint16."""
    return {
        name: (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in tensors.items()
    }


def _has_fast_products(dtype: torch.dtype) -> bool:
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _product_in_float32(a: Tensor, b: Tensor, out: Tensor) -> None:
    """A bfloat16 product for processors without fast ones: products and sums in float32, rounded once at the end."""
    out.copy_(a.float() @ b.float())
