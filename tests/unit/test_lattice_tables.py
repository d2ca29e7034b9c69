"""Tables of a history's motion: over all steps, of integer types, of odd coordinates; the check of the stored file."""

from collections import Counter

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import TensorWriter, open_tensors
from blackholes.errors import UserError
from blackholes.kernels import lattice as kernel
from blackholes.lattice import odd, overall, validation
from helpers import write_history
from motion import (  # noqa: F401 - fixtures too
    FILES,
    STEP,
    D,
    S,
    V,
    dead_tokens,
    moving_history,
    ordinals,
    outputs,
    refused,
    table,
    tensors,
    write,
)


@pytest.mark.parametrize("told_apart", [True, False])
def test_statistics_over_all_steps_and_tokens(tmp_path, history, dead, told_apart):
    """Against sorting all norms in one array, and against numpy's own percentiles where the table names them."""
    out = tmp_path / "out"
    write(write_history(tmp_path / "h", history), out, **({"dead_mask": dead[0]} if told_apart else {}))
    masks = {"dead": dead[1], "live": ~dead[1]} if told_apart else {}
    masks["all"] = torch.ones(V, dtype=torch.bool)
    rows, norms, differ = table(out, "overall"), tensors(out, "norms"), 0
    assert [(row["norm"], row["tokens"]) for row in rows] == [(norm, name) for norm in kernel.NORMS for name in masks]
    for row in rows:
        values = norms[row["norm"]][:, masks[row["tokens"]]].flatten().double()
        ascending = values.sort().values.tolist()
        assert int(row["number"]) == len(ascending)
        assert (float(row["min"]), float(row["max"])) == (ascending[0], ascending[-1])
        assert float(row["mean"]) == pytest.approx(sum(ascending) / len(ascending), rel=1e-14)
        assert float(row["percentile_50"]) == values.median()  # torch's lower median
        for p in ("50", "90", "95", "99", "99.9"):
            exact = float(row[f"percentile_{p}"])
            assert exact == np.percentile(ascending, float(p), method="inverted_cdf")
            usual = np.percentile(ascending, float(p))
            if row[f"interpolated_{p}"]:
                differ += 1
                assert float(row[f"interpolated_{p}"]) == pytest.approx(usual, rel=1e-12)
                assert float(row[f"interpolated_{p}"]) != exact
            else:
                assert usual == pytest.approx(exact, rel=1e-12)
        unit = {"W": "embedding units", "prime": "ULP"}.get(row["norm"].rpartition("_")[2], "cells")
        assert row["unit"] == unit
    assert differ > 20


def test_integer_types(tmp_path):
    """One token: six dimensions that move from 1 by these ΔW′, and one that leaves 0, by more than int64 holds."""
    moves = torch.tensor([[0, 1, -1, 100, -100, 127]])
    history = (1 + STEP * torch.cat([torch.zeros(1, 6), moves])).bfloat16()
    history = torch.cat([history, torch.tensor([0.0, 1.0]).bfloat16()[:, None]], 1)[:, None]
    write(write_history(tmp_path / "h", history), tmp_path / "out", keep=["delta_W_prime"])
    rows = table(tmp_path / "out", "integers")
    assert [row["tensor"] for row in rows] == ["delta_ordinal"] * 4 + ["delta_W_prime"] * 4
    assert [row["type"] for row in rows] == ["int8", "int16", "int32", "int64"] * 2
    cells = ordinals(history).diff(dim=0).flatten().tolist()
    wanted = {
        "delta_ordinal": [sum(-(2**n) <= x < 2**n for x in cells) for n in (7, 15, 31, 63)],
        "delta_W_prime": [6] * 4,
    }
    for name, counts in wanted.items():
        of_tensor = [row for row in rows if row["tensor"] == name]
        assert [int(row["values_that_fit"]) for row in of_tensor] == counts
        assert [int(row["others"]) for row in of_tensor] == [7 - n for n in counts]
        assert [float(row["percent"]) for row in of_tensor] == [100 * n / 7 for n in counts]
        assert [float(row["gigabytes"]) for row in of_tensor] == [7 * n / 1e9 for n in (1, 2, 4, 8)]
    assert [row["recommended"] for row in rows] == ["", "yes", "", "", "yes", "", "", ""]
    assert [row["stored"] for row in rows] == ["", "", "", "", "yes", "", "", ""]


def test_percentiles_are_order_statistics():
    assert [overall.rank(p, 1) for p in overall.PERCENTILES] == [0] * 5
    assert [overall.rank(p, 10) for p in overall.PERCENTILES] == [4, 8, 9, 9, 9]
    assert [overall.rank(p, 1000) for p in overall.PERCENTILES] == [499, 899, 949, 989, 998]
    assert [overall.rank("50", n) for n in range(1, 9)] == [(n - 1) // 2 for n in range(1, 9)]


def test_draws():
    """All or some, each set as often as another, and another seed draws others."""
    assert odd.draw(0, 20, "a") == []
    assert odd.draw(20, 20, "a") == list(range(20))
    sets = Counter(tuple(odd.draw(5, 2, f"{seed}")) for seed in range(4000))
    assert len(sets) == 10  # pairs of 5
    assert all(abs(n - 400) < 5 * 20 for n in sets.values())  # five standard deviations
    assert odd.draw(10**9, 20, "1/half") != odd.draw(10**9, 20, "2/half")
    assert max(odd.draw(10**9, 20, "1/half")) > 5e8


def test_another_seed_draws_other_coordinates(tmp_path, history):
    path = write_history(tmp_path / "h", history)
    first = write(path, tmp_path / "a", seed=1)
    again, other = write(path, tmp_path / "b", seed=1), write(path, tmp_path / "c", seed=2)
    assert again == first
    assert {name for name in first if first[name] != other[name]} == {"odd_samples.csv"}


# --- the stored file


BESIDE = "an exponent crossing is stored beside a delta_ordinal of 0"


def damaged(change):
    """A stand-in for `TensorWriter.append` that stores something else of `delta_ordinal`, as a faulty disk would."""
    append = TensorWriter.append

    def damaging(self, key, rows):
        append(self, key, change(rows.clone()) if key == "delta_ordinal" else rows)

    return damaging


def nothing_moves(rows):
    return torch.zeros_like(rows)


def one_rests(rows):
    """Token 2 rests in dimension 3 in all steps."""
    rows[:, 2, 3] = 0
    return rows


def one_more_moves(rows):
    rows[:, 5] = 1  # the token that never moves
    return rows


@pytest.mark.parametrize("budget", [2.0, 1e-9])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            nothing_moves,
            "an exponent crossing is stored beside a delta_ordinal of 0 at step {}, token {}, dimension {}",
        ),
        (one_rests, "an exponent crossing is stored beside a delta_ordinal of 0 at step {}, token 2, dimension 3"),
        (one_more_moves, "delta_ordinal has {:,} coordinates that moved, where {:,} were computed"),
    ],
)
def test_the_stored_file_is_checked(tmp_path, history, change, words, budget, monkeypatch):
    """The damage is done between computing and storing: nothing that was computed knows of it."""
    crosses = history[1:].view(torch.int16) & 0x7F80 != history[:-1].view(torch.int16) & 0x7F80
    if change is one_rests:
        crosses[:, :2] = crosses[:, 3:] = crosses[:, 2, :3] = crosses[:, 2, 4:] = False
    step, token, dimension = crosses.nonzero()[0].tolist()
    moved = int((history[1:] != history[:-1]).sum())
    places = (moved + (S - 1) * D, moved) if change is one_more_moves else (step + 1, token, dimension)
    monkeypatch.setattr(TensorWriter, "append", damaged(change))
    path = write_history(tmp_path / "h", history)
    name = outputs(tmp_path / "out").displacements
    refused(tmp_path, path, f"{name}: cross-check of the stored file failed: {words.format(*places)}", budget_gb=budget)


def test_a_damaged_file_is_found(tmp_path, history):
    """The same check of a finished file in which some bytes have become 0."""
    write(write_history(tmp_path / "h", history), tmp_path / "out")
    file = tmp_path / "out" / FILES["displacements"]
    counts = {
        "moved": (history[1:] != history[:-1]).sum(),
        "crossings": tensors(tmp_path / "out")["exponent_crossings"].sum(),
    }
    with open_tensors(file) as reader:
        assert validation.check_stored(reader, "x", counts, 7)
    found = tensors(tmp_path / "out")
    step, token, dimension = found["exponent_crossings"].nonzero()[-1].tolist()
    data = bytearray(file.read_bytes())
    stored = bytes(found["delta_ordinal"].numpy().tobytes())
    place = data.index(stored) + 2 * ((step * V + token) * D + dimension)
    data[place : place + 2] = b"\0\0"
    file.write_bytes(data)
    with open_tensors(file) as reader, pytest.raises(UserError) as caught:
        validation.check_stored(reader, "x", counts, 7)
    place = f"step {step + 1}, token {token}, dimension {dimension};"
    assert f"x: cross-check of the stored file failed: {BESIDE} at {place}" in str(caught.value)
    assert "\n" not in str(caught.value)
