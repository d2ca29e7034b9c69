"""Trials as tables, the sweep beside its checkpoint, and what is refused."""

import csv
import math
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import torch
from blackholes import show
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.checkpoints import overdensity
from blackholes.errors import UserError
from blackholes.kernels import collisions, latent, permutation, snowball
from blackholes.snowballs import elements, permutations, sweep, trials
from blackholes.snowballs import latent as latent_files
from blackholes.snowballs import source as sources
from blackholes.verify import contents
from helpers import names, reported
from scipy import stats

SETTINGS = {"centroid": None, "n_tokens": "auto", "epsilon": "auto", "seed": 42}
POPULATIONS = [9, 5, 2]
PERMUTATIONS = 40


def make(folder, W, ids, populations):
    """The files of row C that snowballs read, and latent.safetensors, of members `ids` of W."""
    facts = overdensity.statistics(W[ids]) | {
        "populations": torch.tensor(populations, dtype=torch.int64),
        "n_tokens": torch.tensor(len(ids)),
        "token_ids": ids,
    }
    made = SimpleNamespace(c=str(folder / "c.safetensors"), W=str(folder / "W.safetensors"), tokens=W[ids], ids=ids)
    write_tensors(made.c, facts, {"members": "tokens of the holes in the box"})
    write_tensors(made.W, {"W": W})
    made.latent = str(folder / "latent.safetensors")
    made.summary = latent_files.write(made.c, made.W, made.latent, {"code": "x"})
    return made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A vocabulary with three holes close together, a token one cell from the largest, and one two cells from it."""
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(40, 12, generator=generator).bfloat16()
    ids = torch.randperm(40, generator=generator)[: sum(POPULATIONS)]
    for number, members in enumerate(ids.split(POPULATIONS)):
        W[members] = W[ids[0]].clone()
        W[members, number] += 2**-7
    others = [token for token in range(40) if token not in ids.tolist()][:2]
    for steps, token in enumerate(others, 1):
        W[token] = W[ids[0]].clone()
        bits = W[token].view(torch.int16)
        bits[5] += steps
    made = make(tmp_path_factory.mktemp("checkpoint"), W, ids, POPULATIONS)
    made.others = others
    return made


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_file(folder, **tensors):
    path = folder / "mine.safetensors"
    write_tensors(path, tensors)
    return str(path)


def around_largest(checkpoint):
    """The tokens joined to the largest hole by steps of one cell, found with a graph."""
    with open_tensors(checkpoint.W) as file:
        W = file.rows("W")
    places = W.view(torch.int16).int()
    places = torch.where(places < 0, -(places & 0x7FFF), places)
    graph = nx.Graph()
    graph.add_nodes_from(range(len(W)))
    near = (places[:, None] - places[None]).abs().amax(2) <= 1
    graph.add_edges_from(near.nonzero().tolist())
    return W[sorted(nx.node_connected_component(graph, int(checkpoint.ids[0])))]


# ---- the point and the noise of a checkpoint ----------------------------------------------------------------------


def test_what_surrounds_the_largest_hole(checkpoint):
    with open_tensors(checkpoint.latent) as file:
        ids, members, mean = (file.rows(key) for key in ("component_ids", "token_ids", "mean"))
        assert file.metadata == {"code": "x", "members": "tokens of the holes in the box", "untestable": ""}
        low, sigma, high = (float(file.rows(f"sigma_latent{end}")) for end in ("_low", "", "_high"))
    tokens = around_largest(checkpoint)
    with open_tensors(checkpoint.W) as file:
        assert torch.equal(file.rows("W")[ids], tokens)
    assert set(checkpoint.others) < set(ids.tolist())
    assert torch.equal(members, checkpoint.ids)
    assert torch.equal(mean, checkpoint.tokens.double().mean(0).float())
    assert (sigma, low, high) == latent.fit(tokens)[1:]
    assert checkpoint.summary.startswith(
        f"{len(tokens)} tokens in the largest hole's component; σ latent {sigma:.3g} ("
    )


def test_a_single_hole_has_an_upper_limit_and_no_test(tmp_path):
    W = torch.full((6, 4), 0.75).bfloat16()
    W[5] = 3.0
    made = make(tmp_path, W, torch.arange(5), [5])
    with open_tensors(made.latent) as file:
        assert float(file.rows("sigma_latent")) == 0 < float(file.rows("sigma_latent_high"))
        reason = "all 5 tokens of the component are equal, so no permutation can differ"
        assert file.metadata["untestable"] == reason
    assert made.summary.endswith(reason)
    W[4, 0] += 2**-8
    made = make(tmp_path, W, torch.arange(4), [4])
    with open_tensors(made.latent) as file:
        reason = "the 5 tokens of the component vary in one dimension only, so no permutation can differ"
        assert file.metadata["untestable"] == reason


def test_without_a_hole_the_spread_is_freed_of_rounding(tmp_path):
    centre = torch.linspace(1.1, 1.9, 400)
    W = (centre + 0.01 * torch.randn(300, 400, generator=torch.Generator().manual_seed(1))).bfloat16()
    made = make(tmp_path, W, torch.arange(300), [])
    with open_tensors(made.latent) as file:
        assert file.shape("component_ids") == (0,)
        within, found = float(file.rows("sigma_within")), float(file.rows("sigma_latent"))
        assert math.isnan(float(file.rows("sigma_latent_low")))
        assert file.metadata["untestable"] == "the checkpoint has no hole"
    assert contents.problem(Path(made.latent), {}) == ""
    assert found == pytest.approx(0.01, rel=0.005)
    assert abs(within - 0.01) > 2 * abs(found - 0.01)
    assert made.summary.startswith("no hole; σ latent 0.01")
    table_of_none = str(tmp_path / "none.csv")
    said = permutations.write(made.latent, made.W, SETTINGS, 10, (0, 1), table_of_none)
    assert said == "the checkpoint has no hole"
    _, _, scores, test = swept(made, tmp_path, {"latent": "latent"}, clouds=[table_of_none])
    assert {row["note"] for row in scores if row["label"] == "permutation"} == {"the checkpoint has no hole"}
    assert table(test) == [{"quantity": "not_tested", "value": "the checkpoint has no hole"}]


# ---- what is thrown around what -----------------------------------------------------------------------------------


def test_auto_within_and_global_come_from_the_checkpoint(checkpoint):
    members = checkpoint.tokens
    found = sources.source(checkpoint.latent, SETTINGS)
    estimate = latent.fit(around_largest(checkpoint))
    assert torch.equal(found.centroid, estimate.centroid.float())
    assert found.sigma("latent") == estimate.sigma > 0
    assert found.n_tokens == sum(POPULATIONS)
    assert found.epsilon == 2.0 ** (math.floor(math.log2(found.centroid.abs().max())) - 7)
    about = members.double() - members.double().mean(0)
    assert found.sigma("within") == pytest.approx(about.square().mean().sqrt().item())
    assert found.sigma("global") == pytest.approx(members.double().flatten().std(correction=0).item())
    assert found.sigma(0.25) == 0.25
    own = sources.source(checkpoint.latent, SETTINGS | {"n_tokens": 7, "epsilon": 0.5})
    assert (own.n_tokens, own.epsilon) == (7, 0.5)


def test_a_file_with_a_centroid_alone(tmp_path):
    path = write_file(tmp_path, centroid=torch.tensor([0.0, -0.003]))
    for found in (
        sources.source(path, SETTINGS | {"n_tokens": 7}),
        sources.source(None, SETTINGS | {"centroid": path, "n_tokens": 7}),
    ):
        assert found.epsilon == 2.0**-16  # the ULP of 0.003
        with pytest.raises(UserError, match=rf"^{path}: no tensor 'sigma_within', which sigma: within asks for"):
            found.sigma("within")


def test_the_range_of_holes_is_divided_in_equal_ratios(checkpoint):
    found = sources.source(checkpoint.latent, SETTINGS)
    first, last = collisions.range_of_holes(found.centroid, found.n_tokens)
    sigmas = [found.sigma(f"holes_{k}of5") for k in range(1, 6)]
    assert sigmas == pytest.approx(np.geomspace(first, last, 5), rel=1e-3)
    settings = {**SETTINGS, "centroid": {"dim": 64, "norm": 6.5, "seed": 3}, "n_tokens": 9}
    assert 0 < sources.source(None, settings).sigma("holes_1of2") < sources.source(None, settings).sigma("holes_2of2")


def test_a_random_direction():
    settings = {**SETTINGS, "centroid": {"dim": 500, "norm": 0.166, "seed": 3}, "n_tokens": 9}
    found = sources.source(None, settings).centroid
    assert found.dtype == torch.float32
    assert found.double().norm().item() == pytest.approx(0.166, rel=1e-6)
    assert stats.kstest(found.numpy() / found.numpy().std(), "norm").pvalue > 0.01
    other = sources.source(None, settings | {"centroid": {"dim": 500, "norm": 0.166, "seed": 4}}).centroid
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
        trials.write(path, SETTINGS, 1.0, 3, str(out / "trials.csv"))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
    assert names(out) == []


@pytest.mark.parametrize("n", [1, 16_384])
def test_the_smallest_and_the_largest_number_of_tokens(n, tmp_path):
    path = write_file(tmp_path, centroid=torch.ones(3), n_tokens=torch.tensor(n))
    assert sources.source(path, SETTINGS).n_tokens == n
    beyond = {1: 0, 16_384: 16_385}[n]
    path = write_file(tmp_path, centroid=torch.ones(3), n_tokens=torch.tensor(beyond))
    with pytest.raises(UserError, match=f"it has {beyond:,} tokens; expected n_tokens .* from 1 up to 16,384"):
        sources.source(path, SETTINGS)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.safetensors: no such file"):
        sources.source(str(tmp_path / "nowhere.safetensors"), SETTINGS)


# ---- trials -------------------------------------------------------------------------------------------------------


def test_a_table_of_trials(checkpoint, tmp_path):
    ticks = []
    summary = trials.write(
        checkpoint.latent, SETTINGS, 0.004, 6, str(tmp_path / "a.csv"), progress=lambda *args: ticks.append(args)
    )
    rows = table(tmp_path / "a.csv")
    assert list(rows[0]) == ["sigma", "trial_id", *snowball.STATISTICS]
    assert [(row["sigma"], row["trial_id"]) for row in rows] == [("0.004", str(k)) for k in range(6)]
    assert reported(ticks)
    assert summary.startswith("σ = 0.004, 6 trials of 16 tokens: ")
    around = sources.source(checkpoint.latent, SETTINGS)
    for k, row in enumerate(rows):
        tokens = snowball.sample(around.centroid, 0.004, 16, 42, k)
        expected = snowball.trial_statistics(tokens, around.epsilon, 2 * around.epsilon)
        assert {name: float(row[name]) for name in snowball.STATISTICS} == expected


def test_more_trials_begin_with_the_same(checkpoint, tmp_path):
    for name, number in (("few", 3), ("many", 8), ("again", 3)):
        trials.write(checkpoint.latent, SETTINGS, "within", number, str(tmp_path / name))
    few, many, again = ((tmp_path / name).read_bytes() for name in ("few", "many", "again"))
    assert few == again
    assert many.startswith(few)


def watch(monkeypatch, kernel, name):
    """How many earlier results of a kernel were alive whenever it was called."""
    import weakref

    alive, most, draw = [], [], getattr(kernel, name)

    def watched(*args, **options):
        most.append(sum(reference() is not None for reference in alive))
        tokens = draw(*args, **options)
        alive.append(weakref.ref(tokens))
        return tokens

    monkeypatch.setattr(kernel, name, watched)
    return most


def test_memory_does_not_grow_with_the_number_of_trials(checkpoint, tmp_path, monkeypatch):
    """Tokens of one trial are gone when those of the next are drawn."""
    drawn, permuted = watch(monkeypatch, snowball, "sample"), watch(monkeypatch, permutation, "permuted")
    trials.write(checkpoint.latent, SETTINGS, 0.004, 20, str(tmp_path / "a.csv"))
    permutations.write(checkpoint.latent, checkpoint.W, SETTINGS, 10, (0, 1), str(tmp_path / "b.csv"))
    assert (len(drawn), len(permuted)) == (20, 16)
    assert max(drawn + permuted) <= 1


# ---- permutations -------------------------------------------------------------------------------------------------


def test_parts_of_the_permutations_make_up_the_whole(checkpoint, tmp_path):
    ticks = []
    whole = tmp_path / "whole.csv"
    summary = permutations.write(
        checkpoint.latent, checkpoint.W, SETTINGS, 25, (0, 1), str(whole), progress=lambda *args: ticks.append(args)
    )
    assert reported(ticks)
    tokens = around_largest(checkpoint)
    varying = tokens[:, permutation.varying(tokens)]
    assert summary == f"43 clouds of {len(tokens)} tokens, which vary in {varying.shape[1]} dimensions"
    parts = [tmp_path / f"{k}.csv" for k in range(4)]
    for k in (2, 0, 3, 1):
        permutations.write(checkpoint.latent, checkpoint.W, SETTINGS, 25, (k, 4), str(parts[k]))
    rows = table(whole)
    assert [row for part in parts for row in table(part)] == rows
    assert [int(row["trial_id"]) for row in rows] == list(range(43))
    assert [int(row["attracted"]) for row in rows[:25]] == [0] * 25
    expected = [-(-percent * len(tokens) // 100) for percent in (0, 1, 2, 5, 10, 20) for _ in range(3)]
    assert [int(row["attracted"]) for row in rows[25:]] == expected  # 25 / 10, rounded up
    epsilon = sources.source(checkpoint.latent, SETTINGS).epsilon
    for row in rows[::7]:
        cloud = permutation.permuted(varying, 42, int(row["trial_id"]), int(row["attracted"]))
        found = snowball.trial_statistics(cloud, epsilon, 2 * epsilon)
        assert {name: float(row[name]) for name in snowball.STATISTICS} == found


def test_too_many_tokens_are_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(permutations, "MOST", 10)
    with pytest.raises(UserError) as caught:
        permutations.write(checkpoint.latent, checkpoint.W, SETTINGS, 25, (0, 1), str(tmp_path / "a.csv"))
    number = len(around_largest(checkpoint))
    assert str(caught.value) == (
        f"{checkpoint.latent}: {number} tokens in the largest hole's component; expected up to 10 to permute: "
        "`permutations: 0` leaves that out"
    )


# ---- the sweep ----------------------------------------------------------------------------------------------------


def swept(made, folder, sigmas, settings=SETTINGS, clouds=(), n_permutations=PERMUTATIONS):
    """(summary, rows of trials.csv, rows of z_scores.csv, permutation_test.csv); the elements are in e.safetensors."""
    path, W = (made.latent, made.W) if made else (None, None)
    tables = {label: str(folder / f"{label}.csv") for label in sigmas}
    for label, sigma in sigmas.items():
        trials.write(path, settings, sigma, 4, tables[label])
    files = [str(folder / name) for name in ("trials.csv", "z_scores.csv", "e.safetensors", "permutation_test.csv")]
    if made and not clouds:
        clouds = [str(folder / f"part_{k}.csv") for k in range(2)]
        for k, name in enumerate(clouds):
            permutations.write(path, W, settings, n_permutations, (k, 2), name)
    out = sweep.Outputs(*files)
    summary = sweep.write(path, W, settings, tables, next(iter(sigmas)), n_permutations, clouds, out, {"code": "x"})
    return summary, table(files[0]), table(files[1]), files[3]


def test_a_sweep_beside_its_checkpoint(checkpoint, tmp_path):
    sigmas = {"global": "global", "within": "within", "0": 0.0, "0.004": 0.004, "1e-08": 1e-8}
    summary, rows, scores, test = swept(checkpoint, tmp_path, sigmas)
    facts = {row["quantity"]: float(row["value"]) for row in table(test)}
    assert summary == f"20 trials of 5 σ; permutations: joint p {facts['joint_p']:.3g}"
    of_sigmas, permuted = rows[:20], rows[20:]
    assert list(rows[0]) == ["sigma", "trial_id", *snowball.STATISTICS, "label"]
    assert {row["sigma"] for row in of_sigmas} >= {"0.004", "1e-08"}  # sorted as text, the smaller would come last
    assert [float(row["sigma"]) for row in of_sigmas] == sorted(float(row["sigma"]) for row in of_sigmas)
    assert [row["trial_id"] for row in of_sigmas] == ["0", "1", "2", "3"] * 5
    assert {row["label"] for row in of_sigmas} == set(sigmas)
    assert {(row["sigma"], row["label"]) for row in permuted} == {("", "permutation")}
    assert [row["trial_id"] for row in permuted] == [str(k) for k in range(PERMUTATIONS)]
    assert len(scores) == 6 * 20
    around = sources.source(checkpoint.latent, SETTINGS)
    tokens = around_largest(checkpoint)
    own = snowball.trial_statistics(checkpoint.tokens, around.epsilon, 2 * around.epsilon)
    tested = snowball.trial_statistics(tokens, around.epsilon, 2 * around.epsilon)
    assert (own["n_unique"], own["n_black_holes"], own["largest_bh"]) == (3, 3, 9)
    for row in scores:
        name, is_test = row["statistic"], row["label"] == "permutation"
        values = [float(t[name]) for t in rows if t["sigma"] == row["sigma"]]
        assert len(values) == (PERMUTATIONS if is_test else 4)
        checked = (tested if is_test else own)[name]
        assert float(row["checkpoint"]) == checked
        assert float(row["mean"]) == pytest.approx(np.mean(values))
        assert float(row["std"]) == pytest.approx(np.std(values, ddof=1))
        assert (float(row["min"]), float(row["max"])) == (min(values), max(values))
        z = float(row["z"])
        if np.std(values) > 0:
            assert z == pytest.approx((checked - np.mean(values)) / np.std(values, ddof=1))
        else:
            more = checked - values[0]
            assert z == (math.copysign(math.inf, more) if more else 0)
        if is_test:
            more, less = (1 + sum(sign * (value - checked) >= 0 for value in values) for sign in (1, -1))
            assert float(row["p"]) == min(1, 2 * min(more, less) / (1 + PERMUTATIONS))
        else:
            assert row["p"] == ""
        assert row["note"] == ""
    null = np.array([[float(row[name]) for name in snowball.STATISTICS] for row in permuted])
    assert facts["joint_p"] == permutation.joint_p_value(np.array(list(tested.values()), float), null)
    assert (facts["tokens"], facts["permutations"], facts["distinct_vectors"]) == (len(tokens), 40, tested["n_unique"])
    assert [facts[f"told_apart_{percent}_percent"] for percent in permutations.PERCENT] == told_apart(tmp_path, null)
    with open_tensors(tmp_path / "e.safetensors") as file:
        assert file.metadata["label"] == "global"
        assert file.metadata["trials"] == "4"
        assert float(file.metadata["sigma"]) == around.sigma("global")
        assert {key.partition(".")[0] for key in file.keys()} == {"global", "within", "snowball"}  # noqa: SIM118
        assert file.rows("within.moments")[1].item() == pytest.approx(around.sigma("within"), rel=1e-6)
        assert file.rows("global.moments")[1].item() == pytest.approx(around.sigma("global"))


def told_apart(folder, null):
    """The shares of clouds with a joint p of up to 5 %, from the tables: four of each kind, after the permutations."""
    rows = [row for k in range(2) for row in table(folder / f"part_{k}.csv")][PERMUTATIONS:]
    clouds = np.array([[float(row[name]) for name in snowball.STATISTICS] for row in rows])
    found = [permutation.joint_p_value(cloud, null) <= 0.05 for cloud in clouds]
    return [np.mean(found[4 * k : 4 * k + 4]) for k in range(6)]


def test_counts_of_permutations_are_whole_numbers_in_the_table(checkpoint, tmp_path):
    _, rows, _, _ = swept(checkpoint, tmp_path, {"1": 1.0})
    assert {row["n_tokens"] for row in rows[4:]} == {str(len(around_largest(checkpoint)))}
    assert all("." in row["mean_l_inf"] for row in rows)


def test_two_labels_of_one_sigma_are_the_same_trials_once(tmp_path):
    """A single hole has no spread: `within` and `latent` are 0."""
    made = make(tmp_path, torch.ones(5, 3).bfloat16(), torch.arange(5), [5])
    summary, rows, scores, test = swept(made, tmp_path, {"within": "within", "0": 0.0, "latent": "latent"})
    reason = "all 5 tokens of the component are equal, so no permutation can differ"
    assert summary == f"4 trials of 1 σ; permutations: not tested: {reason}"
    assert [row["label"] for row in rows] == ["within"] * 4
    assert {row["label"] for row in scores} == {"within", "0", "latent", "permutation"}
    assert {row["z"] for row in scores if row["label"] != "permutation"} == {"0.0"}
    permuted = [row for row in scores if row["label"] == "permutation"]
    assert {(row["z"], row["p"], row["mean"], row["note"]) for row in permuted} == {("", "", "", reason)}
    assert {row["checkpoint"] for row in permuted if row["statistic"] in ("n_tokens", "largest_bh")} == {"5"}
    assert table(test)[-1] == {"quantity": "not_tested", "value": reason}
    with open_tensors(tmp_path / "e.safetensors") as file:
        for part in ("within", "global", "snowball"):
            assert file.rows(f"{part}.moments").tolist()[1:] == [0.0, 0.0, 0.0]


def test_a_sweep_without_a_checkpoint_or_permutations(checkpoint, tmp_path):
    settings = SETTINGS | {"centroid": {"dim": 8, "norm": 1.0, "seed": 0}, "n_tokens": 6}
    _, rows, scores, test = swept(None, tmp_path, {"0.1": 0.1}, settings)
    assert len(rows) == 4
    assert {(row["checkpoint"], row["z"]) for row in scores} == {("", "")}
    assert table(test)[0]["value"] == "there is no checkpoint, whose tokens could be permuted"
    with open_tensors(tmp_path / "e.safetensors") as file:
        assert {key.partition(".")[0] for key in file.keys()} == {"snowball"}  # noqa: SIM118
    _, rows, scores, test = swept(checkpoint, tmp_path, {"0.1": 0.1}, n_permutations=0)
    assert (len(rows), len(scores)) == (4, 20)
    assert table(test) == [{"quantity": "not_tested", "value": "`permutations` is 0"}]


def test_the_summary_has_a_line_for_the_snowballs(checkpoint, tmp_path):
    folder = tmp_path / "snowballs" / "mine"
    folder.mkdir(parents=True)
    summary, *_ = swept(checkpoint, folder, {"1": 1.0, "0": 0.0})
    line = "snowballs mine: 1.0 vectors at σ = 0, 16.0 vectors at σ = 1; the checkpoint has 3; "
    assert show.table(tmp_path).splitlines() == [line + summary.partition("; ")[2]]


def test_z_scores():
    assert sweep.z_score(7.0, 4.0, 1.5) == 2.0
    assert sweep.z_score(4.0, 4.0, 0.0) == 0.0
    assert sweep.z_score(3.0, 4.0, 0.0) == -math.inf
    assert sweep.z_score(5, 4.0, 0.0) == math.inf


def test_bad_tables(checkpoint, tmp_path):
    out = tmp_path / "out"
    files = sweep.Outputs(*(str(out / name) for name in ("trials.csv", "z.csv", "e.safetensors", "t.csv")))
    good = str(tmp_path / "good.csv")
    trials.write(checkpoint.latent, SETTINGS, 1.0, 2, good)
    for text in ("sigma,trial_id\n1,2\n", ",".join(trials.COLUMNS) + "\n", "", None):
        path = tmp_path / "bad.csv"
        path.unlink(missing_ok=True) if text is None else path.write_text(text)
        for tables, clouds in (({"1": str(path)}, []), ({"1": good}, [str(path)])):  # also without rows
            with pytest.raises(UserError, match=r"bad\.csv: ") as caught:
                sweep.write(checkpoint.latent, checkpoint.W, SETTINGS, tables, "1", 5, clouds, files)
            assert "\n" not in str(caught.value)
            assert names(out) == []


# ---- elements -----------------------------------------------------------------------------------------------------


def test_a_distribution_against_scipy():
    values = torch.from_numpy(np.random.default_rng(0).gamma(3.0, size=(50, 40)))
    found = elements.distribution(values)
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


@pytest.mark.parametrize("values", ["normal", "gamma", "few"])
def test_the_fitted_line_against_scipy(values):
    random = np.random.default_rng(1)
    numbers = {"normal": random.normal(3, 0.2, 20_000), "gamma": random.gamma(3.0, size=20_000)}.get(
        values, random.integers(0, 4, 20_000).astype(float)
    )
    slope, intercept, r2 = elements.distribution(torch.from_numpy(numbers)[None])["fit"].tolist()
    _, (expected, middle, r) = stats.probplot(numbers)
    assert (slope, intercept, r2) == pytest.approx((expected, middle, r**2), rel=0.01)


@pytest.mark.parametrize("sigma", [1e-6, 1e-3, 0.5])
def test_elements_of_many_trials_against_all_of_them_at_once(sigma, monkeypatch):
    """Noise below, near and above the cells."""
    around = sources.source(None, SETTINGS | {"centroid": {"dim": 20, "norm": 1.0, "seed": 2}, "n_tokens": 30})
    whole = torch.cat(
        [
            snowball.sample(around.centroid, sigma, 30, 42, trial, every=True).double() - around.centroid.double()
            for trial in range(7)
        ]
    )
    expected = elements.distribution(whole)
    found, used = elements.of_trials(around, sigma, 42, 7)
    width = float(whole.abs().max())
    assert used == 7
    assert found["counts"].sum() == expected["counts"].sum() == whole.numel()
    assert np.allclose(found["moments"], expected["moments"], rtol=1e-6, atol=1e-12)
    assert np.allclose(found["z"], expected["z"])
    assert np.allclose(found["fit"][:2], expected["fit"][:2], rtol=0.02, atol=2e-3 * width)
    assert (found["edges"][[0, -1]] - expected["edges"][[0, -1]]).abs().max() < 2e-3 * width
    if sigma == 0.5:
        assert np.allclose(found["quantiles"], expected["quantiles"], atol=0.02)
    monkeypatch.setattr(elements, "MOST", 1300)  # of 600 a trial
    assert elements.of_trials(around, sigma, 42, 7)[1] == 2


def test_a_distribution_without_spread():
    found = elements.distribution(torch.full((3, 4), 0.25).double())
    assert found["moments"].tolist() == [0.25, 0.0, 0.0, 0.0]
    assert found["counts"].sum().item() == 12


def test_a_distribution_of_one_number():
    assert elements.distribution(torch.ones(1, 1).double())["quantiles"].unique().tolist() == [1.0]
