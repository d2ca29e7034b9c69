"""Snowballs: trials around a centroid for each σ, and their comparison with the checkpoint (row D)."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from blackholes.artifacts.files import write_table
from blackholes.artifacts.tensors import TensorReader, open_tensors, write_tensors
from blackholes.errors import UserError, about
from blackholes.kernels import bf16, snowball

COLUMNS = ["sigma", "trial_id", *snowball.STATISTICS]
SCORES = ["label", "sigma", "statistic", "checkpoint", "mean", "std", "z"]
TOUCHING = 2  # ε, inclusive
MOST = 16384  # tokens in a trial: their distances take 1 GB
BINS = 60  # of a histogram of elements
QUANTILES = 241


@dataclass
class Source:
    """What the trials need: the centroid, and how many tokens to draw around it."""

    name: str  # of the file, for messages
    centroid: Float32[Tensor, "D"]
    epsilon: float
    n_tokens: int
    spreads: dict[str, float]  # `within` and `global`, if the file has them

    def sigma(self, value: float | str) -> float:
        """A configured σ as a number; `within` and `global` are looked up."""
        if not isinstance(value, str):
            return float(value)
        if value not in self.spreads:
            raise UserError(f"{self.name}: no tensor 'sigma_{value}', which sigma: {value} asks for; expected a number")
        return self.spreads[value]


def source(path: str | None, settings: Mapping) -> Source:
    """The centroid of a file, or a random one, with `auto` settings resolved.

    Args:
        path: a safetensors file with `centroid` float32 (D,) and, if it is a checkpoint's, `epsilon`, `sigma_within`,
            `sigma_global` and `n_tokens`; None: settings["centroid"] is such a path, or has dim, norm and seed.
        settings: `centroid`, `n_tokens` and `epsilon`, as configured.

    Raises:
        UserError: naming the file and the key that is missing, of another shape, or out of range.
    """
    stored: dict[str, float] = {}
    given = path or settings["centroid"]
    if isinstance(given, Mapping):
        name, centroid = "centroid", direction(**given)
    else:
        name = str(given)
        with open_tensors(Path(given).expanduser()) as file:
            file.expect("centroid", torch.float32, ("D",))
            centroid = file.rows("centroid")
            for key in {"epsilon", "sigma_within", "sigma_global", "n_tokens"} & set(file.keys()):
                stored[key] = _number(file, key)
    if not torch.isfinite(centroid).all():
        dimension = int((~torch.isfinite(centroid)).nonzero()[0])
        value = centroid[dimension].item()
        raise UserError(f"{name}: {value} in dimension {dimension} of the centroid; expected a finite number")
    epsilon = stored.get("epsilon") if settings["epsilon"] == "auto" else settings["epsilon"]
    if epsilon is None:
        epsilon = bf16.ulp(centroid.abs().max().bfloat16()).item()
    n_tokens = stored.get("n_tokens") if settings["n_tokens"] == "auto" else settings["n_tokens"]
    if n_tokens is None or not 1 <= n_tokens <= MOST:
        auto = "there is no tensor 'n_tokens'" if n_tokens is None else f"it has {n_tokens:,.0f} tokens"
        raise UserError(f"{name}: {auto}; expected n_tokens in the configuration, from 1 up to {MOST:,}")
    spreads = {word: stored[f"sigma_{word}"] for word in ("within", "global") if f"sigma_{word}" in stored}
    return Source(name, centroid, float(epsilon), int(n_tokens), spreads)


def direction(dim: int, norm: float, seed: int) -> Float32[Tensor, "D"]:
    """A vector of length `norm` in a random direction."""
    numbers = np.random.Generator(np.random.Philox(key=seed)).standard_normal(dim)
    return torch.from_numpy((norm / np.linalg.norm(numbers) * numbers).astype(np.float32))


def _number(file: TensorReader, key: str) -> float:
    value = file.rows(key)
    if value.numel() != 1 or not 0 <= (number := float(value)) < math.inf:
        raise UserError(f"{file.path}: tensor '{key}' is {value.tolist()}, expected one finite number, 0 or greater")
    return number


# ---- one σ --------------------------------------------------------------------------------------------------------


def write_trials(
    path: str | None,
    settings: Mapping,
    sigma: float | str,
    n_trials: int,
    out: str,
    device: torch.device | str = "cpu",
    progress: Callable = lambda done, total, more=None: None,
) -> str:
    """Write the trials of one σ as a table. Returns a one-line summary.

    One trial is in memory at a time; only its 20 statistics are kept.
    Raises UserError as `source` does, and for `within` or `global` if the file lacks that σ.
    """
    around = source(path, settings)
    value = around.sigma(sigma)
    rows = []
    with about(around.name):
        for trial in range(n_trials):
            tokens = snowball.sample(around.centroid, value, around.n_tokens, settings["seed"], trial)
            result = snowball.trial_statistics(tokens.to(device), around.epsilon, TOUCHING * around.epsilon)
            rows.append((value, trial, *result.values()))
            progress(trial + 1, n_trials, lambda: {"unique": result["n_unique"], "holes": result["n_black_holes"]})
    write_table(out, COLUMNS, rows)
    means = {name: np.mean([row[COLUMNS.index(name)] for row in rows]) for name in ("n_unique", "n_black_holes")}
    return (
        f"σ = {value:g}, {n_trials:,} trials of {around.n_tokens:,} tokens: {means['n_unique']:,.1f} unique vectors, "
        f"{means['n_black_holes']:,.1f} holes on average"
    )


# ---- the sweep ----------------------------------------------------------------------------------------------------


def write_sweep(
    path: str | None,
    embedding: str | None,
    settings: Mapping,
    tables: Sequence[str],
    labels: Sequence[str],
    shown: str,
    trials: str,
    scores: str,
    elements: str,
    metadata: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
) -> str:
    """Write trials.csv (every σ, ascending), z_scores.csv and elements.safetensors. Returns a one-line summary.

    Args:
        path: as in `source`; a checkpoint's file also has `token_ids`, the rows of its members in `embedding`.
        embedding: the checkpoint's W.safetensors; None: no checkpoint to compare with.
        tables: one table of trials for each σ in `labels`. shown: the σ whose elements are written.

    z = (checkpoint − mean) / std over the trials of a σ, std over n − 1. If all trials are equal, z is 0 if the
    checkpoint equals them too, else ± infinity. Without a checkpoint, `checkpoint` and `z` are empty.

    Raises:
        UserError: as `source`, and for a file of another kind.
    """
    around = source(path, settings)
    by_label = {label: _read(table) for label, table in zip(labels, tables, strict=True)}
    by_sigma = {rows[0][0]: rows for rows in by_label.values()}  # `within` may equal a σ that is listed as a number
    own: Mapping[str, float] = {}
    members = _members(path, embedding)
    if members is not None:
        own = snowball.trial_statistics(members.to(device), around.epsilon, TOUCHING * around.epsilon)
    write_table(trials, COLUMNS, (row for sigma in sorted(by_sigma, key=float) for row in by_sigma[sigma]))
    write_table(scores, SCORES, _scores(by_label, own))
    sigma = float(by_label[shown][0][0])
    tokens = snowball.sample(around.centroid, sigma, around.n_tokens, settings["seed"], 0, every=True)
    parts = {"snowball": (tokens.float() - around.centroid).double()}
    if members is not None:
        parts["global"] = members.double()
        parts["within"] = members.double() - around.centroid.double()
    facts = {**(metadata or {}), "sigma": repr(sigma), "label": shown, "members": _members_text(path)}
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in distribution(part).items()}
    write_tensors(elements, tensors, facts)
    return f"{sum(map(len, by_sigma.values())):,} trials of {len(by_sigma)} σ"


def _members(path: str | None, embedding: str | None) -> Float[Tensor, "n D"] | None:
    if path is None or embedding is None:
        return None
    with open_tensors(path) as file:
        file.expect("token_ids", torch.int64, ("n",))
        ids = file.rows("token_ids").tolist()
    with open_tensors(embedding) as file:
        V = file.shape("W")[0]
        if min(ids) < 0 or max(ids) >= V:
            raise UserError(f"{path}: token_ids has token {max(ids)}; expected 0 to {V - 1}, the tokens of {embedding}")
        return torch.cat([file.rows("W", token, token + 1) for token in ids])


def _members_text(path: str | None) -> str:
    if path is None:
        return ""
    with open_tensors(path) as file:
        return file.metadata.get("members", "")


def _read(table: str) -> list[list[str]]:
    """Rows of a table of trials, as text, so that they are copied unchanged."""
    try:
        with open(table, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{table}: cannot be read ({error}), expected a table of trials") from error
    if head != COLUMNS or not rows:
        raise UserError(f"{table}: columns {', '.join(head)} with {len(rows)} rows; expected {', '.join(COLUMNS)}")
    return rows


def _scores(by_label: Mapping[str, list[list[str]]], own: Mapping[str, float]):
    for label, rows in by_label.items():
        for name in snowball.STATISTICS:
            values = np.array([float(row[COLUMNS.index(name)]) for row in rows])
            mean, std = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
            checkpoint = (own[name], z_score(own[name], mean, std)) if own else ("", "")
            yield label, rows[0][0], name, checkpoint[0], mean, std, checkpoint[1]


def z_score(value: float, mean: float, std: float) -> float:
    """Distance of `value` from the mean in standard deviations; with std 0, 0 if equal to the mean, else ± infinity."""
    if std > 0:
        return (value - mean) / std
    return 0.0 if value == mean else math.copysign(math.inf, value - mean)


# ---- elements -----------------------------------------------------------------------------------------------------


def distribution(values: Float[Tensor, "n D"]) -> dict[str, Tensor]:
    """Histogram, quantiles and moments of all elements, for the figure.

    `edges` (BINS + 1,), `counts` (BINS,); `quantiles` (QUANTILES,): the values with a share Φ(`z`) of the elements
    below them, for equally spaced `z` from the smallest element's to the largest's; `moments` (4,): mean, standard
    deviation, skewness and excess kurtosis (0 if all elements are equal).
    """
    numbers = values.flatten().numpy()
    mean, std = float(numbers.mean()), float(numbers.std())
    centred = (numbers - mean) / (std or 1.0)
    skewness = float((centred**3).mean())
    kurtosis = float((centred**4).mean()) - 3 if std else 0.0
    counts, edges = np.histogram(numbers, BINS, (numbers.min(), numbers.max()) if std else (mean - 1, mean + 1))
    normal = torch.distributions.Normal(0.0, 1.0)
    end = -normal.icdf(torch.tensor(0.5 / len(numbers), dtype=torch.float64)).item()
    z = torch.linspace(-end, end, QUANTILES, dtype=torch.float64)
    place = (normal.cdf(z).numpy() * len(numbers)).astype(np.int64).clip(0, len(numbers) - 1)
    return {
        "edges": torch.from_numpy(edges),
        "counts": torch.from_numpy(counts),
        "z": z,
        "quantiles": torch.from_numpy(np.sort(numbers)[place]),
        "moments": torch.tensor([mean, std, skewness, kurtosis], dtype=torch.float64),
    }
