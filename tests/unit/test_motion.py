"""Last moves against a loop over every token and step."""

import pytest
import torch
from blackholes.artifacts.histories import open_history
from blackholes.runs.motion import last_moves
from helpers import write_history
from hypothesis import given
from hypothesis import strategies as st


@given(st.data())
@pytest.mark.parametrize("rows", [1, 2, 3, 100])  # snapshots that are read at a time
def test_last_moves(tmp_path_factory, rows, data):
    S, V, D = 7, 3, 2
    values = data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=S * V * D, max_size=S * V * D))
    W = torch.tensor(values).view(S, V, D).bfloat16()
    expected = [0] * V
    for step in range(1, S):
        for token in range(V):
            if W[step, token].tolist() != W[step - 1, token].tolist():
                expected[token] = step
    path = write_history(tmp_path_factory.mktemp("history") / "w.safetensors", W)
    with open_history(path) as history:
        assert last_moves(history, rows * 2 * V * D * 16 / 1e9).tolist() == expected
