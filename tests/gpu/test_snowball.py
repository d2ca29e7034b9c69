"""Trials on a CUDA device: tokens are drawn on the CPU, and every statistic is the same to the bit."""

import pytest
import torch
from blackholes.kernels import snowball


@pytest.mark.parametrize(("tokens", "dimensions"), [(1, 3), (2, 1), (300, 64), (2100, 2560)])
@pytest.mark.parametrize("sigma", [0.0, 1e-8, 1e-5, 3.281911e-3])
def test_statistics(tokens, dimensions, sigma):
    around = torch.randn(dimensions, generator=torch.Generator().manual_seed(0)) * 3.28e-3
    drawn = snowball.sample(around, sigma, tokens, 1, 0)
    for threshold in (2**-17, 2**-13):
        expected = snowball.trial_statistics(drawn, 2**-14, threshold)
        assert snowball.trial_statistics(drawn.cuda(), 2**-14, threshold) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_other_dtypes(dtype):
    values = (torch.randn(200, 31, generator=torch.Generator().manual_seed(1)) * 0.1).to(dtype)
    values[100:150] = values[:50]
    assert snowball.trial_statistics(values.cuda(), 0.01, 0.3) == snowball.trial_statistics(values, 0.01, 0.3)
