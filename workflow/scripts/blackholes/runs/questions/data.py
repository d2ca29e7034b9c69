"""What the questions are asked of: every run's settings, and the few numbers of its finished files that they need."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
import torch
from jaxtyping import Bool, Float, Int

from blackholes.artifacts.histories import open_history
from blackholes.artifacts.tables import read_columns, read_training_log
from blackholes.artifacts.tensors import open_tensors
from blackholes.errors import UserError
from blackholes.runs import survival
from blackholes.runs.motion import last_moves

BLOCKS = 100  # pieces of a training whose mean losses and spreads are compared


@dataclass
class Files:
    """What is read of a run; the last two only where it records forces."""

    history: str
    log: str  # training_log.csv
    counts: str  # black_hole_counts.safetensors
    corpus: str  # tokens.safetensors
    escapes: str
    holes: str  # lineage.csv
    events: str  # lineage_events.csv
    forces: str = ""
    series: str = ""  # forces_series.safetensors


@dataclass
class Forces:
    """Of a run that records forces; NaN where there is no such number."""

    undone: float  # share of coordinates and steps after the last move of a dead token with an update that did nothing
    along: float  # mean cosine between a move of a dead token and the mean hidden state
    direction: float  # length of the mean of the unit vectors along the mean hidden state; 1: it never turns
    spread_with_loss: float  # rank correlation of the hidden states' spread with the loss


@dataclass
class Run:
    """A run. Its n dead tokens are in the order of their ids."""

    experiment: str
    name: str  # run_001
    seed: int
    settings: Mapping[str, Any]  # flat: `init.mode`
    corpus: str
    steps: int
    dead: Bool[np.ndarray, "V"]
    count: Int[np.ndarray, "V"]  # occurrences in the text
    last_move: Int[np.ndarray, "V"]  # the last step at which the token's vector changed in the history; 0: never
    labels: Int[np.ndarray, "2 V"]  # equal where vectors are, at step 0 and at the last
    cloud: Float[np.ndarray, "2 n D"]  # the dead tokens at step 0 and at the last
    decay: float  # sum over the steps of log(1 − rate × weight decay)
    escapes: survival.Escapes
    splits: int  # fissions that are no flicker
    rejoins: Sequence[int]  # steps of the fusions, no flicker, of holes that had been one
    forces: Forces | None = None


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings within settings under dotted names; lists as tuples."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{key}.")
        else:
            found[before + key] = tuple(value) if isinstance(value, list) else value
    return found


def read(
    experiment: str, name: str, settings: Mapping[str, Any], corpus: str, files: Files, budget_gb: float = 1.0
) -> Run:
    """Read a run.

    Args:
        settings: what the experiment's runs share (`Experiment.shared_settings`).
        corpus: its name.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    with open_tensors(files.corpus) as file:
        (V,) = file.expect("dead_mask", torch.bool, ("V",))
        file.expect("token_counts", torch.int64, (V,))
        dead, count = file.rows("dead_mask").numpy(), file.rows("token_counts").numpy()
    with open_history(files.history) as history:
        if history.tokens != V:
            raise UserError(f"{files.history}: has {history.tokens} tokens; expected {V}, as in the corpus")
        last_move = last_moves(history, budget_gb)
        snapshots = [history.rows(step, step + 1) for step in (0, history.steps - 1)]
    ends = torch.cat(snapshots).float().numpy()
    with open_tensors(files.counts) as file:
        S, _ = file.expect("labels", torch.int32, ("S", V))
        labels = np.stack([file.rows("labels", step, step + 1)[0].numpy() for step in (0, S - 1)])
    log = read_training_log(files.log, ["loss", "learning_rate"], S - 1)
    splits, rejoins = splits_and_rejoins(files.holes, files.events)
    plain = flat(settings)
    return Run(
        experiment,
        name,
        plain["base_seed"] + int(name.removeprefix("run_")),
        plain,
        corpus,
        S - 1,
        dead,
        count,
        last_move,
        labels,
        ends[:, dead],
        float(np.log1p(-log["learning_rate"] * plain["weight_decay"]).sum()),
        survival.read([files.escapes]),
        splits,
        rejoins,
        _forces(files, dead, last_move, log["loss"], budget_gb) if files.forces else None,
    )


def splits_and_rejoins(holes: str, events: str) -> tuple[int, list[int]]:
    """(fissions, steps of fusions of holes that had been one), of lineage.csv and lineage_events.csv; no flicker.

    Two holes had been one if they have an ancestor in common, or one is the other's: ancestors gave a hole its tokens
    at its birth, or gave them to an ancestor at its own.
    """
    table = read_columns(holes, {"hole": int, "parents": _numbers})
    ancestors: dict[int, set[int]] = {}
    for hole, parents in zip(table["hole"], table["parents"], strict=True):
        ancestors[hole] = {hole}.union(*(ancestors.get(parent, {parent}) for parent in parents))
    known = read_columns(events, {"step": int, "kind": str, "parents": _numbers, "flicker": int})
    splits, rejoins = 0, []
    for step, kind, parents, flicker in zip(*known.values(), strict=True):
        splits += kind == "fission" and not flicker
        if kind == "fusion" and not flicker and _related([ancestors.get(hole, {hole}) for hole in parents]):
            rejoins.append(step)
    return splits, rejoins


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split()]


def _related(families: Sequence[set[int]]) -> bool:
    return any(one & other for i, one in enumerate(families) for other in families[:i])


def _forces(files: Files, dead: np.ndarray, last_move: np.ndarray, loss: np.ndarray, budget_gb: float) -> Forces:
    with open_tensors(files.forces) as file:
        T, V = file.expect("stalled", torch.float32, (len(loss), len(dead)))
        _, D = file.expect("hidden_mean", torch.float32, (T, "D"))
        file.expect("hidden_spread", torch.float32, (T,))
        length = max(1, int(1e9 * budget_gb) // (16 * V + 16 * D))
        undone, number, direction = 0.0, 0, np.zeros(D)
        stops = np.where(last_move < T, last_move, T)[dead]  # one that moves at the last step has none after
        for start, stop in _pieces(T, length):
            after = np.arange(start + 1, stop + 1)[:, None] > stops
            undone += float(file.rows("stalled", start, stop).numpy()[:, dead][after].sum(dtype=np.float64))
            number += int(after.sum())
            hidden = file.rows("hidden_mean", start, stop).numpy().astype(np.float64)
            direction += (hidden / np.linalg.norm(hidden, axis=1, keepdims=True)).sum(0)
        spread = file.rows("hidden_spread").numpy()
    with open_tensors(files.series) as file:
        for name in ("movers", "with_hidden"):
            file.expect(name, torch.float32, (T,))
        movers, cosine = (file.rows(name).numpy().astype(np.float64) for name in ("movers", "with_hidden"))
    moving = movers > 0
    return Forces(
        undone / number if number else np.nan,
        float((movers * cosine)[moving].sum() / movers.sum()) if moving.any() else np.nan,
        float(np.linalg.norm(direction / T)),
        rank_correlation(_block_means(spread), _block_means(loss)),
    )


def _pieces(steps: int, length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, steps, length):
        yield start, min(start + length, steps)


def _block_means(series: np.ndarray) -> np.ndarray:
    """Means of up to 100 pieces of a series of the same length."""
    return np.array([piece.mean() for piece in np.array_split(series, min(BLOCKS, len(series)))])


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; NaN with fewer than four values, or where one of both does not vary."""
    if len(a) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(scipy.stats.spearmanr(a, b).statistic)


def read_all(
    runs: Sequence[tuple[str, str]],
    files: Sequence[Files],
    settings: Mapping[str, Mapping[str, Any]],
    corpora: Mapping[str, str],
    budget_gb: float = 1.0,
    progress: Callable[..., None] = lambda done, total: None,
) -> list[Run]:
    """Every run, from (experiment, its name) and its files; `settings` and `corpora` are by experiment."""
    found = []
    for (experiment, name), own in zip(runs, files, strict=True):
        found.append(read(experiment, name, settings[experiment], corpora[experiment], own, budget_gb))
        progress(len(found), len(runs))
    return found
