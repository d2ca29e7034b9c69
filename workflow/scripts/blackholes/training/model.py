"""GPT-2's parameters: names and shapes as in a Hugging Face checkpoint, initialisation, and the checkpoint itself."""

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from blackholes.artifacts.files import write_text
from blackholes.artifacts.tensors import write_tensors
from blackholes.kernels import gpt2
from blackholes.training.settings import Init, Model

EMBEDDING = "transformer.wte.weight"
OUTPUT = gpt2.OUTPUT  # of models whose embeddings are not tied


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Name → shape of every parameter, in the order of `GPT2LMHeadModel.named_parameters()`."""
    V, T, C = model.vocabulary_size, model.context, model.width
    sizes: dict[str, tuple[int, ...]] = {EMBEDDING: (V, C), "transformer.wpe.weight": (T, C)}
    for layer in range(model.layers):
        h = f"transformer.h.{layer}"
        sizes |= {
            f"{h}.ln_1.weight": (C,), f"{h}.ln_1.bias": (C,),
            f"{h}.attn.c_attn.weight": (C, 3 * C), f"{h}.attn.c_attn.bias": (3 * C,),
            f"{h}.attn.c_proj.weight": (C, C), f"{h}.attn.c_proj.bias": (C,),
            f"{h}.ln_2.weight": (C,), f"{h}.ln_2.bias": (C,),
            f"{h}.mlp.c_fc.weight": (C, 4 * C), f"{h}.mlp.c_fc.bias": (4 * C,),
            f"{h}.mlp.c_proj.weight": (4 * C, C), f"{h}.mlp.c_proj.bias": (C,),
        }  # fmt: skip
    sizes |= {"transformer.ln_f.weight": (C,), "transformer.ln_f.bias": (C,)}
    return sizes if model.tied else sizes | {OUTPUT: (V, C)}


def decays(name: str) -> bool:
    """Whether weight decay applies: to all parameters but biases and LayerNorm's, as in the Trainer."""
    return not name.endswith(".bias") and ".ln_" not in name


def initialise(model: Model, init: Init, seed: int) -> dict[str, Tensor]:
    """Initial parameters in float32, distributed as in `transformers`, except for the embedding.

    Weights are N(0, 0.02²), projections into the residual stream N(0, (0.02 / √(2 layers))²), biases 0, LayerNorm
    gains 1. The embedding, by `init.mode`:

    - `normal`: N(0, 0.02²), like the other weights.
    - `qwen`: all rows are the same point, drawn from N(0, I); `unit_norm` divides it by its norm, `norm` scales it to a
      norm in float32.
    - `noise`: that point plus V × D draws from N(0, `sigma`²). With `drawn_in: float32` they are added in float32
      and the sum is rounded to bfloat16. With `drawn_in: bfloat16`, the control, the point is rounded, and the noise
      drawn, scaled and added in bfloat16, so it changes only coordinates whose ULP is not large against it.

    An output matrix of its own (`model.tied` false) starts as a copy of the embedding: the model computes at first what
    the tied one of the same seed does.

    Raises ValueError for another mode.
    """
    if init.mode not in ("normal", "qwen", "noise"):
        raise ValueError(f"init: mode {init.mode!r} is not one of 'normal', 'qwen', 'noise'")
    draw = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes(model).items():
        if name == OUTPUT:
            continue
        if name.endswith(".bias"):
            weights[name] = torch.zeros(shape)
        elif ".ln_" in name:
            weights[name] = torch.ones(shape)
        else:
            std = 0.02 / math.sqrt(2 * model.layers) if name.endswith("c_proj.weight") else 0.02
            weights[name] = torch.randn(shape, generator=draw) * std
    if init.mode != "normal":
        point = torch.randn(model.width, generator=draw)
        if init.unit_norm:
            point /= torch.linalg.vector_norm(point)
        elif init.norm is not None:
            point *= init.norm / torch.linalg.vector_norm(point)
        weights[EMBEDDING] = point.expand(model.vocabulary_size, -1).clone()
    if init.mode == "noise":
        assert init.drawn_in is not None  # for mypy: this mode has both
        assert init.sigma is not None
        drawn_in = {"float32": torch.float32, "bfloat16": torch.bfloat16}[init.drawn_in]
        noise = torch.randn(weights[EMBEDDING].shape, generator=draw, dtype=drawn_in) * init.sigma
        weights[EMBEDDING] = (weights[EMBEDDING].to(drawn_in) + noise).bfloat16().float()
    return weights if model.tied else weights | {OUTPUT: weights[EMBEDDING].clone()}


def write_checkpoint(
    config: Path, tensors: Path, weights: dict[str, Tensor], model: Model, metadata: dict[str, str]
) -> None:
    """Write `config.json` and `model.safetensors` so that `GPT2LMHeadModel.from_pretrained` loads their folder."""
    dtype = str(weights[EMBEDDING].dtype).removeprefix("torch.")
    settings = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": model.vocabulary_size,
        "n_positions": model.context,
        "n_embd": model.width,
        "n_layer": model.layers,
        "n_head": model.heads,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
        "tie_word_embeddings": model.tied,
        "dtype": dtype,
    }
    write_tensors(tensors, weights, {"format": "pt"} | metadata)
    write_text(config, json.dumps(settings, indent=2) + "\n")
