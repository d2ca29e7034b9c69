"""The job that writes all statistics of a run: the same bytes however long the pieces are."""

import pytest
import torch
from blackholes.runs import statistics
from helpers import BAD_HISTORIES, random_history, refuses_bad_histories, run_statistics, write_history

FILES = statistics.Outputs.__annotations__


def contents(files):
    return {name: getattr(files, name).read_bytes() for name in FILES}


def test_any_budget_gives_the_same_bytes(tmp_path):
    S, V, D = 25, 40, 9
    random = torch.Generator().manual_seed(0)
    values = torch.randn(S, V, D, generator=random).cumsum(0) * 2.0**-7
    values[:, ::3] = values[:, :1].round(decimals=1)  # black holes, whose members change with the next line
    values[5:9, 3:6] = values[5:9, 1:2]
    history = write_history(tmp_path / "h", values.bfloat16())
    whole = contents(run_statistics(history, tmp_path / "whole"))
    assert whole["events"].count(b"\n") > 4
    step = 2 * V * D + 2 * 4 * V**2  # bytes
    for length in (1, 2, 7, S):
        budget_gb = 4 * (length + 0.5) * step / 1e9
        assert contents(run_statistics(history, tmp_path / "pieces", budget_gb=budget_gb)) == whole


def test_pieces_are_as_long_as_the_budget_allows(tmp_path, monkeypatch):
    history, lengths = write_history(tmp_path / "h", random_history(20)), []
    geometry_of = statistics.geometry.cloud
    monkeypatch.setattr(statistics.geometry, "cloud", lambda x: lengths.append(len(x)) or geometry_of(x))
    run_statistics(history, tmp_path / "out", budget_gb=4 * 7.5 * (2 * 9 * 2 + 2 * 4 * 9**2) / 1e9)
    assert lengths == [7, 7, 6]


@pytest.mark.parametrize("budget", [1.0, 1e-12])
@pytest.mark.parametrize("wrong", BAD_HISTORIES)
def test_bad_histories(tmp_path, wrong, budget):
    refuses_bad_histories(tmp_path, wrong, lambda history, out: run_statistics(history, out, budget_gb=budget))
