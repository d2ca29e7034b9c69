"""The explorer's data: which steps are kept, whose numbers holes have, and the plane, against slow and obvious ways."""

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.runs import explorer, lineage
from helpers import random_history, write_history
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.test_lineage import as_labels


@given(st.integers(1, 3000), st.sets(st.integers(1, 3000)), st.integers(8, 240))
@settings(max_examples=60)
def test_steps_are_few_rise_and_have_both_ends(last, changes, most):
    changes = np.array(sorted(change for change in changes if change <= last), int)
    steps = explorer.chosen_steps(last, changes, most)
    assert steps[0] == 0
    assert steps[-1] == last
    assert (np.diff(steps) > 0).all()
    assert len(steps) <= most
    if last < most:
        assert len(steps) == last + 1, "all, where there are few"
    if len(changes) <= most // 2 - 2:
        assert set(changes.tolist()) <= set(steps.tolist()), "every change, where there is room"


def test_early_steps_are_closer():
    steps = explorer.chosen_steps(10000, np.array([5000]), 100)
    assert {0, 1, 2, 3, 5000, 10000} <= set(steps.tolist())
    decades = [((steps >= 10**k) & (steps < 10 ** (k + 1))).sum() for k in range(1, 4)]
    assert min(decades) > 10


def test_the_plane_is_that_of_the_singular_value_decomposition():
    snapshots = torch.randn(4, 9, 5, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    snapshots[..., 3] *= 8
    places, axes, centre, shares = explorer.plane(snapshots)
    rows = snapshots.reshape(36, 5).double().numpy()
    _, sizes, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    for axis, other in zip(axes.double().numpy(), right[:2], strict=True):
        assert axis[np.abs(axis).argmax()] > 0
        assert np.abs(axis @ other) == pytest.approx(1, abs=1e-6)
    assert shares.tolist() == pytest.approx((sizes[:2] ** 2 / (sizes**2).sum()).tolist(), rel=1e-5)
    expected = (rows - rows.mean(0)) @ axes.double().numpy().T
    assert np.abs(places.reshape(36, 2).numpy() - expected).max() < 1e-5
    assert torch.allclose(centre.double(), torch.from_numpy(rows.mean(0)), atol=1e-6)


def test_degenerate_planes():
    for snapshots in (torch.ones(1, 1, 3), torch.ones(2, 3, 1), torch.zeros(2, 4, 2)):
        places, axes, _, shares = explorer.plane(snapshots)
        assert places.shape == (*snapshots.shape[:2], 2)
        assert not places.any()
        assert axes.shape == (2, snapshots.shape[2])
        assert not shares.any()


@pytest.mark.parametrize("length", [1 << 26, 3 * 4 * 8], ids=["whole", "pieces of 3 steps"])
def test_the_file_of_a_run(tmp_path, monkeypatch, length):
    monkeypatch.setattr(explorer, "_PIECE", length)
    history = write_history(tmp_path / "history.safetensors", random_history(S=30, V=8))
    labels = torch.tensor([as_labels([tuple(row) for row in step.tolist()]) for step in random_history(S=30, V=8)])
    write_tensors(tmp_path / "counts.safetensors", {"labels": labels.int()})
    said = explorer.write(
        history, str(tmp_path / "counts.safetensors"), str(tmp_path / "out.safetensors"), {"made": "here"}
    )
    assert said.startswith("30 of 30 steps")
    with open_tensors(tmp_path / "out.safetensors") as file:
        assert file.rows("steps").tolist() == list(range(30))
        assert file.shape("plane") == (30, 8, 2)
        found = file.rows("identities").numpy()
        assert file.metadata["made"] == "here"
    outputs = lineage.Outputs(*(str(tmp_path / name) for name in ("lineage.csv", "graph", "events")))
    lineage.write(str(tmp_path / "counts.safetensors"), outputs)
    rows = [line.split(",") for line in (tmp_path / "lineage.csv").read_text().splitlines()[1:]]
    for row in rows:  # the tokens at the peak of each identity
        step, tokens = int(row[8]), [int(token) for token in row[9].split()]
        assert np.flatnonzero(found[step] == int(row[0])).tolist() == tokens
    assert len(rows) == found.max()


def test_files_of_two_runs_are_refused(tmp_path):
    history = write_history(tmp_path / "history.safetensors", random_history(S=5))
    write_tensors(tmp_path / "counts.safetensors", {"labels": torch.zeros(4, 9, dtype=torch.int32)})
    with pytest.raises(UserError, match=r"has 5 snapshots of 9 tokens; .* is of 4 snapshots of 9"):
        explorer.write(history, str(tmp_path / "counts.safetensors"), str(tmp_path / "out"), {})
