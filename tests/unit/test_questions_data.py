"""What the questions read of a run's files, against slow loops over the same arrays."""

import numpy as np
import pytest
import torch
from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import write_tensors
from blackholes.config.experiments import Experiment
from blackholes.errors import UserError
from blackholes.runs import lineage
from blackholes.runs.questions import data

S, V, D = 250, 7, 3  # more steps than there are blocks of a series
DEAD = np.array([True, True, True, False, False, False, False])
LAST = [0, 40, S - 1, S - 1, 100, 7, 1]  # the last move of each token
SETTINGS = Experiment(weight_decay=0.5).shared_settings()


def history():
    """bfloat16 (S, V, D): each token steps until its last move, in one dimension only."""
    found = np.zeros((S, V, D), np.float32)
    for token, last in enumerate(LAST):
        found[:, token, token % D] = np.minimum(np.arange(S), last) + 2 * token
    return torch.from_numpy(found).bfloat16()


@pytest.fixture
def files(tmp_path):
    random = np.random.default_rng(0)
    at = {name: str(tmp_path / name) for name in vars(data.Files("", "", "", "", "", "", ""))}
    write_tensors(at["history"], {"embedding_history": history()})
    rates = np.linspace(0.1, 0, S - 1)
    losses = np.linspace(5, 2, S - 1)
    rows = zip(range(1, S), losses, [1.0] * (S - 1), rates, strict=True)
    write_table(at["log"], ["step", "loss", "grad_norm", "learning_rate"], rows)
    labels = random.integers(0, V, (S, V)).astype(np.int32)
    write_tensors(at["counts"], {"labels": labels})
    corpus = {"token_ids": np.zeros(4, np.uint8), "token_counts": np.where(DEAD, 0, np.arange(V)), "dead_mask": DEAD}
    write_tensors(at["corpus"], corpus)
    columns = ["token_id", "text", "count", "escape_step", "censored", "first_input", "first_target"]
    write_table(at["escapes"], columns, [(3, "a", 10, 5, 0, 2, 1), (4, "b", 1, 0, 0, 1, 1), (5, "c", 2, 9, 1, "", 4)])
    write_table(at["holes"], ["hole", "parents"], [(1, "")])
    write_table(at["events"], ["step", "kind", "parents", "flicker"], [(3, "fission", "1", 0)])
    forces = {
        "stalled": random.random((S - 1, V), np.float32),
        "hidden_mean": random.normal(1, 1, (S - 1, D)).astype(np.float32),
        "hidden_spread": np.linspace(1, 2, S - 1, dtype=np.float32),
    }
    write_tensors(at["forces"], forces)
    movers = (np.arange(S - 1) % 3).astype(np.float32)
    cosine = np.where(movers > 0, random.random(S - 1), np.nan).astype(np.float32)
    write_tensors(at["series"], {"movers": movers, "with_hidden": cosine})
    return data.Files(**at), labels, rates, forces, movers, cosine


@pytest.mark.parametrize("budget", [1.0, 1e-9])
def test_a_run(files, budget):
    paths, labels, rates, forces, movers, cosine = files
    run = data.read("one", "run_003", SETTINGS, "text", paths, budget)
    assert (run.seed, run.steps, run.corpus) == (SETTINGS["base_seed"] + 3, S - 1, "text")
    assert run.last_move.tolist() == LAST
    assert (run.labels == labels[[0, -1]]).all()
    assert (run.cloud == history()[[0, -1]][:, :3].float().numpy()).all()
    assert run.decay == pytest.approx(sum(np.log(1 - rate * 0.5) for rate in rates))
    assert run.settings["init.mode"] == "qwen"
    assert run.escapes.count.tolist() == [10, 2]  # the second was never with the dead
    assert run.escapes.first_seen.tolist() == [1, 4]
    assert (run.splits, list(run.rejoins)) == (1, [])

    stalled = [
        forces["stalled"][step - 1, token]
        for token in range(3)  # the dead
        for step in range(1, S)
        if step > LAST[token]
    ]
    assert run.forces.undone == pytest.approx(np.mean(stalled), rel=1e-5)
    moves = [cosine[t] for t in range(S - 1) for _ in range(int(movers[t]))]
    assert run.forces.along == pytest.approx(np.mean(moves), rel=1e-5)
    hidden = forces["hidden_mean"]
    units = [row / np.sqrt((row.astype(float) ** 2).sum()) for row in hidden]
    assert run.forces.direction == pytest.approx(np.sqrt((np.mean(units, axis=0) ** 2).sum()))
    assert run.forces.spread_with_loss == pytest.approx(-1)


def test_a_run_without_forces(files):
    paths = files[0]
    paths.forces = paths.series = ""
    assert data.read("one", "run_001", SETTINGS, "text", paths).forces is None


def test_a_history_of_other_tokens_is_refused(files, tmp_path):
    paths = files[0]
    write_tensors(paths.history, {"embedding_history": history()[:, :5]})
    with pytest.raises(UserError, match=r"history: has 5 tokens; expected 7, as in the corpus"):
        data.read("one", "run_001", SETTINGS, "text", paths)


# --- holes that rejoin, of histories whose lineage the workflow writes


def lineage_of(folder, steps):
    """lineage.csv and lineage_events.csv of (steps, groups of tokens from then on)."""
    labels = np.zeros((60, 8), np.int32)
    for step, groups in steps:
        for group in groups:
            labels[step:, group] = min(group)
    write_tensors(folder / "counts", {"labels": labels})
    out = lineage.Outputs(*(str(folder / name) for name in ("holes.csv", "graph", "events.csv")))
    lineage.write(str(folder / "counts"), out)
    return data.splits_and_rejoins(out.holes, out.events)


ALL = [range(8)]
HALVES = [range(4), range(4, 8)]
QUARTERS = [range(2), range(2, 4), range(4, 6), range(6, 8)]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, ALL), (5, HALVES)], (1, [])),
        ([(0, ALL), (5, HALVES), (40, ALL)], (1, [40])),
        ([(0, ALL), (5, HALVES), (7, ALL)], (0, [])),  # flicker
        ([(0, HALVES), (30, ALL)], (0, [])),  # they had never been one
        ([(0, ALL), (5, HALVES), (20, QUARTERS), (40, [range(2), [2, 3, 4, 5], range(6, 8)])], (3, [40])),  # cousins
        ([(0, HALVES), (5, QUARTERS), (40, [range(2), [2, 3, 4, 5], range(6, 8)])], (2, [])),  # of two families
        ([(0, HALVES), (5, QUARTERS), (40, HALVES)], (2, [40, 40])),
    ],
)
def test_rejoins(tmp_path, steps, expected):
    assert lineage_of(tmp_path, steps) == expected
