"""Trials as tables, the sweep beside its checkpoint, and what is refused."""

import csv
import math

import numpy as np
import pytest
import torch
from blackholes import show
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.checkpoints import overdensity
from blackholes.errors import UserError
from blackholes.kernels import snowball
from blackholes.snowballs import sweep as snowballs
from helpers import names, reported
from scipy import stats

SETTINGS = {"centroid": None, "n_tokens": "auto", "epsilon": "auto", "seed": 42}
POPULATIONS = [9, 5, 2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """(black_hole_centroid.safetensors, W.safetensors) of a vocabulary with three holes close together."""
    folder = tmp_path_factory.mktemp("checkpoint")
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(40, 12, generator=generator).bfloat16()
    ids = torch.randperm(40, generator=generator)[: sum(POPULATIONS)]
    for number, members in enumerate(ids.split(POPULATIONS)):
        W[members] = W[ids[0]].clone()
        W[members, number] += 2**-7
    facts = overdensity.statistics(W[ids]) | {
        "populations": torch.tensor(POPULATIONS),
        "n_tokens": torch.tensor(len(ids)),
        "token_ids": ids,
    }
    write_tensors(folder / "c.safetensors", facts, {"members": "tokens of the holes in the box"})
    write_tensors(folder / "W.safetensors", {"W": W})
    return str(folder / "c.safetensors"), str(folder / "W.safetensors"), W[ids]


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_file(folder, **tensors):
    path = folder / "mine.safetensors"
    write_tensors(path, tensors)
    return str(path)


# ---- what is thrown around what -----------------------------------------------------------------------------------


def test_auto_within_and_global_come_from_the_checkpoint(checkpoint):
    centroid, _, members = checkpoint
    found = snowballs.source(centroid, SETTINGS)
    assert torch.equal(found.centroid, members.double().mean(0).float())
    assert found.n_tokens == sum(POPULATIONS)
    assert found.epsilon == 2.0 ** (math.floor(math.log2(found.centroid.abs().max())) - 7)
    about = members.double() - members.double().mean(0)
    assert found.sigma("within") == pytest.approx(about.square().mean().sqrt().item())
    assert found.sigma("global") == pytest.approx(members.double().flatten().std(correction=0).item())
    assert found.sigma(0.25) == 0.25
    own = snowballs.source(centroid, SETTINGS | {"n_tokens": 7, "epsilon": 0.5})
    assert (own.n_tokens, own.epsilon) == (7, 0.5)


def test_a_file_with_a_centroid_alone(tmp_path):
    path = write_file(tmp_path, centroid=torch.tensor([0.0, -0.003]))
    for found in (
        snowballs.source(path, SETTINGS | {"n_tokens": 7}),
        snowballs.source(None, SETTINGS | {"centroid": path, "n_tokens": 7}),
    ):
        assert found.epsilon == 2.0**-16  # the ULP of 0.003
        with pytest.raises(UserError, match=rf"^{path}: no tensor 'sigma_within', which sigma: within asks for"):
            found.sigma("within")


def test_a_random_direction():
    settings = {**SETTINGS, "centroid": {"dim": 500, "norm": 0.166, "seed": 3}, "n_tokens": 9}
    found = snowballs.source(None, settings).centroid
    assert found.dtype == torch.float32
    assert found.double().norm().item() == pytest.approx(0.166, rel=1e-6)
    assert stats.kstest(found.numpy() / found.numpy().std(), "norm").pvalue > 0.01
    other = snowballs.source(None, settings | {"centroid": {"dim": 500, "norm": 0.166, "seed": 4}}).centroid
    assert not torch.equal(found, other)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"center": torch.ones(3)}, "no tensor 'centroid' (F32 (D)); the file has center"),
        ({"centroid": torch.ones(1, 3)}, "tensor 'centroid' is F32 (1, 3), expected F32 (D)"),
        ({"centroid": torch.ones(3).double()}, "tensor 'centroid' is F64 (3), expected F32 (D)"),
        (
            {"centroid": torch.tensor([1.0, float("nan")])},
            "nan in dimension 1 of the centroid; expected a finite number",
        ),
        ({"centroid": torch.ones(3)}, "there is no tensor 'n_tokens'; expected n_tokens in the configuration, from 1"),
        ({"centroid": torch.ones(3), "n_tokens": torch.tensor(20_000)}, "it has 20,000 tokens; expected n_tokens"),
        ({"centroid": torch.ones(3), "n_tokens": torch.tensor([1, 2])}, "tensor 'n_tokens' is [1, 2], expected one"),
        (
            {"centroid": torch.ones(3), "epsilon": torch.tensor(-1.0)},
            "tensor 'epsilon' is -1.0, expected one finite number",
        ),
    ],
)
def test_a_bad_file(tensors, message, tmp_path):
    path = write_file(tmp_path, **tensors)
    out = tmp_path / "out"
    with pytest.raises(UserError) as caught:
        snowballs.write_trials(path, SETTINGS, 1.0, 3, str(out / "trials.csv"))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
    assert names(out) == []


@pytest.mark.parametrize("n", [1, 16_384])
def test_the_smallest_and_the_largest_number_of_tokens(n, tmp_path):
    path = write_file(tmp_path, centroid=torch.ones(3), n_tokens=torch.tensor(n))
    assert snowballs.source(path, SETTINGS).n_tokens == n
    beyond = {1: 0, 16_384: 16_385}[n]
    path = write_file(tmp_path, centroid=torch.ones(3), n_tokens=torch.tensor(beyond))
    with pytest.raises(UserError, match=f"it has {beyond:,} tokens; expected n_tokens .* from 1 up to 16,384"):
        snowballs.source(path, SETTINGS)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.safetensors: no such file"):
        snowballs.source(str(tmp_path / "nowhere.safetensors"), SETTINGS)


# ---- trials -------------------------------------------------------------------------------------------------------


def test_a_table_of_trials(checkpoint, tmp_path):
    centroid, _, _ = checkpoint
    ticks = []
    summary = snowballs.write_trials(
        centroid, SETTINGS, 0.004, 6, str(tmp_path / "a.csv"), progress=lambda *args: ticks.append(args)
    )
    rows = table(tmp_path / "a.csv")
    assert list(rows[0]) == ["sigma", "trial_id", *snowball.STATISTICS]
    assert [(row["sigma"], row["trial_id"]) for row in rows] == [("0.004", str(k)) for k in range(6)]
    assert reported(ticks)
    assert summary.startswith("σ = 0.004, 6 trials of 16 tokens: ")
    around = snowballs.source(centroid, SETTINGS)
    for k, row in enumerate(rows):
        tokens = snowball.sample(around.centroid, 0.004, 16, 42, k)
        expected = snowball.trial_statistics(tokens, around.epsilon, 2 * around.epsilon)
        assert {name: float(row[name]) for name in snowball.STATISTICS} == expected


def test_more_trials_begin_with_the_same(checkpoint, tmp_path):
    centroid, _, _ = checkpoint
    for name, trials in (("few", 3), ("many", 8), ("again", 3)):
        snowballs.write_trials(centroid, SETTINGS, "within", trials, str(tmp_path / name))
    few, many, again = ((tmp_path / name).read_bytes() for name in ("few", "many", "again"))
    assert few == again
    assert many.startswith(few)


def test_memory_does_not_grow_with_the_number_of_trials(checkpoint, tmp_path, monkeypatch):
    """Tokens of one trial are gone when those of the next are drawn."""
    import weakref

    alive, most, draw = [], [], snowball.sample

    def watched(*args, **options):
        most.append(sum(reference() is not None for reference in alive))
        tokens = draw(*args, **options)
        alive.append(weakref.ref(tokens))
        return tokens

    monkeypatch.setattr(snowball, "sample", watched)
    snowballs.write_trials(checkpoint[0], SETTINGS, 0.004, 20, str(tmp_path / "a.csv"))
    assert len(most) == 20
    assert max(most) <= 1


# ---- the sweep ----------------------------------------------------------------------------------------------------


def sweep(checkpoint, folder, sigmas, embedding=True, settings=SETTINGS):
    tables = []
    for label, sigma in sigmas.items():
        tables.append(str(folder / f"{label}.csv"))
        snowballs.write_trials(checkpoint, settings, sigma, 4, tables[-1])
    files = [str(folder / name) for name in ("trials.csv", "z_scores.csv", "elements.safetensors")]
    summary = snowballs.write_sweep(
        checkpoint, embedding or None, settings, tables, list(sigmas), next(iter(sigmas)), *files, {"code": "x"}
    )
    return summary, table(files[0]), table(files[1]), files[2]


def test_a_sweep_beside_its_checkpoint(checkpoint, tmp_path):
    centroid, W, members = checkpoint
    sigmas = {"global": "global", "within": "within", "0": 0.0, "0.004": 0.004, "1e-08": 1e-8}
    summary, trials, scores, elements = sweep(centroid, tmp_path, sigmas, W)
    assert summary == "20 trials of 5 σ"
    assert {row["sigma"] for row in trials} >= {"0.004", "1e-08"}  # sorted as text, the smaller would come last
    assert [float(row["sigma"]) for row in trials] == sorted(float(row["sigma"]) for row in trials)
    assert [row["trial_id"] for row in trials] == ["0", "1", "2", "3"] * 5
    assert len(scores) == 5 * 20
    around = snowballs.source(centroid, SETTINGS)
    own = snowball.trial_statistics(members, around.epsilon, 2 * around.epsilon)
    assert (own["n_unique"], own["n_black_holes"], own["largest_bh"]) == (3, 3, 9)
    for row in scores:
        values = [float(t[row["statistic"]]) for t in trials if t["sigma"] == row["sigma"]]
        assert len(values) == 4
        assert float(row["checkpoint"]) == own[row["statistic"]]
        assert float(row["mean"]) == pytest.approx(np.mean(values))
        assert float(row["std"]) == pytest.approx(np.std(values, ddof=1))
        z = float(row["z"])
        if np.std(values) > 0:
            assert z == pytest.approx((own[row["statistic"]] - np.mean(values)) / np.std(values, ddof=1))
        else:
            more = own[row["statistic"]] - values[0]
            assert z == (math.copysign(math.inf, more) if more else 0)
    with open_tensors(elements) as file:
        assert file.metadata["label"] == "global"
        assert float(file.metadata["sigma"]) == around.sigma("global")
        assert file.metadata["members"] == "tokens of the holes in the box"
        assert {key.partition(".")[0] for key in file.keys()} == {"global", "within", "snowball"}  # noqa: SIM118
        assert file.rows("within.moments")[1].item() == pytest.approx(around.sigma("within"), rel=1e-6)
        assert file.rows("global.moments")[1].item() == pytest.approx(around.sigma("global"))


def test_two_labels_of_one_sigma_are_the_same_trials_once(checkpoint, tmp_path):
    """A single hole has no spread: `within` is 0."""
    W = torch.ones(5, 3).bfloat16()
    write_tensors(tmp_path / "W.safetensors", {"W": W})
    facts = overdensity.statistics(W) | {"n_tokens": torch.tensor(5), "token_ids": torch.arange(5)}
    write_tensors(tmp_path / "c.safetensors", facts)
    summary, trials, scores, elements = sweep(
        str(tmp_path / "c.safetensors"), tmp_path, {"within": "within", "0": 0.0}, str(tmp_path / "W.safetensors")
    )
    assert summary == "4 trials of 1 σ"
    assert len(trials) == 4
    assert {row["label"] for row in scores} == {"within", "0"}
    assert {row["z"] for row in scores} == {"0.0"}
    with open_tensors(elements) as file:
        for part in ("within", "global", "snowball"):
            assert file.rows(f"{part}.moments").tolist()[1:] == [0.0, 0.0, 0.0]


def test_a_sweep_without_a_checkpoint(tmp_path):
    settings = SETTINGS | {"centroid": {"dim": 8, "norm": 1.0, "seed": 0}, "n_tokens": 6}
    _, trials, scores, elements = sweep(None, tmp_path, {"0.1": 0.1}, None, settings)
    assert len(trials) == 4
    assert {(row["checkpoint"], row["z"]) for row in scores} == {("", "")}
    with open_tensors(elements) as file:
        assert {key.partition(".")[0] for key in file.keys()} == {"snowball"}  # noqa: SIM118


def test_the_summary_has_a_line_for_the_snowballs(checkpoint, tmp_path):
    centroid, W, _ = checkpoint
    folder = tmp_path / "snowballs" / "mine"
    folder.mkdir(parents=True)
    sweep(centroid, folder, {"1": 1.0, "0": 0.0}, W)
    line = "snowballs mine: 1.0 vectors at σ = 0, 16.0 vectors at σ = 1; the checkpoint has 3"
    assert show.table(tmp_path).splitlines() == [line]


def test_z_scores():
    assert snowballs.z_score(7.0, 4.0, 1.5) == 2.0
    assert snowballs.z_score(4.0, 4.0, 0.0) == 0.0
    assert snowballs.z_score(3.0, 4.0, 0.0) == -math.inf
    assert snowballs.z_score(5, 4.0, 0.0) == math.inf


def test_bad_tables(checkpoint, tmp_path):
    centroid, W, _ = checkpoint
    out = tmp_path / "out"
    for text in ("sigma,trial_id\n1,2\n", ",".join(snowballs.COLUMNS) + "\n", "", None):
        path = tmp_path / "bad.csv"
        path.unlink(missing_ok=True) if text is None else path.write_text(text)
        files = [str(out / name) for name in ("trials.csv", "z.csv", "e.safetensors")]
        with pytest.raises(UserError, match=r"bad\.csv: ") as caught:
            snowballs.write_sweep(centroid, W, SETTINGS, [str(path)], ["1"], "1", *files)
        assert "\n" not in str(caught.value)
        assert names(out) == []


# ---- elements -----------------------------------------------------------------------------------------------------


def test_a_distribution_against_scipy():
    values = torch.from_numpy(np.random.default_rng(0).gamma(3.0, size=(50, 40)))
    found = snowballs.distribution(values)
    numbers = values.flatten().numpy()
    mean, std, skewness, kurtosis = found["moments"].tolist()
    assert (mean, std) == pytest.approx((numbers.mean(), numbers.std()))
    assert skewness == pytest.approx(stats.skew(numbers))
    assert kurtosis == pytest.approx(stats.kurtosis(numbers))
    assert found["counts"].sum().item() == 2000
    assert (found["edges"][0].item(), found["edges"][-1].item()) == (numbers.min(), numbers.max())
    assert (found["quantiles"][0].item(), found["quantiles"][-1].item()) == (numbers.min(), numbers.max())
    assert (len(found["counts"]), len(found["edges"])) == (60, 61)
    assert found["z"][0].item() == pytest.approx(stats.norm.ppf(0.5 / 2000))
    place = len(found["z"]) // 2
    assert found["z"][place].item() == pytest.approx(0, abs=1e-12)
    assert found["quantiles"][place].item() == pytest.approx(np.median(numbers), rel=0.01)


def test_a_distribution_without_spread():
    found = snowballs.distribution(torch.full((3, 4), 0.25).double())
    assert found["moments"].tolist() == [0.25, 0.0, 0.0, 0.0]
    assert found["counts"].sum().item() == 12


def test_a_distribution_of_one_number():
    assert snowballs.distribution(torch.ones(1, 1).double())["quantiles"].unique().tolist() == [1.0]
