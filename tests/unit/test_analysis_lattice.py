"""Motion of a history: every file against slow definitions; pieces, formats and kills change no byte; refusals."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import h5py
import pytest
import torch
from blackholes.artifacts.tensors import open_tensors, write_tensors
from blackholes.errors import UserError
from blackholes.kernels import backends
from blackholes.kernels import lattice as kernel
from blackholes.lattice import displacements, output, validation
from blackholes.lattice.integers import INTEGERS
from helpers import BAD_HISTORIES, KEY, names, put, random_history, refuses_bad_histories, reported, write_history
from motion import (  # noqa: F401 - fixtures too
    FILES,
    PLACE,
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
    walks,
    write,
)

# --- against the definitions


def test_every_file(tmp_path, monkeypatch, history, dead):
    monkeypatch.setattr(validation, "_BLOCK", 16)  # coordinates: several blocks a step
    progress = []
    write(
        write_history(tmp_path / "h", history),
        tmp_path / "out",
        dead_mask=dead[0],
        keep=output.KEPT,
        progress=lambda *call: progress.append(call),
        budget_gb=1e-5,
    )
    assert reported(progress)
    ulp = torch.exp2(history.double().abs().log2().floor().clamp(min=-126) - 7)
    delta = history.double().diff(dim=0) / ulp[:-1]  # exact: the values are of similar size
    assert torch.equal(delta, delta.float().double())
    bits = history.view(torch.int16).int() >> 7 & 0xFF

    cells = ordinals(history).diff(dim=0)
    found = tensors(tmp_path / "out")
    assert found.pop("delta_ordinal").equal(cells.to(torch.int16))
    assert found.pop("delta_W_prime").equal(delta.round().to(torch.int16))
    assert found.pop("U").equal(ulp.bfloat16())
    assert found.pop("exponent_crossings").equal(bits[1:] != bits[:-1])
    assert found.pop("dead_mask").equal(dead[1])
    assert found.pop("dead_token_ids").tolist() == [0, 3, 6, 9]
    assert {key: value.item() for key, value in found.items()} == {
        "n_steps": S - 1,
        "n_tokens": V,
        "n_dims": D,
        "n_dead": 4,
    }

    norms = tensors(tmp_path / "out", "norms")
    size = history.double().abs()
    tiny = torch.minimum(size[:-1], size[1:]) < size[:-1].amax(2, keepdim=True) / 256
    assert 0 < tiny.sum() < tiny.numel() / 4
    large = cells.masked_fill(tiny, 0)
    wanted = {
        "L1": cells.abs().sum(2),
        "L2": cells.double().norm(dim=2),
        "Linf": cells.abs().amax(2),
        "L2_without_tiny": large.double().norm(dim=2),
        "Linf_without_tiny": large.abs().amax(2),
        "L1_delta_W_prime": delta.abs().sum(2),
        "L2_delta_W_prime": delta.norm(dim=2),
        "Linf_delta_W_prime": delta.abs().amax(2),
        "L2_delta_W": history.double().diff(dim=0).norm(dim=2),
    }
    assert sorted(norms) == sorted(wanted)
    for name, values in wanted.items():
        assert norms[name].dtype == torch.float32
        torch.testing.assert_close(norms[name].double(), values.double(), rtol=1.2e-7, atol=0)
    assert tensors(tmp_path / "out", "raster")["delta_ordinal"].equal(cells[:, 0].int())

    for row in table(tmp_path / "out", "steps"):
        mask = dead[1] if row["tokens"] == "dead" else ~dead[1]
        ascending = sorted(norms["L2"][int(row["step"]) - 1, mask].tolist())
        assert int(row["number"]) == len(ascending)
        for p in ("50", "90", "95", "99", "99.9"):
            below = [x for x in ascending if sum(y <= x for y in ascending) >= len(ascending) * Fraction(p) / 100]
            assert float(row[f"percentile_{p}"]) == below[0]
        assert (float(row["min"]), float(row["max"])) == (ascending[0], ascending[-1])
        assert float(row["mean"]) == pytest.approx(sum(ascending) / len(ascending), rel=1e-14)
        crossed = (bits[1:] != bits[:-1])[int(row["step"]) - 1, mask].sum()
        assert int(row["exponent_crossings"]) == crossed
        assert int(row["coordinates_moved"]) == (history[1:] != history[:-1])[int(row["step"]) - 1, mask].sum()
    assert [row["step"] for row in table(tmp_path / "out", "steps")] == [str(t) for t in range(1, S) for _ in "ab"]

    rows = table(tmp_path / "out", "lifecycle")
    for token, row in enumerate(rows):
        active = {}
        for end, moves in (("", cells[:, token]), ("_without_tiny", large[:, token])):
            active |= {
                f"early{end}": moves.square().sum(1) > D,
                f"midlife{end}": moves.abs().amax(1) > 1,
                f"late{end}": (moves != 0).any(1),
            }
        last = {phase: max([t + 1 for t in range(S - 1) if on[t]], default=0) for phase, on in active.items()}
        first = min([t + 1 for t in range(S - 1) if active["late"][t]], default=0)
        assert row == {
            "token_id": str(token),
            "status": "dead" if dead[1][token] else "live",
            "first_motion": str(first),
            **{phase: str(step) for phase, step in last.items()},
        }
        assert last["early"] <= last["midlife"] <= last["late"]
        assert all(last[phase + "_without_tiny"] <= last[phase] for phase in ("early", "midlife", "late"))
    assert (rows[4]["early_without_tiny"], rows[4]["early"]) == ("19", "39")
    assert (rows[5]["first_motion"], rows[5]["late"]) == ("0", "0")
    begins = {"all": cells, "without tiny": large}
    found = table(tmp_path / "out", "medians")
    assert [(row["tokens"], row["coordinates"]) for row in found] == [
        (name, kind) for name in ("dead", "live") for kind in begins
    ]
    for row in found:
        group = [int(other["token_id"]) for other in rows if other["status"] == row["tokens"]]
        moving = (begins[row["coordinates"]] != 0).any(2)  # (steps, tokens)
        first = [min([t + 1 for t in range(S - 1) if moving[t, token]], default=0) for token in group]
        end = "" if row["coordinates"] == "all" else "_without_tiny"
        assert int(row["number"]) == len(group)
        assert int(row["never_moved"]) == first.count(0)
        assert int(row["moving_at_the_end"]) == sum(rows[token]["late" + end] == str(S - 1) for token in group)
        ends = {phase: [int(rows[token][phase + end]) for token in group] for phase in ("early", "midlife", "late")}
        for phase, steps in {"first_motion": first, **ends}.items():
            assert int(row[phase]) == sorted(steps)[(len(group) - 1) // 2]

    found = {row["kind"]: row for row in table(tmp_path / "out", "validation")}
    fraction = (delta - delta.round()).abs()
    counts = {
        "transitions": delta.numel(),
        "moved": (history[1:] != history[:-1]).sum(),
        "exact_integer": (fraction == 0).sum(),
        "almost_integer": 0,
        "half": (fraction == 0.5).sum(),
        "other_non_integer": ((fraction > 0) & (fraction != 0.5)).sum(),
        "moved_but_stored_as_0_in_delta_W_prime": ((delta.round() == 0) & (delta != 0)).sum(),
        "beyond_2**24": 0,
        "beyond_int64": 0,
        "zeros_in_W": 0,
        "with_sign_change": (history[1:].double() * history[:-1].double() < 0).sum(),
        "with_exponent_crossing": (bits[1:] != bits[:-1]).sum(),
        "without_exponent_crossing": (bits[1:] == bits[:-1]).sum(),
        "crossing_without_displacement": 0,
        "change_without_displacement": 0,
        "displacement_with_equal_bits": 0,
        "stored_crossing_with_stored_delta_ordinal_0": 0,
    }
    assert counts["moved_but_stored_as_0_in_delta_W_prime"] > 0
    assert counts["with_sign_change"] > 0
    assert {kind: int(row["count"]) for kind, row in found.items() if row["count"]} == {
        kind: int(count) for kind, count in counts.items()
    }
    values = {
        "minimum_delta_W_prime": delta.min(),
        "maximum_delta_W_prime": delta.max(),
        "minimum_delta_ordinal": cells.min(),
        "maximum_delta_ordinal": cells.max(),
        "min_ulp": ulp[:-1].min(),
        "max_ulp": ulp[:-1].max(),
    }
    assert {kind: float(found[kind]["value"]) for kind in values} == {k: float(v) for k, v in values.items()}
    assert found["delta_W_prime_stored_as"]["value"] == found["delta_ordinal_stored_as"]["value"] == "int16"
    kinds = {
        "half": fraction == 0.5,
        "other_non_integer": (fraction > 0) & (fraction != 0.5),
        "moved_but_stored_as_0_in_delta_W_prime": (delta.round() == 0) & (delta != 0),
        "with_sign_change": history[1:].double() * history[:-1].double() < 0,
        "with_exponent_crossing": bits[1:] != bits[:-1],
    }
    limits = {
        "minimum_delta_W_prime": delta == delta.min(),
        "maximum_delta_W_prime": delta == delta.max(),
        "minimum_delta_ordinal": cells == cells.min(),
        "maximum_delta_ordinal": cells == cells.max(),
    }
    places = [history[:-1].double(), history[1:].double(), cells.double(), delta]
    for kind, where in (kinds | limits).items():
        t, v, d = where.nonzero()[0].tolist()
        place = (t + 1, v, d, *(each[t, v, d].item() for each in places))
        assert tuple(float(found[kind][column]) for column in PLACE) == place

    samples = table(tmp_path / "out", "samples")
    assert {row["kind"] for row in samples} == set(kinds)
    for kind, where in kinds.items():
        drawn = [row for row in samples if row["kind"] == kind]
        assert len(drawn) == min(20, int(where.sum()))
        assert {row["of"] for row in drawn} == {str(int(where.sum()))}
        where_ = [tuple(int(row[column]) for column in PLACE[:3]) for row in drawn]
        assert where_ == sorted(set(where_))
        for row, (step, v, d) in zip(drawn, where_, strict=True):
            assert where[step - 1, v, d]
            assert [float(row[c]) for c in PLACE[3:]] == [each[step - 1, v, d].item() for each in places]
            assert float(row["ulp"]) == ulp[step - 1, v, d].item()


def test_samples_of_rare_kinds(tmp_path):
    before = [1.0, 1.0, 0.0, 2.0**-30, 2.0**-100, 1.0]
    after = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    history = torch.tensor([before, before, after], dtype=torch.bfloat16)[:, :, None]
    write(write_history(tmp_path / "h", history), tmp_path / "out")
    found = {row["kind"]: row for row in table(tmp_path / "out", "validation")}
    seen = {kind: [int(found[kind]["count"]), int(found[kind]["step"]), int(found[kind]["token"])] for kind in (
        "beyond_2**24", "beyond_int64", "zeros_in_W")}  # fmt: skip
    assert seen == {"beyond_2**24": [2, 2, 3], "beyond_int64": [1, 2, 4], "zeros_in_W": [4, 1, 2]}
    assert float(found["beyond_int64"]["delta_W_prime"]) == 2.0**107
    history = torch.tensor([[1.0], [0.0]], dtype=torch.bfloat16)[:, :, None]
    write(write_history(tmp_path / "h", history), tmp_path / "out")  # a zero that no step begins with
    found = {row["kind"]: row for row in table(tmp_path / "out", "validation")}
    assert (found["zeros_in_W"]["count"], found["zeros_in_W"]["step"], found["zeros_in_W"]["after"]) == (
        "1",
        "1",
        "0.0",
    )


# --- the integer type


@pytest.mark.parametrize(
    ("cells", "stored"),
    [
        ((127, -127), "int8"),
        ((127, -128 + 1), "int8"),
        ((128, -128), "int16"),
        ((1, 1, 1), "int8"),
        ((0, 0), "int8"),
    ],
)
def test_the_smallest_type(tmp_path, cells, stored):
    write(write_history(tmp_path / "h", walks(*cells)), tmp_path / "out")
    found = tensors(tmp_path / "out")["delta_W_prime"]
    assert found.dtype == INTEGERS[stored]
    assert found.flatten().tolist()[0] == cells[0]


@pytest.mark.parametrize(
    ("after", "stored"),
    [
        (0.0, "int8"),
        (-(2.0**-7), "int16"),
        (-255.0, "int16"),
        (-256.0, "int32"),
        (2.0**20, "int32"),
        (2.0**25, "int64"),
    ],
)
def test_the_smallest_type_by_value(tmp_path, after, stored):
    """From 1, in steps of 2⁻⁷: −128 is the last that int8 holds; a late one that it does not widens it."""
    history = torch.cat([walks(*[1] * 20)[:-1] * 0 + 1, torch.tensor(after).bfloat16().view(1, 1, 1)])
    for number, budget in enumerate((2.0, 1e-9)):  # in one piece, and in one a step
        write(write_history(tmp_path / "h", history), tmp_path / f"out{number}", budget_gb=budget)
        found = tensors(tmp_path / f"out{number}")["delta_W_prime"]
        assert found.dtype == INTEGERS[stored]
        assert found.flatten().tolist() == [0] * 19 + [round(torch.tensor(after - 1).item() / STEP)]


@pytest.mark.parametrize(("other", "stored"), [(-127, "int8"), (-128, "int16")])
@pytest.mark.parametrize("budget", [2.0, 1e-9])
def test_the_mark_is_never_a_displacement(tmp_path, other, stored, budget):
    steps = torch.tensor([[1.0, 0.0], [1 + other * STEP, 0.0], [1 + other * STEP, 0.5]], dtype=torch.bfloat16)
    write(write_history(tmp_path / "h", steps[:, :, None]), tmp_path / "out", budget_gb=budget)
    found = tensors(tmp_path / "out")["delta_W_prime"]
    assert found.dtype == INTEGERS[stored]
    assert found.flatten().tolist() == [other, 0, 0, torch.iinfo(found.dtype).min]
    assert {row["kind"]: row["count"] for row in table(tmp_path / "out", "validation")}["beyond_int64"] == "1"


@pytest.mark.parametrize("budget", [2.0, 1e-9])
@pytest.mark.parametrize(
    ("after", "dtype", "value"),
    [(2.0, "int8", "128"), (-0.0078125, "int8", "-129"), (300.0, "int16", "38272"), (2.0**100, "int64", "1.62259e+32")],
)
def test_a_configured_type_must_hold_every_displacement(tmp_path, after, dtype, value, budget):
    history = walks(*[0] * 9).repeat(1, 3, 2)
    history[7:, 2, 1] = after
    history = write_history(tmp_path / "h", history)
    with pytest.raises(UserError) as caught:
        write(history, tmp_path / "out", dtype=dtype, budget_gb=budget)
    place = "step 7, token 2, dimension 1"
    assert (
        str(caught.value)
        == f"{history}: displacement {value} at {place} does not fit {dtype}; expected a wider dtype, or auto"
    )
    assert names(tmp_path / "out") == []


def test_a_configured_type_may_be_wider(tmp_path, history):
    write(write_history(tmp_path / "h", history), tmp_path / "out", dtype="int64")
    found = tensors(tmp_path / "out")["delta_W_prime"]
    assert found.dtype == torch.int64
    write(write_history(tmp_path / "h", history), tmp_path / "out")
    assert torch.equal(found, tensors(tmp_path / "out")["delta_W_prime"].long())


# --- what changes nothing


def test_pieces_change_no_byte(tmp_path, history, dead):
    history[30:, 2, 3] = 0.0
    path = write_history(tmp_path / "h", history)
    options = {"dead_mask": dead[0], "keep": output.KEPT}
    whole = write(path, tmp_path / "whole", **options)
    for length in (1, 2, 7, 38):
        budget = 4 * (4 + 2 * 15) * V * D * (length + 0.5) / 1e9
        assert write(path, tmp_path / f"of_{length}", budget_gb=budget, **options) == whole
    with backends.torch_only():
        assert write(path, tmp_path / "formula", **options) == whole


def as_hdf5(path, history, mask=None, key="W"):
    with h5py.File(path, "w") as file:
        file[key] = history.view(torch.uint16).numpy()
        if mask is not None:
            file["dead_mask"] = mask.numpy()
    return path


def test_both_formats_and_other_keys(tmp_path, history, dead):
    usual = write(write_history(tmp_path / "h", history), tmp_path / "a", dead_mask=dead[0])
    assert write(as_hdf5(tmp_path / "h.h5", history, dead[1]), tmp_path / "b") == usual  # with a mask of its own
    assert write(as_hdf5(tmp_path / "k.h5", history, dead[1], key="E"), tmp_path / "c", key="E") == usual
    write_tensors(tmp_path / "k", {"E": history, "dead_mask": dead[1]})
    assert write(tmp_path / "k", tmp_path / "d", key="E") == usual


def test_one_cell_at_the_last_step_is_motion_at_the_end(tmp_path):
    write(write_history(tmp_path / "h", walks(2, 1)), tmp_path / "out")
    [token] = table(tmp_path / "out", "lifecycle")
    assert (token["midlife"], token["late"]) == ("1", "2")
    assert [row["moving_at_the_end"] for row in table(tmp_path / "out", "medians")] == ["1", "1"]


def test_without_a_dead_mask_tokens_form_one_group(tmp_path, history):
    write(write_history(tmp_path / "h", history), tmp_path / "out")
    assert not {"dead_mask", "dead_token_ids", "n_dead"} & set(tensors(tmp_path / "out"))
    with open_tensors(tmp_path / "out" / FILES["displacements"]) as file:
        assert file.metadata["dead_mask"].startswith("unknown")
    assert {row["status"] for row in table(tmp_path / "out", "lifecycle")} == {"unknown"}
    assert [row["tokens"] for row in table(tmp_path / "out", "medians")] == ["all"] * 2
    assert {row["tokens"] for row in table(tmp_path / "out", "steps")} == {"all"}


@pytest.mark.parametrize(
    "keep", [[], ["U"], ["exponent_crossings", "delta_ordinal"], ["delta_W_prime"], ["exponent_crossings"]]
)
def test_kept_tensors(tmp_path, history, keep):
    whole = write(write_history(tmp_path / "h", history), tmp_path / "all", keep=output.KEPT)
    some = write(write_history(tmp_path / "h", history), tmp_path / "some", keep=keep)
    found, everything = tensors(tmp_path / "some"), tensors(tmp_path / "all")
    assert set(found) & set(output.KEPT) == set(keep)
    assert all(torch.equal(value, everything[key]) for key, value in found.items())
    same = set(FILES.values()) - {FILES[kind] for kind in ("displacements", "validation", "integers")}
    assert all(some[name] == whole[name] for name in same)
    rows = {row["kind"]: row for row in table(tmp_path / "some", "validation")}
    check = rows["stored_crossing_with_stored_delta_ordinal_0"]
    both = {"exponent_crossings", "delta_ordinal"} <= set(keep)
    assert (check["count"], check["value"]) == (("0", "") if both else ("", "not both stored"))
    for name in ("delta_ordinal", "delta_W_prime"):
        assert (f"{name}_stored_as" in rows) == (name in keep)


def test_a_type_that_is_not_stored_refuses_nothing(tmp_path):
    write(write_history(tmp_path / "h", walks(300)), tmp_path / "out", dtype="int8", keep=["delta_ordinal"])
    assert tensors(tmp_path / "out")["delta_ordinal"].item() == 128 + 86  # to 2, and on in cells twice as wide


@pytest.mark.parametrize(("token", "shown"), [(None, 3), (7, 7)])
def test_the_raster_is_of_the_first_dead_token_or_of_the_one_named(tmp_path, history, token, shown):
    write_tensors(tmp_path / "tokens", {"dead_mask": torch.arange(V) % 4 == 3})
    write(write_history(tmp_path / "h", history), tmp_path / "out", dead_mask=str(tmp_path / "tokens"), token=token)
    wanted = ordinals(history[:, shown]).diff(dim=0).int()
    assert torch.equal(tensors(tmp_path / "out", "raster")["delta_ordinal"], wanted)
    with open_tensors(tmp_path / "out" / FILES["raster"]) as file:
        assert file.metadata["raster_token"] == str(shown)


# --- refused


@pytest.mark.parametrize("wrong", BAD_HISTORIES)
def test_bad_histories(tmp_path, wrong):
    refuses_bad_histories(
        tmp_path, wrong, lambda history, out: displacements.write(history, outputs(out), budget_gb=1e-12)
    )


def test_other_refusals(tmp_path, history):
    path = write_history(tmp_path / "h", history)
    refused(tmp_path, path, f"{path}: no tensor 'W' (BF16 (S, V, D)); the file has {KEY}", key="W")
    refused(tmp_path, path, f"{path}: token: 11 is not allowed; expected 0 to 10", token=11)
    write_tensors(tmp_path / "tokens", {"dead_mask": torch.zeros(5, dtype=torch.bool)})
    words = f"{tmp_path / 'tokens'}: tensor 'dead_mask' is BOOL (5), expected BOOL (11)"
    refused(tmp_path, path, words, dead_mask=str(tmp_path / "tokens"))
    single = write_history(tmp_path / "s", history[:1])
    refused(tmp_path, single, f"{single}: one snapshot; expected two or more")
    h5 = as_hdf5(tmp_path / "h.h5", history)
    refused(tmp_path, h5, "h.h5: no dataset 'E'", key="E")
    h5.write_bytes(h5.read_bytes()[:-100])
    refused(tmp_path, h5, "h.h5: not a complete HDF5 file")
    bad = as_hdf5(tmp_path / "n.h5", put(random_history(), float("nan")))
    refused(tmp_path, bad, f"{bad}: nan at step 3, token 7, dimension 1", budget_gb=1e-12)


# --- memory


def test_snapshots_that_do_not_fit_the_budget_are_refused_unread(tmp_path):
    """80 MB each under a budget of 50 MB: this took 1.7 GB. The file is sparse, and of zeros."""
    path, shape = tmp_path / "h", (6, 400_000, 100)
    entry = {"dtype": "BF16", "shape": shape, "data_offsets": [0, 2 * math.prod(shape)]}
    header = json.dumps({KEY: entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 2 * math.prod(shape))
    words = f"{path}: memory_budget_gb: 0.05 is too small for snapshots of 400,000 × 100; expected 1.36 or more"
    refused(tmp_path, path, words, budget_gb=0.05)
    refused(tmp_path, path, "expected 0.32 or more", budget_gb=0.05, keep=())


def test_memory_stays_within_the_budget_where_a_step_just_fits(tmp_path, monkeypatch):
    """34 bytes a coordinate, and many coordinates of each unusual kind. Not counted: libraries, and pieces of norms."""
    monkeypatch.setattr(displacements, "_LEAST", 0)
    write(write_history(tmp_path / "small", random_history()), tmp_path / "first")
    history = random_history(S=4, V=30_000, D=32)
    path, budget = write_history(tmp_path / "h", history), 34e-9 * history[0].numel()
    del history
    refused(tmp_path, path, "expected 0.04 or more", budget_gb=0.99 * budget)
    peak, ended = [before := anonymous_memory()], threading.Event()

    def watch():
        while not ended.wait(0.001):
            peak.append(anonymous_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        write(path, tmp_path / "out", budget_gb=budget)
    finally:
        ended.set()
        watcher.join()
    assert max(peak) - before < 1e9 * budget + 32e6


def anonymous_memory():
    """Bytes of this process' own memory: files that are mapped into it do not count."""
    return 1024 * int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])


def test_a_fault_of_the_machine_stops_the_job(tmp_path, history, monkeypatch):
    """All displacements 0, and crossings beside them: what the lattice notebook called perfect."""
    path = write_history(tmp_path / "h", history)
    monkeypatch.setattr(kernel, "displacement", lambda before, after, **_: torch.zeros(before.shape))
    with backends.torch_only():
        refused(tmp_path, path, "exponent crossings without a displacement; this is impossible in bfloat16")
    monkeypatch.setattr(kernel, "exponent_crossings", lambda before, after: before != before)
    with backends.torch_only():
        refused(tmp_path, path, f"{path}: cross-check failed at step 1: ")
    monkeypatch.setattr(kernel, "displacement", lambda before, after, **_: torch.ones(before.shape))
    with backends.torch_only():
        refused(tmp_path, path, "displacements between equal bits")


def test_same_bytes_after_a_kill(tmp_path, history):
    """SIGKILL while the large file is written: nothing under a final name, and the next call leaves no trace of it."""
    path = write_history(tmp_path / "h", history.repeat(1, 1000, 4))
    whole = write(path, tmp_path / "whole")
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import time; "
        "from blackholes.lattice import displacements\n"
        "files = displacements.Outputs(*sys.argv[3:])\n"
        "displacements.write(sys.argv[2], files, budget_gb=0.01, progress=lambda *_: time.sleep(0.2))"
    )
    package = Path(displacements.__file__).parents[2]
    arguments = [sys.executable, "-c", code, str(package), path, *vars(outputs(out)).values()]
    child = subprocess.Popen(arguments, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 60
        while not any("lattice_displacements" in name and name.startswith(".") for name in names(out)):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert names(out)
    assert not set(names(out)) & set(FILES.values())
    assert write(path, out) == whole
