"""A synthetic checkpoint with black holes as in Qwen3-4B, for tests of the census and the box."""

import json
from pathlib import Path

import torch
from blackholes.artifacts.tensors import write_tensors

POPULATIONS = [814, 704, 306, 228, 11, 10, 6, 5, 4, 4, 3, 3, 2]  # of Qwen3-4B-Instruct-2507
HOLE_TOKENS, ZERO_PAIRS = 2_100, 651_034
BOX = {"lat": [-15, 5], "lon": [-10, 20], "r": [0.2, 0.5]}  # the notebook's
NAME = "model.embed_tokens.weight"


def embedding(V=4096, D=24, populations=POPULATIONS, cloud=100, seed=0, dtype=torch.bfloat16):
    """(W (V, D), token ids of every hole, ids of the tokens in BOX).

    Dimensions 0, 1 and 2 are the principal axes. The holes lie together, around latitude −5°, longitude 5° and radius
    0.35. Beside each, one cell away in one dimension, is a token that is not a member. `cloud` more tokens are
    scattered around them; all others are outside BOX.
    """
    random = torch.Generator().manual_seed(seed)
    holes, inside = len(populations), sum(populations)
    axes = torch.randn(V, 3, generator=random) * torch.tensor([1.2, 0.8, 0.5])
    axes *= (0.8 / axes.norm(dim=1, keepdim=True)).clamp(min=1)
    W = torch.cat([axes, 0.02 * torch.randn(V, D - 3, generator=random)], 1)
    lat, lon = torch.tensor([-5.0, 5.0]).deg2rad()
    centre = 0.35 * torch.stack([lat.cos() * lon.cos(), lat.sin(), lat.cos() * lon.sin()])
    centre = torch.cat([centre, 3e-3 * torch.randn(D - 3, generator=random)])
    near = inside + holes + cloud  # tokens in the box
    W[:near] = centre + torch.cat([torch.full((3,), 0.008), torch.full((D - 3,), 2e-3)]) * torch.randn(
        near, D, generator=random
    )
    own = centre + 1e-4 * torch.randn(holes, D, generator=random)
    W[:inside] = own.repeat_interleave(torch.tensor(populations), 0)
    W = W.to(dtype)
    firsts = torch.tensor(populations).cumsum(0) - torch.tensor(populations)
    misses = W[firsts].clone()
    bits = misses.view(torch.int16 if dtype.itemsize == 2 else torch.int32)
    where = torch.randint(0, D, (holes,), generator=random)
    bits[torch.arange(holes), where] += 1  # the next value away from 0
    W[inside : inside + holes] = misses
    place = torch.randperm(V, generator=random)  # row i becomes token place[i]
    shuffled = torch.empty_like(W)
    shuffled[place] = W
    members = [sorted(ids.tolist()) for ids in place[:inside].split(populations)]
    return shuffled, members, sorted(place[:near].tolist())


def write_sharded(folder: Path, W: torch.Tensor, name: str = NAME, rest: int = 3):
    """A folder with an index and shards; the embedding is in the second, beside another matrix."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.layers.{k}.mlp.weight": torch.zeros(8, 4, dtype=W.dtype) for k in range(rest)}
    shards = [{key: value} for key, value in tensors.items()]
    shards[1 % rest][name] = W
    where = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{rest:05}.safetensors"
        write_tensors(folder / file, shard)
        where |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": W.nbytes}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def append_hole(file: Path, size: int) -> None:
    """Add a tensor of `size` bytes to a safetensors file, as a hole of a sparse file that takes no disk space."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, tensors = json.loads(data[8 : 8 + length]), data[8 + length :]
    end = len(tensors) + size
    header["model.layers.0.weight"] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [len(tensors), end]}
    text = json.dumps(header).encode()
    with open(file, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text + tensors)
        out.truncate(8 + len(text) + end)
