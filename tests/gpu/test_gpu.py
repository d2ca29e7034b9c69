"""Every kernel on a CUDA device against the CPU. Needs no snakemake."""

import pytest
import torch
from blackholes.kernels import components, distances, duplicates, gpt2, neighbours
from blackholes.training import model
from blackholes.training.settings import Model
from blackholes.training.windows import split_targets

SHAPE = Model(vocabulary_size=128, context=32, width=64, layers=2, heads=2)


@pytest.fixture(scope="module")
def history():
    draw = torch.Generator().manual_seed(0)
    steps = (1 + 0.01 * torch.randn(50, 128, 64, generator=draw)).bfloat16()
    steps[:, ::2] = steps[:, :1]
    return steps


def test_distances_and_cells(history):
    for kernel in (distances.chebyshev_matrices, distances.cell_matrices):
        assert torch.equal(kernel(history.cuda()).cpu(), kernel(history))


def test_graph_statistics(history):
    matrices = distances.chebyshev_matrices(history)
    expected = components.graph_statistics(matrices, 2 * 2**-7)
    found = components.graph_statistics(matrices.cuda(), 2 * 2**-7)
    assert all(torch.equal(found[name].cpu(), expected[name]) for name in expected)


@pytest.mark.parametrize("rule", [("chebyshev", 2 * 2**-7, False), ("cells", 1, True), ("chebyshev", 0, True)])
def test_graphs_without_a_matrix(history, rule):
    expected = neighbours.graph_statistics(history[:5], *rule)
    found = neighbours.graph_statistics(history[:5].cuda(), *rule)
    assert all(torch.equal(found[name].cpu(), expected[name]) for name in expected)


def test_duplicates(history):
    assert torch.equal(duplicates.labels(history.cuda()).cpu(), duplicates.labels(history))


def test_the_gradients_of_float32_agree():
    weights = model.initialise(SHAPE, {"mode": "normal"}, seed=1)
    chunk = torch.randint(0, 128, (8, 33), generator=torch.Generator().manual_seed(0))
    tokens, targets = split_targets(chunk, 1)
    found = {}
    for device in ("cpu", "cuda"):
        here = {name: weight.to(device, torch.float64).requires_grad_() for name, weight in weights.items()}
        gpt2.loss(here, tokens.to(device), targets.to(device), heads=2).backward()
        found[device] = {name: weight.grad.cpu() for name, weight in here.items()}
    for name, gradient in found["cpu"].items():
        torch.testing.assert_close(found["cuda"][name], gradient, rtol=1e-6, atol=1e-9)
