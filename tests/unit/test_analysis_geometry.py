"""Geometry of the token cloud against NumPy in float64."""

import numpy as np
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors
from blackholes.runs import geometry
from helpers import BAD_HISTORIES, random_history, refuses_bad_histories, reported, write_history

SERIES = (
    "centroid_norm",
    "centroid_displacement",
    "centroid_distance",
    "token_norm_min",
    "token_norm_max",
    "token_norm_mean",
    "token_norm_median",
    "token_norm_std",
    "cloud_radius",
)


def by_numpy(history):
    x = history.double().numpy()
    S, V, _ = x.shape
    centroid = np.stack([snapshot.mean(0) for snapshot in x])
    norms = np.sqrt((x**2).sum(2))
    return {
        "centroid": centroid,
        "centroid_norm": np.linalg.norm(centroid, axis=1),
        "centroid_displacement": [0.0] + [np.linalg.norm(centroid[t] - centroid[t - 1]) for t in range(1, S)],
        "centroid_distance": [np.linalg.norm(centroid[t] - centroid[0]) for t in range(S)],
        "token_norm_min": norms.min(1),
        "token_norm_max": norms.max(1),
        "token_norm_mean": norms.mean(1),
        "token_norm_median": np.sort(norms, axis=1)[:, (V - 1) // 2],  # the lower one
        "token_norm_std": norms.std(1),
        "cloud_radius": [max(np.linalg.norm(token - centroid[t]) for token in x[t]) for t in range(S)],
    }


def write(history, out, **options):
    progress = []
    geometry.write(history, out, {"made": "here"}, progress=lambda *call: progress.append(call), **options)
    assert reported(progress)
    return out.read_bytes()


def read(path):
    with open_tensors(path) as file:
        assert file.metadata == {"made": "here"}
        return {key: file.rows(key) for key in file.keys()}  # noqa: SIM118 - a reader, not a dict


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 2), (7, 1, 3), (30, 9, 2), (5, 128, 64), (4, 10, 5)])
def test_against_numpy(tmp_path, shape):
    random = torch.Generator().manual_seed(sum(shape))
    history = torch.randn(shape, generator=random).cumsum(0).to(torch.bfloat16)
    write(write_history(tmp_path / "h", history), tmp_path / "g")
    found, wanted = read(tmp_path / "g"), by_numpy(history)
    assert sorted(found) == sorted(wanted) == sorted(("centroid", *SERIES))
    S, _, D = shape
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        assert tensor.shape == ((S, D) if name == "centroid" else (S,))
        # one rounding to float32, of the centroid too, from which it moves
        scale = np.abs(wanted["centroid"]).max() if name in ("centroid_displacement", "centroid_distance") else 0
        np.testing.assert_allclose(tensor.double(), wanted[name], rtol=1.2e-7, atol=2e-7 * scale + 1e-12, err_msg=name)


def test_a_cloud_by_hand(tmp_path):
    corners = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 8.0], [6.0, 8.0]])
    history = torch.stack([corners, corners + torch.tensor([3.0, 4.0])]).bfloat16()
    write(write_history(tmp_path / "h", history), tmp_path / "g")
    found = read(tmp_path / "g")
    assert found["centroid"].tolist() == [[3, 4], [6, 8]]
    assert found["centroid_norm"].tolist() == [5, 10]
    assert found["centroid_displacement"].tolist() == [0, 5]
    assert found["centroid_distance"].tolist() == [0, 5]
    assert found["cloud_radius"].tolist() == [5, 5]
    assert found["token_norm_min"][0] == 0
    assert found["token_norm_max"][0] == 10
    assert found["token_norm_mean"][0] == 6  # of 0, 6, 8, 10
    assert found["token_norm_median"][0] == 6
    assert found["token_norm_std"][0] == torch.tensor(14.0).sqrt()


def test_one_point_has_no_spread(tmp_path):
    history = random_history(3, 1, 4).expand(3, 50, 4).contiguous()  # all tokens in one black hole
    write(write_history(tmp_path / "h", history), tmp_path / "g")
    found = read(tmp_path / "g")
    assert torch.equal(found["centroid"], history[:, 0].float())
    assert found["cloud_radius"].tolist() == [0, 0, 0]
    assert found["token_norm_std"].tolist() == [0, 0, 0]


def test_large_and_small_values_are_not_lost(tmp_path):
    history = torch.tensor([[[1e38, 1e38], [-1e38, 1e-38]], [[1e-38, 0.0], [0.0, 2e-38]]]).bfloat16()
    write(write_history(tmp_path / "h", history), tmp_path / "g")
    found, wanted = read(tmp_path / "g"), by_numpy(history)
    np.testing.assert_allclose(found["token_norm_mean"], wanted["token_norm_mean"].astype(np.float32), rtol=2e-6)
    np.testing.assert_allclose(found["cloud_radius"], np.float32(wanted["cloud_radius"]), rtol=2e-6)


def test_bytes_do_not_depend_on_the_budget(tmp_path):
    history = write_history(tmp_path / "h", torch.randn(40, 33, 7).bfloat16())
    whole = write(history, tmp_path / "a")
    for number, length in enumerate((0, 1, 3, 17)):
        assert write(history, tmp_path / f"b{number}", budget_gb=4 * 48 * 33 * 7 * (length + 0.5) / 1e9) == whole


@pytest.mark.parametrize("wrong", BAD_HISTORIES)
def test_bad_histories(tmp_path, wrong):
    refuses_bad_histories(tmp_path, wrong, lambda history, out: geometry.write(history, out / "g", budget_gb=1e-12))
