"""Distances in the overdensity, from file to file: planted holes and near misses, plain answers, budgets, bad input."""

import csv
import math
import shutil
from collections import namedtuple
from itertools import combinations

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.checkpoints import overdensity_distances as overdensity
from blackholes.errors import UserError
from blackholes.kernels.distances import euclidean_matrix
from helpers import names, reported
from scipy.sparse.csgraph import connected_components, shortest_path

POPULATIONS = [814, 704, 306, 228, 11, 10, 6, 5, 4, 4, 3, 3, 2]  # published for Qwen3-4B-Instruct-2507
FILES = ("overdensity_distances.safetensors", "overdensity.csv", "distance_statistics.safetensors")


def checkpoint(folder, W, in_box):
    write_tensors(folder / "W.safetensors", {"W": W})
    write_tensors(folder / "sphere.safetensors", {"in_box": in_box})
    return str(folder / "W.safetensors"), str(folder / "sphere.safetensors")


def run(folder, W, in_box, threshold=0.002, **options):
    """What the three files say: distances and tokens, rows of the table as numbers, tensors."""
    calls, out = [], folder / "out"
    overdensity.write(
        *checkpoint(folder, W, in_box),
        *(str(out / name) for name in FILES),
        threshold,
        {"made": "here"},
        progress=lambda *call: calls.append(call),
        **options,
    )
    assert reported(calls)
    with open_tensors(out / FILES[0]) as file:
        assert file.metadata == {"made": "here"}
        distances, tokens = file.rows("distances"), file.rows("spike_token_ids")
    with open(out / FILES[1]) as file:
        rows = {row["statistic"]: float(row["value"]) for row in csv.DictReader(file)}
    with open_tensors(out / FILES[2]) as file:
        tensors = {key: file.rows(key) for key in file.keys()}  # noqa: SIM118 - a reader, not a dict
    return distances, tokens, rows, tensors


def planted(populations, V=2600, D=24, seed=0):
    """A vocabulary with these holes, one cell apart from each other, and as many near misses of the first."""
    draw = torch.Generator().manual_seed(seed)
    W = (torch.randn(V, D, generator=draw) * 0.2).bfloat16()
    centre = (torch.randn(D, generator=draw) * 0.03).bfloat16()
    order, start, holes = torch.randperm(V, generator=draw), 0, []
    for hole, population in enumerate(populations + [1] * 5):
        vector = centre.clone()
        vector.view(torch.int16)[hole] += hole > 0  # one cell in one dimension
        ids = order[start : start + population]
        W[ids], start = vector, start + population
        holes.append(ids.sort().values)
    return W, holes[: len(populations)], holes[len(populations) :]


def test_the_published_populations(tmp_path):
    W, holes, near = planted(POPULATIONS)
    in_box = torch.ones(len(W), dtype=torch.bool)
    in_box[sorted(set(range(len(W))) - set(torch.cat(holes + near).tolist()))[::3]] = False
    distances, tokens, rows, tensors = run(tmp_path, W, in_box)
    N = len(tokens)
    assert tokens.tolist() == in_box.nonzero()[:, 0].tolist()
    assert torch.equal(distances, euclidean_matrix(W[tokens]))
    assert rows["tokens"] == N
    assert rows["pairs"] == N * (N - 1) / 2
    assert rows["zeros"] == 651_034
    assert rows["min"] == 0
    assert rows["cluster tokens"] == rows["largest component"] == 2105
    assert rows["cluster tokens in holes"] == 2100
    assert rows["cluster vectors"] == 18
    assert rows["cluster dimensions that vary"] == 17
    assert rows["cluster extent in cells"] == 1
    assert rows["edges"] == 2105 * 2104 / 2
    assert rows["components"] - 1 == rows["isolated"] == N - 2105
    assert tensors["component_diameters"].tolist() == [[1, 1]]
    assert tensors["cluster_populations"].tolist() == POPULATIONS + [1] * 5
    assert tensors["cluster_token_ids"].tolist() == torch.cat(holes + near).sort().values.tolist()
    assert {hole[0].item() for hole in holes} <= set(tensors["cluster_vector_token_ids"].tolist())
    sizes = torch.bincount(tensors["hole_labels"])
    assert sorted(sizes[sizes > 1].tolist(), reverse=True) == POPULATIONS
    values = distances[torch.ones(N, N).triu(1).bool()]
    assert rows["lower median"] == values.median()
    assert rows["mean"] == pytest.approx(values.double().mean().item(), rel=1e-14)
    assert rows["max"] == values.max()
    assert rows["least above zero"] == values[values > 0].min()


def lattice(seed, dtype=torch.bfloat16, V=60, D=2):
    """Tokens on a coarse lattice, so that holes, neighbours and ties are many."""
    draw = torch.Generator().manual_seed(seed)
    return (1 + torch.randint(0, 9, (V, D), generator=draw) * 2.0**-7).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_against_a_plain_oracle(tmp_path, seed, dtype):
    W, threshold = lattice(seed, dtype), [0.0, 2.0**-7, 0.012][seed]
    in_box = torch.rand(60, generator=torch.Generator().manual_seed(seed)) < 0.8
    distances, tokens, rows, found = run(tmp_path, W, in_box, threshold)
    vectors, N = W[tokens].double(), len(tokens)
    exact = (vectors[:, None] - vectors[None]).square().sum(-1).sqrt()
    torch.testing.assert_close(distances.double(), exact, rtol=5e-6, atol=0)
    adjacent = (distances <= threshold).numpy() & ~np.eye(N, dtype=bool)
    hops = shortest_path(adjacent, directed=False, unweighted=True)
    components = {}
    for i, label in enumerate(connected_components(adjacent, directed=False)[1]):
        components.setdefault(label, []).append(i)
    equal = (exact == 0).numpy()
    in_hole = equal.sum(1) > 1
    assert found["component_labels"].tolist() == [
        next(members[0] for members in components.values() if i in members) for i in range(N)
    ]
    assert found["degrees"].tolist() == adjacent.sum(1).tolist()
    assert rows["edges"] == adjacent.sum() / 2
    assert rows["components"] == len(components)
    assert rows["isolated"] == sum(len(members) == 1 for members in components.values())
    several = sorted((m for m in components.values() if len(m) > 1), key=lambda m: (-len(m), m[0]))
    assert rows["largest component"] == len(several[0])
    assert found["component_token_ids"].tolist() == [tokens[m[0]] for m in several]
    assert found["component_populations"].tolist() == [len(m) for m in several]
    assert found["component_edges"].tolist() == [adjacent[np.ix_(m, m)].sum() / 2 for m in several]
    assert found["component_hole_tokens"].tolist() == [in_hole[m].sum() for m in several]
    diameters = [int(hops[np.ix_(m, m)].max()) for m in several]
    assert found["component_diameters"].tolist() == [[d, d] for d in diameters]
    assert rows["diameter of the largest"] == diameters[0]

    others = exact + torch.diag(torch.full((N,), math.inf, dtype=torch.float64))
    nearest = others.min(1).values
    torch.testing.assert_close(found["nearest"].double(), nearest, rtol=5e-6, atol=0)
    assert found["nearest_token_ids"].tolist() == [
        tokens[next(j for j in range(N) if j != i and distances[i, j] == found["nearest"][i])] for i in range(N)
    ]

    cluster = max(components.values(), key=lambda m: (in_hole[m].sum(), len(m), -m[0]))
    assert found["cluster_token_ids"].tolist() == tokens[cluster].tolist()
    groups = sorted({tuple(np.flatnonzero(equal[i])) for i in cluster}, key=lambda g: (-len(g), g[0]))
    assert found["cluster_populations"].tolist() == [len(group) for group in groups]
    assert found["cluster_vector_token_ids"].tolist() == [tokens[group[0]] for group in groups]
    first = [group[0] for group in groups]
    assert torch.equal(found["cluster_vectors"], W[tokens[first]])
    assert torch.equal(found["cluster_distances"], distances[first][:, first])
    # between 1 and 17/16 all three formats are evenly spaced
    cells = ((vectors[first, None] - vectors[None, first]) / torch.finfo(dtype).eps).abs()
    assert torch.equal(found["cluster_cells"], cells.amax(-1).long())
    assert torch.equal(found["cluster_extent"], cells.amax((0, 1)).long())
    assert torch.equal(found["cluster_varies"], cells.amax((0, 1)) > 0)
    touching = connected_components((cells.amax(-1) <= 1).numpy(), directed=False)[1]
    labels = found["cluster_touching"]
    assert all((labels[a] == labels[b]) == (touching[a] == touching[b]) for a, b in combinations(range(len(first)), 2))
    assert rows["cluster parts that touch"] == len(set(touching))
    tree = found["cluster_tree"]
    assert len(tree) == len(first) - 1
    joined = np.zeros((len(first),) * 2, bool)
    joined[tree[:, 0], tree[:, 1]] = True
    assert connected_components(joined, directed=False)[0] == 1


def needs(N, D, width=2):
    """(without the matrix, with it): GB of memory, by the rule that `write` documents in its message."""
    least = N * D * (width + 4) + 12 * N * min(N, overdensity.HEIGHT) + N * N // 4
    return least / 1e9, (least + 4 * N * N) / 1e9


def test_bytes_do_not_depend_on_the_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(overdensity, "HEIGHT", 64)
    W, _, _ = planted([40, 20, 3], V=300)
    least, whole = needs(300, 24)
    sizes, matrices, empty = [], [], overdensity.backends.empty
    monkeypatch.setattr(
        overdensity.backends, "empty", lambda shape, *rest: matrices.append(shape) or empty(shape, *rest)
    )
    for budget in (4.0, whole, (least + whole) / 2, least):
        sizes.append(len([shape for shape in matrices if shape == (300, 300)]))
        run(tmp_path, W, torch.ones(300, dtype=torch.bool), budget_gb=budget)
        (tmp_path / "out").rename(tmp_path / f"out {budget}")
    sizes.append(len([shape for shape in matrices if shape == (300, 300)]))
    assert np.diff(sizes).tolist() == [1, 1, 0, 0]  # the whole matrix in memory, or not
    for name in FILES:
        assert len({(folder / name).read_bytes() for folder in tmp_path.glob("out *")}) == 1


def test_few_vectors_are_drawn_and_all_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(overdensity, "DRAWN", 5)
    W, _, _ = planted([40, 20, 3], V=300)
    _, _, rows, tensors = run(tmp_path, W, torch.ones(300, dtype=torch.bool))
    assert rows["cluster vectors"] == len(tensors["cluster_vectors"]) == 8
    assert rows["cluster dimensions that vary"] == 7
    assert tensors["cluster_distances"].shape == tensors["cluster_cells"].shape == (5, 5)
    assert tensors["cluster_tree"].shape == (4, 2)


def test_vectors_that_touch_are_counted_beyond_those_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(overdensity, "DRAWN", 5)
    places = torch.tensor([0, 4, 5, 9, 13, 17, 18, 19, 23, 27])  # in cells: 7 groups
    W = (2.0**-12 * (1 + places[:, None] * torch.tensor([2**-7, 0, 2**-7]))).bfloat16()
    _, _, rows, tensors = run(tmp_path, W, torch.ones(10, dtype=torch.bool))
    assert rows["cluster vectors"] == 10
    assert rows["cluster parts that touch"] == 7
    assert tensors["cluster_touching"].tolist() == [0, 1, 1, 3, 4, 5, 5, 5, 8, 9]


@pytest.mark.parametrize(
    ("W", "edges", "cluster", "zeros"),
    [
        (torch.ones(1, 3), 0, [0], 0),
        (torch.ones(4, 3), 6, [0, 1, 2, 3], 6),
        (torch.eye(3), 0, [0], 0),
        (torch.zeros(2, 1), 1, [0, 1], 1),
        (torch.tensor([[1.0], [1.0015], [1.003], [9.0], [9.0]]), 3, [3, 4], 1),
    ],
    ids=["one token", "one hole", "all apart", "all zero", "a larger component and a hole"],
)
def test_small_boxes(tmp_path, W, edges, cluster, zeros):
    distances, _, rows, tensors = run(tmp_path, W, torch.ones(len(W), dtype=torch.bool))
    assert distances.shape == (len(W), len(W))
    assert rows["edges"] == edges
    assert rows["zeros"] == zeros
    assert tensors["cluster_token_ids"].tolist() == cluster
    assert math.isnan(rows["mean"]) == (len(W) == 1)


# --- refusals


def refused(folder, W, in_box, **options):
    """The message, one line; no file is left and nothing was computed."""
    inputs, out = checkpoint(folder, W, in_box), folder / "out"
    with pytest.raises(UserError) as caught:
        overdensity.write(
            *inputs, *(str(out / name) for name in FILES), 0.002, progress=lambda *_: pytest.fail("computed"), **options
        )
    assert "\n" not in str(caught.value)
    assert names(out) == []
    return str(caught.value)


def test_an_empty_box(tmp_path):
    message = refused(tmp_path, torch.ones(3, 2), torch.zeros(3, dtype=torch.bool))
    assert message == f"{tmp_path / 'sphere.safetensors'}: in_box: no token lies in the box; expected at least one"


def test_a_box_of_another_vocabulary(tmp_path):
    message = refused(tmp_path, torch.ones(3, 2), torch.ones(4, dtype=torch.bool))
    assert message == f"{tmp_path / 'sphere.safetensors'}: tensor 'in_box' is BOOL (4), expected BOOL (3)"


def test_more_memory_than_the_budget(tmp_path):
    W = torch.ones(2000, 50)
    message = refused(tmp_path, W, torch.ones(2000, dtype=torch.bool), budget_gb=needs(2000, 50, 4)[0] * 0.999)
    assert message == (
        f"{tmp_path / 'sphere.safetensors'}: distances between 2,000 tokens of 50 dimensions need 0.03 GB of memory "
        "(and 0.02 GB of disk); expected up to memory_budget_gb (0.0263496): make the box smaller "
        "or the budget larger"
    )


def test_more_disk_than_there_is(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 15_000_000, 15_000_000))
    message = refused(tmp_path, torch.ones(2000, 3), torch.ones(2000, dtype=torch.bool))
    assert message == f"{tmp_path / 'out' / FILES[0]}: needs 16.0 MB, but the disk has 15.0 MB left"


def test_nan_is_refused(tmp_path):
    W = torch.ones(5, 2)
    W[3, 1] = math.nan
    message = refused(tmp_path, W, torch.tensor([False, True, True, True, True]))
    assert message.startswith(f"{tmp_path / 'W.safetensors'}: token 3 has a NaN")


def test_the_automatic_threshold_is_of_the_scale_of_the_vectors(tmp_path):
    """At any scale it joins the same tokens, and two roundings of one vector are never further apart."""
    exact = torch.randn(40, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    up, down = exact * (1 + 2.0**-9), exact * (1 - 2.0**-9)  # no rounding to nearest is further off
    assert ((up - down).norm(dim=1) <= 2.0**-8 * exact.norm(dim=1) * (1 + 1e-12)).all()
    edges = []
    for scale in (2.0**-10, 1.0, 2.0**10):
        W = (torch.cat([exact, exact * (1 + 2.0**-8)]) * scale).to(torch.bfloat16)
        inside = torch.ones(len(W), dtype=torch.bool)
        (tmp_path / str(scale)).mkdir()
        _, _, rows, _ = run(tmp_path / str(scale), W, inside, "auto")
        expected = np.sort(W.double().norm(dim=1).numpy())[(len(W) - 1) // 2] / 256
        assert float(rows["threshold"]) == pytest.approx(expected, rel=1e-12)
        edges.append(rows["edges"])
    assert len(set(edges)) == 1
    assert int(edges[0]) > 0
