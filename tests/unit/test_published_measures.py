"""What our runs have of each published quantity, against the plain definition on small random histories."""

import json

import numpy as np
import pytest
import torch
from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import write_tensors
from blackholes.errors import UserError
from blackholes.reproduction import measured
from blackholes.reproduction.measures import MEASURES
from blackholes.reproduction.published import Value
from helpers import run_statistics, write_history

S, V, D, RUNS = 12, 128, 3, 3
DEAD = np.arange(V) < 51
LAST = S - 1


def history(run):
    """(S, V, D) of few places, so that there are holes and clusters; tokens leave the common point over the steps."""
    random = torch.Generator().manual_seed(run)
    places = 1 + torch.randint(0, 3, (V, D), generator=random) * 2**-6
    step = (torch.arange(S)[:, None, None] >= torch.randint(0, 2 * S, (V, 1), generator=random)) * 1.0
    turn = torch.randn((V, D), generator=random)
    return (places + step * turn * torch.arange(S)[:, None, None] / S).to(torch.bfloat16)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(Runs, histories (R, S, V, D) in float64, losses (R, S − 1))."""
    return runs_of([history(run) for run in range(RUNS)], tmp_path_factory.mktemp("runs"))


def runs_of(histories, folder):
    files = {kind: [] for kind in ("models", "logs", "histories", "counts", "graphs", "geometry")}
    random, losses = np.random.default_rng(0), []
    for run, vectors in enumerate(histories):
        out = folder / str(run)
        files["histories"].append(write_history(folder / f"{run}.safetensors", vectors))
        statistics = run_statistics(files["histories"][-1], out)
        for kind in ("counts", "graphs", "geometry"):
            files[kind].append(str(getattr(statistics, kind)))
        files["models"].append(str(out / "model"))
        told = json.dumps({"settings": {"steps": LAST, "base_seed": 41}})
        write_tensors(files["models"][-1], {"w": np.zeros(1)}, {"config": told, "device": "cpu"})
        losses.append(random.random(LAST))
        files["logs"].append(str(out / "log.csv"))
        rows = zip(range(1, S), losses[-1], 2 * losses[-1], 3 * losses[-1], strict=True)
        write_table(files["logs"][-1], ["step", "loss", "grad_norm", "learning_rate"], rows)
    runs = measured.Runs(files, measured.Corpus(1000, DEAD))
    return runs, np.stack([vectors.double().numpy() for vectors in histories]), np.stack(losses)


def value(quantity, step=str(LAST), form="mean", count=1):
    return Value("x", quantity, step, (0.0,) * count, form, 1, None, "", "", "", "")


def holes(vectors):
    """Sizes of all groups of equal vectors, singletons too."""
    return np.unique(vectors, axis=0, return_counts=True)[1]


def components(adjacency):
    """Sizes of connected components, by walking."""
    left, sizes = set(range(len(adjacency))), []
    while left:
        queue, size = [left.pop()], 0
        while queue:
            size, near = size + 1, set(np.flatnonzero(adjacency[queue.pop()])) & left
            left -= near
            queue += near
        sizes.append(size)
    return sorted(sizes, reverse=True)


def differences(W):
    return W[:, None] - W[None, :]


def touching(W):
    return components(np.abs(differences(W)).max(-1) < 2**-6)


def near(W):
    return components(np.sqrt((differences(W) ** 2).sum(-1)) < 0.01)


def cosines(W):
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    return torch.from_numpy(unit @ unit.T).float().bfloat16().float().numpy()


def dead_distances(W):
    distances = np.abs(differences(W[DEAD])).max(-1)
    return distances[np.triu_indices(DEAD.sum(), 1)]


def turns(H):
    """First steps at which live tokens have a cosine below 0.9999 with token 38."""
    low = np.stack([cosines(W)[38] for W in H])[:, ~DEAD] < 0.9999
    return [np.flatnonzero(column)[0] for column in low.T if column.any()]


def norms(W):
    return np.linalg.norm(W, axis=1)


AT_LAST = {  # quantity → what it is of the last embedding (V, D)
    "centroid norm": lambda W: np.linalg.norm(W.mean(0)),
    "smallest token norm": lambda W: norms(W).min(),
    "largest token norm": lambda W: norms(W).max(),
    "mean token norm": lambda W: norms(W).mean(),
    "spread of token norms": lambda W: norms(W).std(ddof=1),
    "spread of distances from the centroid": lambda W: norms(W - W.mean(0)).std(ddof=1),
    "mean norm of dead tokens": lambda W: norms(W[DEAD]).mean(),
    "mean Euclidean distance": lambda W: np.sqrt((differences(W) ** 2).sum(-1)).mean(),
    "mean Chebyshev distance": lambda W: np.abs(differences(W)).max(-1).mean(),
    "largest Chebyshev distance of dead tokens": lambda W: dead_distances(W).max(),
    "mean Chebyshev distance of dead tokens": lambda W: dead_distances(W).mean(),
    "distinct vectors": lambda W: len(holes(W)),
    "duplicates": lambda W: V - len(holes(W)),
    "touching clusters": lambda W: len(touching(W)),
    "largest touching cluster": lambda W: touching(W)[0],
    "second touching cluster": lambda W: touching(W)[1],
    "isolated tokens": lambda W: touching(W).count(1),
    "black holes": lambda W: (holes(W) > 1).sum(),
    "mean of black holes": lambda W: (holes(W) > 1).sum(),
    "tokens in black holes": lambda W: holes(W)[holes(W) > 1].sum(),
    "tokens a black hole": lambda W: holes(W)[holes(W) > 1].mean(),
    "largest black hole": lambda W: holes(W).max(),
    "black holes among dead tokens": lambda W: (holes(W[DEAD]) > 1).sum(),
    "five or more black holes among dead tokens": lambda W: float((holes(W[DEAD]) > 1).sum() >= 5),
    "largest black hole among dead tokens": lambda W: holes(W[DEAD]).max(),
    "distinct vectors among dead tokens": lambda W: len(holes(W[DEAD])),
    "clusters within 0.01": lambda W: len(near(W)),
    "largest cluster within 0.01": lambda W: near(W)[0],
    "isolated beyond 0.01": lambda W: near(W).count(1),
    "classes of direction": lambda W: len(components(cosines(W) >= 1)),
}
OF_HISTORY = {  # quantity → (its range, what it is of the history (S, V, D))
    "centroid distance": (str(LAST), lambda H: np.linalg.norm(H[-1].mean(0) - H[0].mean(0))),
    "mean tokens a black hole": ("2-9", lambda H: np.mean([holes(W)[holes(W) > 1].mean() for W in H[2:10]])),
    "mean black holes among dead tokens": ("0-9", lambda H: np.mean([(holes(W[DEAD]) > 1).sum() for W in H[:10]])),
    "increases of the number of black holes": (
        "0-11",
        lambda H: (np.diff([(holes(W) > 1).sum() for W in H]) > 0).sum(),
    ),
    "increases in all runs": ("0-11", lambda H: 16 * (np.diff([(holes(W) > 1).sum() for W in H]) > 0).sum()),
    "live tokens that turn away": ("0-11", lambda H: len(turns(H))),
    "step of turning away, first": ("0-11", lambda H: min(turns(H))),
    "step of turning away, median": ("0-11", lambda H: np.median(turns(H))),
    "step of turning away, last": ("0-11", lambda H: max(turns(H))),
}


@pytest.mark.parametrize("quantity", AT_LAST)
def test_a_quantity_of_one_step(made, quantity):
    runs, histories, _ = made
    expected = [AT_LAST[quantity](H[-1]) for H in histories]
    assert MEASURES[quantity](runs, value(quantity)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("quantity", OF_HISTORY)
def test_a_quantity_of_many_steps(made, quantity, monkeypatch):
    runs, histories, _ = made
    monkeypatch.setattr(measured, "BLOCK", 5)  # so that a history is read in several pieces
    step, of = OF_HISTORY[quantity]
    found = MEASURES[quantity](runs, value(quantity, step))
    assert found == pytest.approx([of(H) for H in histories], rel=1e-5)


@pytest.mark.parametrize("quantity", ["centroid norm", "touching clusters", "classes of direction"])
def test_a_curve_has_a_value_for_each_of_its_steps(made, quantity):
    runs, histories, _ = made
    found = MEASURES[quantity](runs, value(quantity, "3 7 11", "curve", 3))
    expected = [[AT_LAST[quantity](H[step]) for step in (3, 7, 11)] for H in histories]
    assert found == pytest.approx(np.array(expected), rel=1e-5)


def test_losses_are_means_of_the_steps_since_the_last_point(made):
    runs, _, losses = made
    found = MEASURES["training loss"](runs, value("training loss", "5-10", "curve", 2))
    assert found == pytest.approx(np.stack([losses[:, :5].mean(1), losses[:, 5:10].mean(1)], 1))
    found = MEASURES["mean training loss"](runs, value("mean training loss", "1-8"))
    assert found == pytest.approx(losses[:, :8].mean(1))
    assert MEASURES["loss of one step"](runs, value("loss of one step", "7")) == pytest.approx(losses[:, 6])
    curve = value("gradient norm", "2 6", "curve", 2)
    assert MEASURES["gradient norm"](runs, curve) == pytest.approx(2 * losses[:, [1, 5]])
    assert MEASURES["learning rate"](runs, value("learning rate", "4")) == pytest.approx(3 * losses[:, 3])


def test_a_loss_that_stands_alone_is_the_mean_of_100_steps(made, tmp_path):
    runs, _, _ = made
    log = tmp_path / "log.csv"
    write_table(log, ["step", "loss"], ((step, float(step)) for step in range(1, 400)))
    alone = measured.Runs({"models": runs.files["models"][:1], "logs": [str(log)]}, runs.corpus)
    assert MEASURES["training loss"](alone, value("training loss", "300")) == pytest.approx([250.5])


def test_the_first_step_with_50_duplicates(made, tmp_path):
    """NaN for a run that has never as many."""
    runs, _, _ = made
    paths = []
    for name, unique in (("a", [128, 90, 78, 77, 78]), ("b", [128, 90, 77, 79, 77])):
        paths.append(str(tmp_path / name))
        write_tensors(paths[-1], {"n_unique": np.array(unique, np.int32)})
    short = measured.Runs({"models": runs.files["models"][:2], "counts": paths}, runs.corpus)
    short.settings = {"steps": 4}
    found = MEASURES["first step with 50 duplicates"](short, value("first step with 50 duplicates", "0-4"))
    assert found[0] == 2
    assert np.isnan(found[1])
    assert MEASURES["steps with 50 duplicates"](short, value("steps with 50 duplicates", "0-4")).tolist() == [2, 0]


def test_runs_whose_tokens_never_leave_their_point_have_every_quantity(tmp_path):
    """One cluster has no second, and tokens that never turn have no step of it: two crashes before."""
    point = torch.tensor([0.5, -0.25, 1.0], dtype=torch.bfloat16)
    runs, _, _ = runs_of([point.expand(S, V, D).contiguous()] * 2, tmp_path)
    steps = dict.fromkeys(AT_LAST, str(LAST)) | {quantity: step for quantity, (step, _) in OF_HISTORY.items()}
    found = {quantity: MEASURES[quantity](runs, value(quantity, step)).tolist() for quantity, step in steps.items()}
    assert {quantity: len(numbers) for quantity, numbers in found.items()} == dict.fromkeys(steps, 2)
    assert found["second touching cluster"] == [0, 0]
    assert found["largest touching cluster"] == [V, V]
    assert found["live tokens that turn away"] == [0, 0]
    for which in ("first", "median", "last"):
        assert np.isnan(found[f"step of turning away, {which}"]).all()


def test_five_black_holes_among_dead_tokens_are_enough(made, tmp_path):
    runs, _, _ = made
    paths = []
    for count in (4, 5, 6):  # pairs of dead tokens; the live ones are all in one hole
        labels = np.where(np.arange(V) < 2 * count, np.arange(V) // 2 * 2, np.arange(V))
        paths.append(str(tmp_path / str(count)))
        write_tensors(paths[-1], {"labels": np.where(DEAD, labels, 60)[None].astype(np.int32)})
    own = measured.Runs({"models": runs.files["models"], "counts": paths}, runs.corpus)
    quantity = "five or more black holes among dead tokens"
    assert MEASURES[quantity](own, value(quantity, "0")).tolist() == [0, 1, 1]


def test_a_run_without_a_hole_has_0_tokens_a_hole(made, tmp_path):
    runs, _, _ = made
    path = str(tmp_path / "counts")
    write_tensors(path, {"counts": np.array([2, 0], np.int32), "populations": np.array([8, 0], np.int32)})
    alone = measured.Runs({"models": runs.files["models"][:1], "counts": [path]}, runs.corpus)
    assert MEASURES["mean tokens a black hole"](alone, value("mean tokens a black hole", "0-1")).tolist() == [2]


@pytest.mark.parametrize("kind", ["histories", "counts", "graphs", "geometry"])
def test_series_that_end_early_are_named(made, kind):
    runs, _, _ = made
    quantity = {
        "histories": "mean Euclidean distance",
        "counts": "black holes",
        "graphs": "touching clusters",
        "geometry": "centroid norm",
    }[kind]
    with pytest.raises(UserError, match=rf"ends at step {LAST}, expected .* up to step 99") as caught:
        MEASURES[quantity](runs, value(quantity, "99"))
    assert str(caught.value).startswith(runs.files[kind][0])


def test_seeds_and_devices_are_those_of_the_files(made):
    runs, _, _ = made
    assert (runs.seeds, runs.devices, len(runs), runs.steps, runs.schedule_steps) == ("42-44", ["cpu"], 3, LAST, LAST)
